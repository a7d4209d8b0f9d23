"""`semilinear derive`: exit codes, refusals, and that what it prints is what was derived."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from semilinear.analysis.derivation.family import differences
from semilinear.analysis.derivation.search import Search
from semilinear.analysis.orders.expansion import expand
from semilinear.analysis.orders.proof import local_order, prove
from semilinear.analysis.text.tableau_file import parse_tableau
from semilinear.integrators.solvers import dpm_solver
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import Tableau
from semilinear.verification.commands.cli import main
from semilinear.verification.commands.terminal import FAILED, OK, USAGE
from sympy import Integer, Rational

from tests.published_tables import EXACT


def derive(*arguments: str) -> int:
    return main(["derive", *arguments])


def tableau_of(data: dict[str, Any]) -> Tableau:
    """The tableau of JSON data: what they say of form and claim stands beside it."""
    return parse_tableau(json.dumps({k: v for k, v in data.items() if k not in ("form", "claimed")})).tableau


def families(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert derive(*arguments, "--json") == OK
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["families"]
    return found


def test_a_family_is_printed_with_its_parameters_and_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "2") == OK
    printed = capsys.readouterr().out
    assert "free: b_2_2, c2" in printed
    assert "proved: classical 2" in printed
    assert "1 family" in printed


def test_no_such_method_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "3") == FAILED
    assert "there is no such method" in capsys.readouterr().out


def test_parameters_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    """DPM-Solver-2, as a tableau file that `semilinear prove` reads."""
    arguments = ["--abscissae", "0,r", "--order", "2", "--set", "r=1/2", "--set", "b_2_2=0"]
    assert derive(*arguments, "--output", "json") == OK
    tableau = tableau_of(json.loads(capsys.readouterr().out))
    expected = dpm_solver.second()
    assert tableau.c == expected.c
    assert {k: w.expand() for k, w in tableau.b.items()} == {k: w.expand() for k, w in expected.b.items()}


def test_a_set_value_at_which_the_family_does_not_exist_leaves_nothing() -> None:
    stiff = ["--abscissae", "0,c2,c3", "--order", "3", "--conditions", "weak", "--basis", "2..2"]
    assert derive(*stiff, "--set", "c2=2/3", "--set", "c3=1/2", "--output", "sympy") == FAILED


def test_adams_methods_have_all_coefficients_within_2_ulp(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--past", "2", "--order", "3", "--conditions", "stiff")
    assert found["plan"]["within_2_ulp"] == found["plan"]["coefficients"] == 3
    assert found["tableau"]["past"] == 2
    assert found["proved"]["stiff"] == 3


def test_the_best_member_is_chosen_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "norm.png"
    weak = ["--abscissae", "0,c2,2/3", "--order", "3", "--conditions", "weak", "--basis", "2..2"]
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
    assert found["parameters"] == ["b_5_1", "b_5_2", "b_5_3"]
    assert found["proved"]["stiff"] == 3


def test_a_pair_chosen_by_its_estimate_has_both_orders(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--embedded", "etdrk3", "--order", "2", "--conditions", "stiff"]
    (found,) = families(capsys, *arguments, "--minimise", "estimator")
    made = tableau_of(found["pair"])
    assert made.low is not None
    assert prove(made).classical == 3
    assert prove(Tableau(made.stages, made.low)).stiff == 2
    assert 0 < found["minimum"]["error"] < float("inf")  # an estimate that is there


@pytest.mark.slow
def test_an_embedded_row_is_for_the_equation_that_the_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RK4's rows are numbers: for y' = N(tau, y), where they have order 4, and not for y' = w(tau) N."""
    table = EXACT["rk4"].rows
    for form in ("rho", "t"):
        (tmp_path / f"{form}.json").write_text(json.dumps(table | {"form": form}))
    (family,) = families(capsys, "--embedded", str(tmp_path / "rho.json"), "--order", "2")
    assert family["form"] == "rho"
    assert family["parameters"] == ["b_3", "b_4"]
    assert derive("--embedded", str(tmp_path / "t.json"), "--order", "2") == USAGE
    assert "1/2 has no moment phi(k, c)" in capsys.readouterr().err
    assert derive("--embedded", str(tmp_path / "rho.json"), "--order", "2", "--form", "t") == USAGE


@pytest.mark.slow
def test_an_embedded_row_is_chosen_by_its_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--embedded", "hochbruck-ostermann4", "--order", "3", "--conditions", "stiff"]
    (found,) = families(capsys, *arguments, "--set", "b_5_1=0", "--minimise", "estimator")
    assert found["minimum"]["error"] <= 7**0.5 / 2
    tableau = tableau_of(found["pair"])
    assert prove(tableau).stiff == 3
    assert prove(tableau).weak_stiff == 4
    assert tableau.low is not None


def test_nested_collocation(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--collocation", "3")
    assert found["proved"]["stiff"] == 3
    assert prove(tableau_of(found["tableau"])).stiff == 3


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
        (["--order", "2", "--abscissae", "0,__import__"], "must be a number such as 1/2, 0.25 or sqrt(2)/2"),
        (["--order", "2", "--abscissae", "0,z"], "or names (c2), a letter other than N, P, e and z"),
        (["--order", "2", "--abscissae", "0,1/0"], "expected a divisor that is not zero"),
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
        (["--order", "2", "--past", "1", "--set", "c2"], "--set must be NAME=NUMBER or NAME=NAME"),
        (
            ["--order", "2", "--stages", "2", "--set", "q=1"],
            "--set must name a parameter (c2, b_2_1, b_2_2), got q",
        ),
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
        (["--order", "2", "--minimise", "problem-error", "--past", "1"], "is for methods of one step"),
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
    assert derive(*arguments, "--order", "4", "--form", "rho", "--set", "b_3=1/3", "--json") == OK
    found = json.loads(capsys.readouterr().out)["families"]
    outputs = [family["rows"][-1]["weights"] for family in found]
    assert {"N_1": "1/6", "N_2": "1/3", "N_3": "1/3", "N_4": "1/6"} in outputs


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
    assert data["reason"] == "the only such row is the tableau's own output row"


# --- what is claimed about existence ---


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    derive(*arguments, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stages", "2", "--order", "3", "--form", "rho"],
        ["--stages", "2", "--order", "3", "--conditions", "weak"],
        ["--abscissae", "0,1/2,1/2", "--order", "4"],
        ["--stages", "3", "--order", "4", "--form", "rho", "--set", "c3=c2"],
        ["--past", "1", "--order", "3"],
    ],
)
def test_no_such_method_is_said_where_every_case_was_looked_at(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, *arguments)
    assert found["families"] == found["not_looked_at"] == []
    assert found["complete"]
    assert found["reason"].startswith("there is no such method: no weights whose rows integrate a constant")


@pytest.mark.parametrize("conditions", ["classical", "stiff"])
def test_what_the_time_did_not_suffice_for_is_no_claim(
    conditions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five evaluations have no order 5, which is not looked at to the end in a second."""
    started = time.monotonic()
    arguments = ["--stages", "5", "--order", "5", "--conditions", conditions, "--time", "1", "--json"]
    assert derive(*arguments) == FAILED
    assert time.monotonic() - started < 10  # the end of one long elimination is not waited for
    found = json.loads(capsys.readouterr().out)
    assert not found["complete"]
    assert found["reason"].startswith("none found")
    assert "generic abscissae" in found["not_looked_at"][0]
    assert 0 <= found["unfinished"]["order_solved"] < 5


def test_special_abscissae_that_were_not_looked_at_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive("--stages", "2", "--order", "2") == OK
    assert "not looked at: one abscissa at 1" in capsys.readouterr().out
    found = said(capsys, "--stages", "2", "--order", "2", "--conditions", "stiff", "--special")
    assert found["complete"]
    assert len(found["families"]) == 1  # c2 = 1 is a member of the generic family


def test_an_unknown_name_is_refused_before_anything_is_solved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("solved")

    monkeypatch.setattr(Search, "run", run)
    for setting in ("q=1", "c3=q", "b_9_1=0"):
        assert derive("--stages", "3", "--order", "3", "--set", setting) == USAGE
        assert "--set must name a parameter (c2, c3, a3_2_1" in capsys.readouterr().err
    for name in ("sqrt2", "phi1", "pi", "alpha"):
        assert derive("--abscissae", f"0,{name}", "--order", "2") == USAGE
        assert "numbers (1/2, sqrt(2)/2) or names (c2)" in capsys.readouterr().err


# --- structure ---


def test_abscissae_can_be_equal_and_stages_parallel(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = families(capsys, "--stages", "3", "--order", "3", "--form", "rho", "--set", "c3=c2")
    assert [row["c"] for row in found["rows"]] == ["2/3", "2/3", "1"]
    both = ["--stages", "4", "--order", "3", "--form", "rho", "--parallel", "2,3", "--set", "c4=1"]
    for found in families(capsys, *both, "--set", "c2=1/3", "--set", "c3=2/3"):
        assert "N_2" not in found["rows"][1]["weights"]
        assert found["proved"]["classical"] == 3
    assert derive("--stages", "2", "--order", "2", "--parallel", "2,3") == USAGE


def test_abscissae_hold_square_roots(capsys: pytest.CaptureFixture[str]) -> None:
    lobatto = ["--abscissae", "0,(5-sqrt(5))/10,(5+sqrt(5))/10,1", "--order", "4", "--form", "rho"]
    (found,) = families(capsys, *lobatto)
    assert found["proved"]["classical"] == 4
    assert found["rows"][-1]["weights"] == {"N_1": "1/12", "N_2": "5/12", "N_3": "5/12", "N_4": "1/12"}
    (found,) = families(capsys, "--stages", "2", "--order", "2", "--set", "c2=sqrt(2)/2", "--set", "b_2_2=0")
    assert prove(tableau_of(found["tableau"])).classical == 2


@pytest.mark.parametrize(("basis", "indices"), [("2", {1, 2}), ("2..2", {2}), ("1,2", {1, 2}), ("2,", {2})])
def test_a_basis_is_a_range_or_a_list(
    basis: str, indices: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = families(capsys, "--stages", "2", "--order", "2", "--set", "c2=1/2", "--basis", basis)
    weight = found["rows"][-1]["weights"]["N_2"]
    assert {k for k in range(1, 9) if f"phi({k}, 1)" in weight} == indices


def test_a_multistep_method_is_the_best_on_equal_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Two evaluations of weight 3/2 and -1/2 at z = 0 have the least error: Adams & Bashforth's."""
    (found,) = families(
        capsys, "--past", "1", "--order", "1", "--form", "rho", "--minimise", "error-norm", "--json"
    )
    assert found["rows"][-1]["weights"] == {"P_1": "-1/2", "N_1": "3/2"}


# --- output ---


def test_what_is_written_is_one_tableau_or_a_list_of_solutions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--abscissae", "0,2/3,c3", "--order", "3", "--form", "rho", "--set", "b_3=1/4"]
    arguments.append("--special")
    assert derive(*arguments, "--output", "json") == OK
    solutions = json.loads(capsys.readouterr().out)["solutions"]
    assert len(solutions) == 2
    for k, solution in enumerate(solutions, 1):
        assert derive(*arguments, "--output", "json", "--solution", str(k)) == OK
        assert json.loads(capsys.readouterr().out) == solution
        assert (solution["form"], solution["claimed"]) == ("rho", 3)
        assert local_order(expand(tableau_of(solution), 4, "rho"), 4) == 3
    assert derive(*arguments, "--solution", "3") == USAGE
    assert "--solution must be at most 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["krogstad4", "exprb43"])
def test_an_embedded_row_is_written_with_its_method(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = CATALOGUE[name]
    names = [f"b_{i}_{k}" for i in range(2, len(entry.tableau.c) + 2) for k in (1, 2)]
    values = {"b_2_1": "1/2", "b_2_2": "1"}  # b_2(0) = 1 at c_2 = 1/2
    settings = [part for n in names for part in ("--set", f"{n}={values.get(n, 0)}")]
    arguments = ["--embedded", name, "--order", "2", *settings]
    assert derive(*arguments, "--output", "python") == OK
    words: dict[str, Any] = {}
    exec(capsys.readouterr().out, words)  # our own text, of no file
    assert derive(*arguments, "--output", "json") == OK
    data = json.loads(capsys.readouterr().out)
    assert data.get("linearised", False) == entry.linearised
    for pair in (words["derived"](), tableau_of(data)):
        assert not list(differences(pair, entry.tableau))
        assert prove(Tableau(pair.stages, pair.low), linearised=entry.linearised).classical == 2


def test_python_of_several_families_builds_each(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--abscissae", "0,1/2,c3,c4", "--order", "4", "--form", "rho", "--output", "python"]
    assert derive(*arguments) == OK
    words: dict[str, Any] = {}
    exec(capsys.readouterr().out, words)  # our own text, of no file
    assert {words[f"derived_{k}"]().c for k in (1, 2)} == {
        (Rational(1, 2), Rational(c, 2), Integer(1)) for c in (0, 1)
    }
