from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from semilinear.analysis.lookup import tableau_of
from semilinear.analysis.text.tableau_file import Document, tableau_data, write_tableau
from semilinear.integrators.common.names import UnknownTableau
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import N, P, Tableau, interpolate, phi1
from semilinear.verification.commands.cli import main
from sympy import Integer, Rational

from tests.roundings import SOME_ULP

KEYS = {"classical", "scalar", "stiff", "weak_stiff", "principal_error_norm", "violated"}
KROGSTAD = tableau_data(Document(CATALOGUE["krogstad4"].tableau))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["prove", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def proved(capsys: Any, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def conditions(data: dict[str, Any]) -> list[tuple[str, int, str, str]]:
    """The conditions that fail."""
    return [(v["kind"], v["order"], v["condition"], v["residual"]) for v in data["violated"]]


def file_of(folder: Path, data: Any) -> str:
    path = folder / "tableau.json"
    path.write_text(json.dumps(data))
    return str(path)


ORDERS = {
    "etdrk4": (4, 2, 2, 3),
    "krogstad4": (4, 3, 3, 4),
    "hochbruck-ostermann3": (3, 2, 3, 3),
    "hochbruck-ostermann4": (4, 3, 4, 4),
    "lawson4": (4, 0, 1, 1),
    "exprk5s8": (5, 4, 5, 5),
}
"""Classical, stiff, weak, at z = 0: Hochbruck & Ostermann 2005, Sec. 5; Luan & Ostermann 2014."""


@pytest.mark.parametrize("name", ORDERS)
def test_the_orders_of_the_literature_are_proved(capsys: Any, name: str) -> None:
    code, data = proved(capsys, name)
    classical, stiff, *_ = ORDERS[name]
    assert (code, data["verdict"]) == (0, "holds")
    assert data.keys() >= KEYS
    assert tuple(data[key] for key in ("classical", "stiff", "weak_stiff", "zero_stiff")) == ORDERS[name]
    assert data["scalar"] == classical
    for kind, order in (("classical", classical), ("stiff", stiff)):
        assert {v["order"] for v in data["violated"] if v["kind"] == kind} == {order + 1}
    assert all(v.keys() == {"kind", "order", "condition", "residual", "decimal"} for v in data["violated"])
    assert data["principal_error_norm"] > 0
    assert (data["claimed"], data["order"], data["required"]) == (classical, None, classical)


def test_a_claim_that_fails_is_exit_code_1(capsys: Any) -> None:
    code, data = proved(capsys, "dpm-solver++-3m-released")
    assert (code, data["verdict"], data["claimed"], data["classical"]) == (1, "fails", 3, 2)
    assert data["parameters"] == ["omega1", "omega2"]
    assert ("stiff", 3, "psi_3", "-1/12") in conditions(data)
    code, out, _ = run(capsys, "dpm-solver++-3m-released")
    assert code == 1
    assert "order 3 is claimed, order 2 is proved: order 3 fails" in out
    assert "psi_3" in out


def test_a_typo_in_a_copied_table_is_named(capsys: Any, tmp_path: Path) -> None:
    """One entry of krogstad4, with phi_2 where the paper has phi_3."""
    copied = json.loads(json.dumps(KROGSTAD))
    assert proved(capsys, file_of(tmp_path, copied), "--order", "4")[0] == 0
    copied["b"][1] = copied["b"][1].replace("phi(3, 1)", "phi(2, 1)")
    path = file_of(tmp_path, copied)
    code, data = proved(capsys, path, "--order", "4")
    assert (code, data["verdict"], data["classical"]) == (1, "fails", 0)
    assert any(v["kind"] == "classical" and v["order"] == 1 for v in data["violated"])
    assert ("stiff", 1, "psi_1", "-4/3") in conditions(data)
    code, out, _ = run(capsys, path, "--order", "4")
    assert code == 1
    assert "order 4 was asked for, classical order 0 is proved: order 4 fails" in out


@pytest.mark.parametrize(
    ("place", "typo"),
    [
        (("a", 2, 1), "phi(1, 1/2)"),
        (("a", 3, 0), "phi(1, 1) + 2*phi(2, 1)"),
        (("b", 3), "-phi(2, 1) + 4*phi(3, 1/2)"),
        (("c", 1), "1/3"),
    ],
)
def test_other_typos_lower_the_order(capsys: Any, tmp_path: Path, place: tuple[Any, ...], typo: str) -> None:
    copied = json.loads(json.dumps(KROGSTAD))
    target = copied
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = typo
    code, data = proved(capsys, file_of(tmp_path, copied), "--order", "4")
    assert code == 1
    assert data["classical"] < 4
    assert {v["order"] for v in data["violated"] if v["kind"] == "classical"} <= {1, 2, 3, 4}
    assert any(v["order"] == data["classical"] + 1 and v["kind"] == "classical" for v in data["violated"])


@pytest.mark.parametrize("order", range(1, 7))
def test_with_an_order_the_conditions_up_to_it_are_listed(capsys: Any, order: int) -> None:
    code, data = proved(capsys, "krogstad4", "--order", str(order))
    assert code == (0 if order <= 4 else 1)
    assert (data["order"], data["required"]) == (order, order)
    assert {v["order"] for v in data["violated"] if v["kind"] == "classical"} == set(range(5, order + 1))
    assert {v["order"] for v in data["violated"] if v["kind"] == "stiff"} == set(range(4, order + 1))


def test_a_file_without_a_claim_is_held_to_order_1(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "euler.json"
    write_tableau(path, Document(Tableau((), phi1 * N(0)), name="Euler"))
    code, data = proved(capsys, str(path))
    assert (code, data["name"], data["claimed"], data["classical"]) == (0, "Euler", None, 1)
    assert "nothing is claimed, classical order 1 is proved" in run(capsys, str(path))[1]
    write_tableau(path, Document(Tableau((), phi1 * N(0) * Rational(9, 10))))
    code, data = proved(capsys, str(path))
    assert (code, data["verdict"], data["classical"]) == (1, "fails", 0)
    assert data["violated"]


def test_a_linearised_file_is_proved_as_one(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "rosenbrock.json"
    for linearised, order in ((True, 2), (False, 1)):
        write_tableau(path, Document(Tableau((), phi1 * N(0)), linearised))
        data = proved(capsys, str(path))[1]
        assert (data["linearised"], data["classical"]) == (linearised, order)
        assert ("Jacobian" in data["equation"]) is linearised


def test_a_method_beyond_every_order_has_finite_json(capsys: Any, tmp_path: Path) -> None:
    """Coefficients that no float holds."""
    path = file_of(tmp_path, {"c": [0], "a": [[]], "b": ["phi(1, 1)*10**32*10**32*(10**32*10**32)**6"]})
    code, data = proved(capsys, path)
    assert code == 1
    assert data["principal_error_norm"] is None
    assert data["violated"][0]["residual"].startswith("9")


@pytest.mark.parametrize(
    ("name", "equation", "formula", "run_order"),
    [
        ("deis-tab2", "y' = w N(tau, y)", [3, 3, 3], 2),
        ("deis-ipndm", "y' = N(tau, y)", [1, 2, 4], 2),
        ("unipc-2-bh2", "u' = L u + N(u)", [3, 3, 3], 2),
    ],
)
def test_a_solver_is_proved_by_its_own_equation(
    capsys: Any, name: str, equation: str, formula: list[int], run_order: int
) -> None:
    own = proved(capsys, name)[1]["solver"]
    assert own["equation"].startswith(equation)
    assert [own["formula"][grid] for grid in ("any", "smooth", "equal")] == formula
    assert own["run"] == run_order
    assert own["refused"] == ""


def test_the_claim_of_a_stochastic_solver_is_not_judged_by_its_drift(capsys: Any) -> None:
    code, data = proved(capsys, "sde-dpm-solver-2m")
    assert (code, data["verdict"]) == (1, "undecided")
    assert "is stochastic" in data["solver"]["refused"]
    assert "which does not decide the claim" in run(capsys, "sde-dpm-solver-2m")[1]
    code, data = proved(capsys, "sde-dpm-solver-2m", "--order", "2")
    assert (code, data["verdict"]) == (0, "holds")


def test_an_embedded_row_is_judged(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "heun.json"
    low = {"c": ["0", "1"], "a": [[], ["phi(1, 1)"]], "b": ["phi(1,1) - phi(2,1)", "phi(2,1)"]}
    path.write_text(json.dumps(low | {"low": ["phi(1,1)", "0"]}))
    assert proved(capsys, str(path))[1]["embedded"]["classical"] == 1
    path.write_text(json.dumps(low | {"low": ["2", "0"]}))
    code, data = proved(capsys, str(path))
    assert (code, data["classical"], data["embedded"]["classical"]) == (0, 2, 0)
    assert "2 (embedded row: 0)" in run(capsys, str(path))[1]
    assert proved(capsys, "krogstad4")[1]["embedded"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["krogstad5"], "the nearest are krogstad4"),
        (["krogstad4", "--order", "0"], "must be an integer from 1 to 8, got '0'"),
        (["krogstad4", "--order", "9"], "must be an integer from 1 to 8, got '9'"),
        (["krogstad4", "--order", "x"], "must be an integer from 1 to 8, got 'x'"),
        (["missing.json"], "missing.json"),
        (["./missing"], "missing"),
        ([], "the following arguments are required: TARGET"),
    ],
)
def test_bad_usage_is_exit_code_2(capsys: Any, arguments: list[str], words: str) -> None:
    for as_json in ([], ["--json"]):
        code, out, err = run(capsys, *arguments, *as_json)
        assert (code, out) == (2, "")
        assert words in (json.loads(err)["error"] if as_json else err)


def test_a_release_whose_coefficients_have_a_pole_fails_its_claim(capsys: Any) -> None:
    code, data = proved(capsys, "sde-dpm-solver++-3m-released")
    assert (code, data["verdict"]) == (1, "fails")
    assert "output: the weight of N(0) has a pole" in data["reason"]


def test_a_byte_order_mark_is_no_part_of_a_file(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_text(json.dumps(KROGSTAD), encoding="utf-8-sig")
    assert proved(capsys, str(path))[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(KROGSTAD | {"b": ["1", "phi(1 1)", "0", "0"]}), "b[1]: character 7 of 'phi(1 1)'"),
        (json.dumps(KROGSTAD | {"a": [[], ["1"], ["2**2**2", "0"], [0, 0, 0]]}), "a[2][0]: character 5"),
        ("{", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_files_that_are_no_tableau_are_exit_code_2(
    capsys: Any, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    code, out, err = run(capsys, str(path))
    assert (code, out) == (2, "")
    assert words in err
    assert "bad.json" in err


def test_a_folder_is_no_file(capsys: Any, tmp_path: Path) -> None:
    code, _, err = run(capsys, str(tmp_path))
    assert code == 2
    assert "Is a directory" in err


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_of_the_catalogue_has_its_tableau(name: str) -> None:
    found, entry = tableau_of(name), CATALOGUE[name]
    assert (found.tableau, found.linearised) == (entry.tableau, entry.linearised)
    assert (found.name, found.claimed, found.solver) == (name, entry.claimed, None)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_listed_name_has_a_tableau(name: str) -> None:
    found = tableau_of(name)
    solver = make(name)
    assert found.tableau == solver.sequence.tableaux[-1]
    assert found.name == name
    assert solver.source in found.source
    assert found.claimed == (CATALOGUE[name].claimed if name in CATALOGUE else solver.claimed)
    assert (found.solver is None) is (name in CATALOGUE)


def test_unknown_names_are_refused_by_the_lookup() -> None:
    with pytest.raises(UnknownTableau, match=r"FILE.py:function, got 'etdrk'; the nearest are etdrk[234]"):
        tableau_of("etdrk")


def test_long_lists_are_cut_in_words_only(capsys: Any) -> None:
    out, data = run(capsys, "krogstad4")[1], proved(capsys, "krogstad4")[1]
    shown = sum(min(10, sum(v["kind"] == kind for v in data["violated"])) for kind in ("classical", "stiff"))
    assert f"and {len(data['violated']) - shown} more conditions that fail" in out
    assert "leading local error: " in out
    assert float(data["principal_error_norm"]) == pytest.approx(math.sqrt(3210) / 1440, rel=SOME_ULP, abs=0)


def test_an_order_in_other_digits_is_refused(capsys: Any) -> None:
    assert main(["prove", "krogstad4", "--order", "\N{ARABIC-INDIC DIGIT THREE}"]) == 2
    assert "must be an integer from 1 to 8" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["name", "source"])
def test_a_terminal_is_sent_no_control_characters_of_a_file(capsys: Any, tmp_path: Path, key: str) -> None:
    path = tmp_path / "tableau.json"
    path.write_text(json.dumps({"c": ["0"], "a": [[]], "b": ["phi(1, 1)"], key: "\x1b[31m"}))
    assert main(["prove", str(path)]) == 2
    assert f"{key} must hold printable characters alone" in capsys.readouterr().err


# --- forms, rounded tables, files that say more ---

RK4: dict[str, Any] = {
    "c": [0, "1/2", "1/2", 1],
    "a": [[], ["1/2"], [0, "1/2"], [0, 0, 1]],
    "b": ["1/6", "1/3", "1/3", "1/6"],
}
HEUN: dict[str, Any] = {"c": [0, 1], "a": [[], [1]], "b": ["1/2", "1/2"]}
NYSTROM: dict[str, Any] = {
    "c": [0, "1/3", "2/3"],
    "a": [[], ["1/3"], [0, "2/3"]],
    "b": ["1/4", 0, "3/4"],
}


@pytest.mark.parametrize(("table", "order"), [(RK4, 4), (HEUN, 2), (NYSTROM, 3)])
def test_a_plain_table_is_proved_as_one_and_hinted_at(
    capsys: Any, tmp_path: Path, table: dict[str, Any], order: int
) -> None:
    path = file_of(tmp_path, table)
    as_exponential = proved(capsys, path)[1]
    assert (as_exponential["classical"], as_exponential["form"], as_exponential["plain"]) == (
        1,
        "lambda",
        order,
    )
    hint = f"as a plain Runge-Kutta or multistep table (--form rho) it has order {order}"
    assert hint in as_exponential["hint"]
    assert hint in " ".join(run(capsys, path)[1].split())
    for arguments in ([path, "--form", "rho"], [file_of(tmp_path, table | {"form": "rho"})]):
        data = proved(capsys, *arguments)[1]
        assert (data["classical"], data["form"], data["hint"]) == (order, "rho", None)
        assert data["equation"] == "y' = N(tau, y)"
        assert [data[key] for key in ("scalar", "stiff", "weak_stiff", "zero_stiff")] == [None] * 4


def test_a_table_without_a_plain_reading_that_is_better_gets_no_hint(capsys: Any) -> None:
    data = proved(capsys, "krogstad4")[1]
    assert (data["classical"], data["plain"], data["hint"]) == (4, 4, None)


def test_forms_that_a_table_cannot_have_are_refused(capsys: Any, tmp_path: Path) -> None:
    path = file_of(tmp_path, RK4)
    for arguments, words in (
        ([path, "--form", "t"], "has no moment phi(k, c)"),
        (["dpm-solver++-2m", "--form", "rho"], "has a form of its own"),
        (["exprb43", "--form", "rho"], "linearised"),
        ([path, "--form", "x"], "--form must be one of lambda, rho, t, got 'x'"),
    ):
        code, _, err = run(capsys, *arguments)
        assert (code, words in err) == (2, True), err


def test_moments_of_a_weight_are_proved_in_t(capsys: Any, tmp_path: Path) -> None:
    trapezoid = {"c": [0, 1], "a": [[], ["phi(1, 1)"]], "b": ["phi(1, 1) - phi(2, 1)", "phi(2, 1)"]}
    code, data = proved(capsys, file_of(tmp_path, trapezoid | {"form": "t", "claimed": 2}))
    assert (code, data["classical"], data["claimed"], data["equation"]) == (0, 2, 2, "y' = w(tau) N(tau, y)")


def equal_adams(k: int) -> Document:
    """Adams-Bashforth of order k, its weights those of equal steps."""
    nodes = {Integer(0): N(0)} | {Integer(-j): P(j) for j in range(1, k)}
    return Document(Tableau((), interpolate(nodes)), form="rho", equal_steps=True)


def test_an_order_beyond_what_is_looked_for_is_a_lower_bound(capsys: Any, tmp_path: Path) -> None:
    path = file_of(tmp_path, tableau_data(replace(equal_adams(10), claimed=10)))
    code, data = proved(capsys, path)
    assert (code, data["classical"], data["at_least"], data["verdict"]) == (1, 8, ["classical"], "undecided")
    assert (data["principal_error_norm"], data["leading_error"]) == (None, [])
    code, out, _ = run(capsys, path, "--order", "8")
    assert (code, "order 8 was asked for, classical order at least 8 is proved" in out) == (0, True)


def test_an_order_at_the_limit_that_ends_there_is_one(capsys: Any, tmp_path: Path) -> None:
    write_tableau(tmp_path / "ab.json", equal_adams(8))
    data = proved(capsys, str(tmp_path / "ab.json"))[1]
    assert (data["classical"], data["at_least"]) == (8, [])
    assert data["principal_error_norm"] > 0


def test_stages_that_nothing_reads_are_named_and_ignored(capsys: Any, tmp_path: Path) -> None:
    table = json.loads(json.dumps(KROGSTAD))
    table["c"].insert(2, "1/5")
    table["a"].insert(2, ["7", "0"])
    for row in (*table["a"][3:], table["b"]):
        row.insert(2, "0")
    whole, extended = proved(capsys, "krogstad4")[1], proved(capsys, file_of(tmp_path, table))[1]
    assert extended["ignored_stages"] == [3]
    for key in ("classical", "stiff", "weak_stiff", "zero_stiff", "stage_order", "principal_error_norm"):
        assert extended[key] == whole[key]
    assert extended["violated"] == whole["violated"]


def test_integers_too_long_to_write_out_are_decimals(capsys: Any, tmp_path: Path) -> None:
    numbers = (f"{10**180 + 7 * i}/{3 * 10**180 + i}" for i in itertools.count())
    rows = [[next(numbers) for _ in range(i)] for i in range(5)]
    table = {"c": [0, *(next(numbers) for _ in range(4))], "a": rows, "b": rows[4] + ["1/7"], "form": "rho"}
    code, data = proved(capsys, file_of(tmp_path, table), "--order", "4")
    assert code == 1
    assert all(v["decimal"] is not None for v in data["violated"])
    assert any("/" not in v["residual"] for v in data["violated"])


def test_the_proof_of_a_table_waits_for_nothing_that_is_measured() -> None:
    """torch, scipy's integrators and all claims with their own proofs took most of the command's time."""
    code = (
        "import sys; from semilinear.verification.commands.cli import main; "
        "assert main(['prove', 'krogstad4', '--json']) == 0; "
        "print([name for name in ('torch', 'semilinear.verification.claims', "
        "'semilinear.verification.campaign') if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip().endswith("[]")
