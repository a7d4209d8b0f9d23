"""`semilinear derive`: exit codes, refusals, and that what it prints is what was derived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from semilinear.analysis.proof import prove
from semilinear.analysis.tableau_file import parse_tableau
from semilinear.integrators.solvers import dpm_solver
from semilinear.verification.cli import main
from semilinear.verification.terminal import FAILED, OK, USAGE


def derive(*arguments: str) -> int:
    return main(["derive", *arguments])


def families(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert derive(*arguments, "--json") == OK
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["families"]
    return found


def test_a_family_is_printed_with_its_parameters_and_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "2") == OK
    printed = capsys.readouterr().out
    assert "free: b_1_2, c2" in printed
    assert "proved: classical 2" in printed
    assert "1 family" in printed


def test_no_such_method_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "3") == FAILED
    assert "there is no such method" in capsys.readouterr().out


def test_parameters_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    """DPM-Solver-2, as a tableau file that `semilinear prove` reads."""
    arguments = ["--abscissae", "0,r", "--order", "2", "--set", "r=1/2", "--set", "b_1_2=0"]
    assert derive(*arguments, "--output", "json") == OK
    (data,) = json.loads(capsys.readouterr().out)
    tableau = parse_tableau(json.dumps(data)).tableau
    expected = dpm_solver.second()
    assert tableau.c == expected.c
    assert {k: w.expand() for k, w in tableau.b.items()} == {k: w.expand() for k, w in expected.b.items()}


def test_a_set_value_at_which_the_family_does_not_exist_leaves_nothing() -> None:
    stiff = ["--abscissae", "0,c2,c3", "--order", "3", "--conditions", "weak", "--basis", "2"]
    assert derive(*stiff, "--set", "c2=2/3", "--set", "c3=1/2", "--output", "sympy") == FAILED


def test_adams_methods_have_all_coefficients_within_2_ulp(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--past", "2", "--order", "3", "--conditions", "stiff")
    assert found["plan"]["within_2_ulp"] == found["plan"]["coefficients"] == 3
    assert found["tableau"]["past"] == 2
    assert found["proved"]["stiff"] == 3


def test_the_best_member_is_chosen_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "norm.png"
    weak = ["--abscissae", "0,c2,2/3", "--order", "3", "--conditions", "weak", "--basis", "2"]
    arguments = [*weak, "--arguments", "own", "--minimise", "error-norm", "--plot", str(plot)]
    (found,) = families(capsys, *arguments)
    assert found["minimum"]["rational"] == {"c2": "1/2"}
    assert found["minimum"]["exact"]
    assert found["parameters"] == []
    assert found["proved"]["weak_stiff"] == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_error_on_a_problem_can_be_minimised(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--stages", "2", "--order", "2", "--conditions", "stiff"]
    chosen = ["--minimise", "problem-error", "--problem", "mixture-1d", "--steps", "4"]
    (found,) = families(capsys, *arguments, *chosen)
    (best,) = families(capsys, *arguments, "--minimise", "error-norm")
    assert found["minimum"]["error"] > 0
    assert found["minimum"]["rational"] != best["minimum"]["rational"]


def test_an_embedded_row_on_the_stages_of_a_listed_method(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--embedded", "hochbruck-ostermann4", "--order", "3", "--conditions", "stiff"]
    (found,) = families(capsys, *arguments)
    assert found["parameters"] == ["b_4_1", "b_4_2", "b_4_3"]
    assert found["proved"]["stiff"] == 3


def test_an_embedded_row_is_chosen_by_its_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--embedded", "hochbruck-ostermann4", "--order", "3", "--conditions", "stiff"]
    (found,) = families(capsys, *arguments, "--set", "b_4_1=0", "--minimise", "estimator")
    assert found["minimum"]["error"] <= 7**0.5 / 2
    tableau = parse_tableau(json.dumps(found["pair"])).tableau
    assert prove(tableau).stiff == 3
    assert prove(tableau).weak_stiff == 4
    assert tableau.low is not None


def test_nested_collocation(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--collocation", "3")
    assert found["proved"]["stiff"] == 3
    assert prove(parse_tableau(json.dumps(found["tableau"])).tableau).stiff == 3


@pytest.mark.parametrize(
    ("output", "text"), [("python", "def derived"), ("latex", r"\varphi_"), ("sympy", "Tableau(")]
)
def test_outputs(output: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "2", "--output", output) == OK
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("form", ["rho", "t"])
def test_other_forms(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--stages", "2", "--order", "2", "--form", form)
    assert found["proved"] == {"classical": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--order is needed"),
        (["--order", "0"], "must be an integer from 1 to 8"),
        (["--order", "2", "--stages", "99"], "must be an integer from 1 to 10"),
        (["--order", "2", "--abscissae", "0,__import__"], "must be numbers (1/2) or names (c2)"),
        (["--order", "2", "--abscissae", "0,z"], "must be numbers (1/2) or names (c2)"),
        (["--order", "2", "--abscissae", "0,1/0"], "division by zero"),
        (["--order", "2"], "--stages, --abscissae, --past, --embedded or --collocation is needed"),
        (["--order", "2", "--abscissae", "1/2,1"], "--abscissae must begin with 0"),
        (["--order", "2", "--stages", "2", "--set", "c2=1", "--set", "c2=1/2"], "once, got c2 again"),
        (["--order", "1", "--embedded", "seeds-2"], "does not apply to seeds-2: it is stochastic"),
        (
            ["--order", "4", "--embedded", "krogstad4", "--minimise", "estimator"],
            "the embedded row must have a lower order than the method's, 4, got 4",
        ),
        (
            ["--order", "2", "--stages", "2", "--minimise", "problem-error", "--problem", "x"],
            "--problem must be one of",
        ),
        (["--order", "2", "--abscissae", "0,0"], "must be a rational number other than 0"),
        (["--order", "2", "--stages", "2", "--abscissae", "0,1"], "not allowed with"),
        (["--order", "2", "--past", "1", "--basis", "0"], "must be an integer from 1 to 8"),
        (["--order", "2", "--past", "1", "--set", "c2"], "--set must be NAME=NUMBER"),
        (["--order", "2", "--stages", "2", "--set", "q=1"], "--set must name a parameter (b_1_2, c2), got q"),
        (["--order", "2", "--stages", "2", "--set", "c2=exp(1)"], "must be a number such as 1/2"),
        (
            ["--order", "2", "--past", "1", "--form", "rho", "--conditions", "stiff"],
            "must be classical or scalar in the form rho",
        ),
        (["--order", "2", "--embedded", "nothing"], "expected a listed solver"),
        (
            ["--order", "2", "--stages", "2", "--minimise", "estimator"],
            "--minimise estimator is for --embedded",
        ),
        (["--order", "2", "--stages", "2", "--steps", "5"], "--steps is for --minimise problem-error"),
        (["--order", "2", "--minimise", "error-norm", "--past", "1"], "step ratios"),
        (["--collocation", "3", "--order", "3"], "--order does not apply to --collocation"),
        (["--order", "2", "--stages", "2", "--plot", "x.txt"], "--plot must end in"),
        (["--order", "2", "--stages", "2", "--plot", "/tmp/x.png"], "--plot needs one parameter"),
    ],
)
def test_bad_usage_is_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert derive(*arguments) == USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--abscissae", "0,1/2,c3,c4"],
        ["--stages", "4", "--set", "c2=1/2"],
        ["--abscissae", "0,1/2,1/2,1"],
    ],
)
def test_the_classical_runge_kutta_method_is_found_where_its_abscissae_coincide(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert derive(*arguments, "--order", "4", "--form", "rho", "--set", "b_2=1/3", "--json") == OK
    found = json.loads(capsys.readouterr().out)["families"]
    outputs = [family["rows"][-1]["weights"] for family in found]
    assert {"N(0)": "1/6", "N(1)": "1/3", "N(2)": "1/3", "N(3)": "1/6"} in outputs


def test_conditions_are_those_of_the_form_whose_stages_are_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, form in (("deis-tab2", "t"), ("deis-rhoab2", "rho"), ("krogstad4", "lambda")):
        assert derive("--embedded", name, "--order", "1", "--json") == OK
        assert {f["form"] for f in json.loads(capsys.readouterr().out)["families"]} == {form}


def test_the_methods_own_row_is_no_embedded_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--embedded", "krogstad4", "--order", "3", "--conditions", "stiff", "--json") == FAILED
    data = json.loads(capsys.readouterr().out)
    assert data["families"] == []
    assert data["reason"].startswith("there is no such method")
