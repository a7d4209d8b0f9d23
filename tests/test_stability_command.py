"""`semilinear stability`: what it prints, its JSON, its figure, its exit codes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.analysis import lookup
from semilinear.analysis.stability.amplification import Amplification
from semilinear.analysis.stability.region import region
from semilinear.integrators.tableaux.tableau import N, P, Tableau, adams, phi1, z
from semilinear.verification.commands.cli import main
from semilinear.verification.reporting.stability_plot import regions_figure


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    code = main(["stability", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_json_has_the_keys_that_are_promised(capsys: Any) -> None:
    code, out, _ = run(capsys, "ddim", "--json")
    data = json.loads(out, parse_constant=pytest.fail)  # no NaN, no infinity
    assert code == 0
    assert (data["solver"], data["form"], data["rate"]) == ("ddim", "noise_in_lambda", 1)
    assert (data["memory"], data["zero_stable"]) == (1, True)
    assert [row["z"] for row in data["z"]] == [0, 1, 5]
    assert data["z"][0]["real"] == pytest.approx([-2, 0], abs=1e-10)  # bisected to 1e-12
    assert data["z"][0]["imaginary"] == 0
    # what it says of itself
    assert data["z"][0]["area"] == pytest.approx(math.pi, abs=data["z"][0]["area_error"])
    assert data["z"][1]["imaginary"] is None  # w = 0 grows
    assert "largest_stable_step" not in data


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--z", "-1e-1", "-.5", "--z=-2"], [-0.1, -0.5, -2]),
        (["--z", "-1", "-1.0"], [-1]),
        ([], [0, -1, -5]),
    ],
)
def test_negative_numbers_are_values(capsys: Any, arguments: list[str], values: list[float]) -> None:
    code, out, _ = run(capsys, "dpm-solver++-1", *arguments, "--json")
    assert code == 0
    assert [row["z"] for row in json.loads(out)["z"]] == values


def test_a_form_without_a_linear_part_has_z_0_alone(capsys: Any) -> None:
    code, out, _ = run(capsys, "deis-rhork-4rk", "--json")
    assert code == 0
    assert [row["z"] for row in json.loads(out)["z"]] == [0]
    assert json.loads(out)["z"][0]["real"][0] == pytest.approx(-2.7852935634, rel=2e-11, abs=0)  # printed


@pytest.mark.parametrize(
    ("mu", "verdict", "h"),
    [
        (["-3"], "bounded", math.log(2)),
        (["-3", "0.5"], "bounded", math.log(2)),
        (["0.5", "-0.3+0.4j"], "unbounded", None),
        (["2"], "none", 0),
    ],
)
def test_the_largest_step_of_ddim_in_data_prediction(
    capsys: Any, mu: list[str], verdict: str, h: float | None
) -> None:
    """e^(-h) + mu (1 - e^(-h)) >= -1."""
    code, out, _ = run(capsys, "dpm-solver++-1", "--z", "0", "--mu", *mu, "--json")
    step = json.loads(out, parse_constant=pytest.fail)["largest_stable_step"]
    assert code == 0
    assert step["verdict"] == verdict
    assert step["h"] == (None if h is None else pytest.approx(h, rel=1e-11, abs=0))  # bisected to 1e-12
    assert step["linear"] == [[-1, 0]] * len(mu)
    assert len(step["mu"]) == len(mu)
    words = {"bounded": "h = 0.693147", "unbounded": "no step up to", "none": "none, h ="}
    assert words[verdict] in run(capsys, "dpm-solver++-1", "--z", "0", "--mu", *mu)[1]


def test_complex_eigenvalues_can_be_negative(capsys: Any) -> None:
    arguments = ("etdrk2", "--z", "0", "--linear", "-1+2j", "--mu", "-2-1j", "-.5e1", "--json")
    code, out, _ = run(capsys, *arguments)
    step = json.loads(out)["largest_stable_step"]
    assert code == 0
    assert step["linear"] == [[-1, 2], [-1, 2]]
    assert step["mu"] == [[-2, -1], [-5, 0]]


def test_the_table_says_what_the_json_says(capsys: Any) -> None:
    code, out, _ = run(capsys, "dpm-solver++-2m-taylor", "--z", "0", "1")
    assert code == 0
    assert "[-1, 0]" in out
    assert "none: w = 0 is unstable" in out
    assert "zero-stable (memory 2)" in out


@pytest.mark.parametrize(
    ("text", "z"),
    [
        ("1j", [0, 1]),
        ("2i", [0, 2]),
        ("-j", [0, -1]),
        ("-1+2j", [-1, 2]),
        ("0.5-2i", [0.5, -2]),
        ("-1+0j", -1),
        ("-0j", 0),
    ],
)
def test_z_can_be_complex(capsys: Any, text: str, z: Any) -> None:
    """Exponential Euler: |w + e^z/phi_1| <= 1/|phi_1|."""
    code, out, _ = run(capsys, "ddim", "--z", text, "--json")
    (row,) = json.loads(out, parse_constant=pytest.fail)["z"]
    at = complex(*z) if isinstance(z, list) else complex(z)
    phi1 = (np.exp(at) - 1) / at if at else 1.0
    assert code == 0
    assert row["z"] == z
    # what it says of itself
    assert row["area"] == pytest.approx(math.pi / abs(phi1) ** 2, abs=row["area_error"])
    low, high = row["imaginary_interval"] or (1, -1)
    assert row["imaginary"] == (None if low > high else min(-low, high))
    if not at.real and at:
        assert [low, high] == pytest.approx(sorted((0, -at.imag)), abs=1e-12)  # bisected


def test_the_table_names_complex_z_and_both_ends(capsys: Any) -> None:
    code, out, _ = run(capsys, "dpm-solver++-1", "--z", "2j", "-1-1j", "--linear", "1j", "--mu", "-0.5")
    assert code == 0
    assert re.search(r"2j .*\[-1\.28419, 0\].*\[-2, 0\]", out)  # -y cot(y/2) and -y
    assert "-1-1j" in out
    assert "largest stable step: h = 2.21429744" in out  # 2 atan 2


def test_conjugate_z_have_conjugate_regions(capsys: Any) -> None:
    _, out, _ = run(capsys, "etdrk2", "--z", "-1+2j", "-1-2j", "--json")
    up, down = json.loads(out)["z"]
    assert up["real"] == pytest.approx(down["real"], abs=1e-10)  # each bisected to 1e-12
    low, high = up["imaginary_interval"]
    assert down["imaginary_interval"] == pytest.approx([-high, -low], abs=1e-10)  # each bisected to 1e-12
    assert up["area"] == pytest.approx(down["area"], abs=up["area_error"])  # windows differ by rounding
    assert abs(low + high) > 0.1  # and are not symmetric, each by itself


@pytest.mark.filterwarnings("error")
def test_the_legend_of_a_figure_says_which_z() -> None:
    method = Amplification(adams(1))
    figure = regions_figure({"euler": [region(method, z, 21) for z in (1j, -0.5 + 2j, -3.0, 40 + 1j)]})
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [
        "z = 1j",
        "z = -0.5+2j",
        "z = -3",
        "z = 40+1j: none",
    ]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_regions_are_drawn(capsys: Any, tmp_path: Path, suffix: str) -> None:
    """The same bytes again: nothing in the file depends on the time."""
    paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for path in paths:
        run(capsys, "ddim", "--z", "0", "--plot", str(path))
    assert paths[0].stat().st_size > 5000
    assert paths[0].read_bytes()[:4] in (b"\x89PNG", b"<?xm")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.filterwarnings("error")
def test_an_empty_region_is_said_and_drawn_without_a_warning(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.svg"
    code, out, _ = run(capsys, "deis-lambdaab2", "--z", "1", "--plot", str(path), "--json")
    row = json.loads(out)["z"][0]
    assert code == 0
    assert (row["real"], row["imaginary"], row["area"]) == (None, None, 0)
    assert path.stat().st_size > 5000


def test_a_method_that_is_not_zero_stable_is_exit_code_1(capsys: Any, monkeypatch: Any) -> None:
    pole = Tableau((), phi1 * N(0) + (N(0) - 2 * P(1) + P(2)) / z)
    monkeypatch.setattr(lookup, "equation_of", lambda name: (pole, "data_in_lambda", -1.0))
    code, out, _ = run(capsys, "ddim", "--z", "-1")
    assert code == 1
    assert "NOT zero-stable" in out


@pytest.mark.slow
def test_the_listed_method_with_a_pole_at_z_0_is_not_zero_stable(capsys: Any) -> None:
    code, out, _ = run(capsys, "sde-dpm-solver++-3m-released", "--json")
    data = json.loads(out)
    assert code == 1
    assert (data["zero_stable"], data["rate"], [row["z"] for row in data["z"]]) == (False, -2, [-1, -5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: TARGET"),
        (["dpm-solver++2m"], "nearest are"),
        (["deis-tab2"], "whose weight is not exponential"),
        (["dpm-solver-v3-2m"], "whose weight is not exponential"),
        (["scire-v1-2-released"], "change from step to step (phi_1)"),
        (["ddim", "--z", "nan"], "must be a finite number"),
        (["ddim", "--z", "-1e999"], "must be a finite number"),
        (["ddim", "--z", "1000"], "e^z overflows, got 1000"),
        (["sde-dpm-solver++-3m-released", "--z", "-1", "0"], "must be no pole of a coefficient"),
        (["ddim", "--z", "x"], "must be a finite number such as -1, 1j or -1+2j, got 'x'"),
        (["ddim", "--z", "1j", "1jj"], "must be a finite number such as -1, 1j or -1+2j, got '1jj'"),
        (["ddim", "--z", "nan+1j"], "must be a finite number"),
        (["ddim", "--z", "800+1j"], "e^z overflows, got 800+1j"),
        (["deis-rhoab2", "--z", "1j"], "--z must be 0 for form noise_in_rho, whose L is 0, got 1j"),
        (["ddim", "--z"], "expected at least one argument"),
        (["deis-rhoab2", "--z", "0", "-1"], "--z must be 0 for form noise_in_rho"),
        (["deis-rhoab2", "--linear", "-1", "--mu", "-1"], "--linear must be 0"),
        (["ddim", "--linear", "-1"], "--linear needs --mu"),
        (["ddim", "--linear", "1", "2", "--mu", "1", "2", "3"], "as many, or one"),
        (["ddim", "--mu", "nan"], "must be a finite number"),
        (["ddim", "--mu", "inf+1j"], "must be a finite number"),
        (["ddim", "--mu", "1+j2"], "a finite number such as"),
        (["ddim", "--plot", "x.doc"], "--plot must end in"),
        (["exprk5s8", "--function"], "at most 6 evaluations a step, exprk5s8 has 8"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys: Any, arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_file_and_an_entry_of_the_catalogue_are_the_same_method(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "etdrk2.json"
    etdrk2 = {"c": ["0", "1"], "a": [[], ["phi(1, 1)"]], "b": ["phi(1, 1) - phi(2, 1)", "phi(2, 1)"]}
    path.write_text(json.dumps(etdrk2))
    found = []
    for name in (str(path), "etdrk2"):
        assert main(["stability", name, "--z", "-1", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["z"])
    assert found[0] == found[1]


def test_a_method_of_rosenbrock_type_is_refused(capsys: Any) -> None:
    assert main(["stability", "exprb32", "--json"]) == 2
    assert "Rosenbrock type" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--z", "-1e300"], "must be so small"), (["--mu", "abc"], "must be a finite number such as -1, 1j or")],
)
def test_numbers_that_have_no_answer_are_refused(capsys: Any, arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, "krogstad4", *arguments, "--json")
    assert (code, out) == (2, "")
    assert words in json.loads(err)["error"]


def test_a_region_beyond_floats_is_refused(capsys: Any) -> None:
    """That of Lawson's method ends near |w| = e^(|z|/2)."""
    code, _, err = run(capsys, "lawson4", "--z", "-3000")
    assert (code, err.count("\n")) == (2, 1)
    assert "floats hold the region's boundary" in err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ddim", "w*phi(1, 1) + exp(z)"),
        ("deis-lambdaab1", "w*phi(2, 1) + zeta**2 + zeta*(-w*phi(1, 1) - w*phi(2, 1) - exp(z))"),
        ("dpm-solver++-2m", "w*phi(1, 1)/2 + zeta**2 + zeta*(-3*w*phi(1, 1)/2 - exp(z))"),
    ],
)
def test_the_stability_function_is_written_out(capsys: Any, name: str, expected: str) -> None:
    assert json.loads(run(capsys, name, "--z", "0", "--function", "--json")[1])["function"] == expected


def test_the_stability_function_is_printed_where_it_is_asked_for(capsys: Any) -> None:
    assert "w*phi(1, 1) + exp(z)" in run(capsys, "ddim", "--z", "0", "--function")[1]
    assert "w*phi(1, 1)" not in run(capsys, "ddim", "--z", "0")[1]
