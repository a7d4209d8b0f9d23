"""`semilinear order`, `stability` and `prove` take the same targets: what each makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from semilinear.verification.commands.cli import main

from tests.published_tables import ROUNDED

ETDRK2 = {"c": ["0", "1"], "a": [[], ["phi(1, 1)"]], "b": ["phi(1, 1) - phi(2, 1)", "phi(2, 1)"]}
HEUN = {"c": ["0", "1"], "a": [[], ["1"]], "b": ["1/2", "1/2"]}
EXPRB2 = {
    "c": ["0"],
    "a": [[]],
    "b": ["phi(1, 1)"],
    "linearised": True,
    "name": "exponential Rosenbrock-Euler",
}


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def written(tmp_path: Path, data: Any, name: str = "table.json") -> str:
    path = tmp_path / name
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize(
    ("data", "options", "order", "problem"),
    [
        (ETDRK2, ["--digits", "25"], 2, "coupled-3d"),
        (HEUN, [], 1, "coupled-3d"),
        (EXPRB2, [], 2, "gradient-3d"),
        (HEUN, ["--form", "rho"], 2, None),
        (ETDRK2, ["--form", "lambda"], 2, None),
        (ETDRK2, ["--form", "t"], 2, None),
        (ETDRK2 | {"b": ["phi(1, 1)", "0"]}, ["--digits", "25"], 1, "coupled-3d"),
    ],
)
def test_a_file_is_measured_against_what_is_proved_of_it(
    tmp_path: Path, capsys: Any, data: Any, options: list[str], order: int, problem: str | None
) -> None:
    """A plain table has its order where L = 0 alone."""
    limit = ["--max-steps", "64" if problem else "128", *([] if problem else ["--batch", "8"])]
    code, out, _ = run(capsys, "order", written(tmp_path, data), *options, *limit, "--json")
    found = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert (found["claim"], found["claimed"], found["verdict"]) == ("proved", order, "consistent")
    assert found["observed"] == pytest.approx(order, abs=0.01)  # of the fit: seen 1e-3
    assert found.get("problem") == problem
    stages = len(data["c"])
    assert all(p["NFE"] == stages * p["N"] for p in found["points"])


def test_a_claim_that_is_given_is_judged(tmp_path: Path, capsys: Any) -> None:
    path = written(tmp_path, HEUN)
    code, out, _ = run(capsys, "order", path, "--claimed", "2", "--max-steps", "64", "--digits", "25")
    assert code == 1
    assert "claimed 2, observed order 1." in out
    assert ": lower" in out
    assert "nothing" not in out


def test_what_is_proved_is_said_to_be(tmp_path: Path, capsys: Any) -> None:
    path = written(tmp_path, HEUN | {"name": "[red]Heun"})
    _, out, _ = run(capsys, "order", path, "--max-steps", "32", "--digits", "25")
    assert "a file claims nothing" in out
    assert "[red]Heun on coupled-3d" in " ".join(out.split())


@pytest.mark.parametrize(
    ("name", "options", "claim"),
    [
        ("exprk6s15", [], 6),
        ("exprb32", [], 3),
        ("krogstad4", ["--problem", "coupled-3d"], 4),
        ("krogstad4", ["--form", "lambda", "--batch", "8"], 4),
        ("krogstad4", ["--form", "rho", "--batch", "8"], 4),
        ("ab-norsett2", ["--problem", "coupled-3d"], 2),
    ],
)
def test_an_entry_of_the_catalogue_keeps_its_claim(
    capsys: Any, name: str, options: list[str], claim: int
) -> None:
    code, out, _ = run(capsys, "order", name, *options, "--max-steps", "64", "--json")
    found = json.loads(out)
    assert (code, found["claimed"], found["claim"], found["verdict"]) == (0, claim, "source", "consistent")


def test_the_name_of_a_solver_is_still_the_solver(capsys: Any) -> None:
    _, out, _ = run(capsys, "order", "etdrk2", "--max-steps", "48", "--batch", "4", "--json")
    assert "statistics" in json.loads(out)  # a study on a problem of diffusion, not on a system


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["krogstad5"], "the nearest are krogstad4"),
        (["ddim", "--form", "rho"], "--form does not apply to ddim: a listed solver has a form"),
        (["ddim", "--problem", "coupled-3d"], "is for entries of the catalogue and files"),
        (["exprb32", "--form", "rho"], "--form does not apply to exprb32: it is of Rosenbrock type"),
        (["exprb32", "--digits", "20"], "--digits does not apply to exprb32"),
        (["exprb32", "--problem", "coupled-3d"], "it is measured on gradient-3d"),
        (["krogstad4", "--problem", "gradient-3d"], "it is measured on coupled-3d"),
        (["krogstad4", "--problem", "coupled-3d", "--form", "rho"], "is for problems of diffusion"),
        (["krogstad4", "--problem", "coupled-3d", "--grid", "t"], "--grid does not apply"),
        (["krogstad4", "--problem", "coupled-3d", "--lam-end", "3"], "--lam-end does not apply"),
        (["krogstad4", "--problem", "coupled-3d", "--batch", "3"], "--batch does not apply"),
        (["exprb32", "--problem", "mixture-1d"], "--problem must be one of coupled-3d, gradient-3d"),
        (["krogstad4", "--form", "rho", "--param", "a=1"], "it is a tableau, not a solver"),
        (["krogstad4", "--form", "rho", "--problem", "mixture"], "'mixture'"),
        (["krogstad4", "--form", "x"], "--form must be one of lambda, rho, t, got 'x'"),
        (["exprb32", "--max-steps", "4"], "--max-steps must be an integer >= 8"),
        (["exprb32", "--max-steps", "16"], ""),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys: Any, arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, "order", *arguments)
    if not message:  # a ladder too short for an estimate is no bad usage
        assert code == 1
        assert "inconclusive" in out
        return
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


COMMANDS = (["prove"], ["order"], ["stability"], ["derive", "--order", "2", "--embedded"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
@pytest.mark.parametrize(
    "kind", ["missing", "folder", "malformed", "keys", "empty", "binary", "list", "unknown"]
)
def test_a_bad_target_is_one_clear_line(tmp_path: Path, capsys: Any, command: list[str], kind: str) -> None:
    contents, words = {
        "missing": (None, "cannot be read: No such file or directory"),
        "folder": (None, "cannot be read: Is a directory"),
        "malformed": (b'{"c": [', "not JSON"),
        "keys": (b'{"c": ["0"], "a": [[]], "weights": ["1"]}', "unknown key 'weights'"),
        "empty": (b"", "not JSON"),
        "binary": (b"\x89PNG\r\n\x1a\n\x00\xff", "not text in UTF-8"),
        "list": (b"[1, 2]", "must be an object"),
        "unknown": (None, "expected a listed solver, an entry of the catalogue"),
    }[kind]
    path = tmp_path / "bad.json"
    if kind == "folder":
        path.mkdir()
    elif contents is not None:
        path.write_bytes(contents)
    target = "dpm-solver-22" if kind == "unknown" else str(path)
    code, out, err = run(capsys, *command, target)
    assert (code, out) == (2, "")
    assert words in err
    assert target in err
    assert err.count("\n") == 1
    code, out, err = run(capsys, *command, target, "--json")
    assert (code, out) == (2, "")
    assert words in json.loads(err)["error"]


@pytest.mark.slow
def test_the_rounding_of_a_table_refutes_nothing(capsys: Any, tmp_path: Path) -> None:
    """RK8(7)13M in fractions of 18 digits is of order 0 as it is written: errors end where its digits do."""
    table = {"form": "rho", "claimed": 8} | ROUNDED["rk8(7)13m"].rows
    path = written(tmp_path, table)
    options = ["--form", "rho", "--digits", "30", "--batch", "2", "--max-steps", "192", "--json"]
    _, out, _ = run(capsys, "order", path, *options)
    data = json.loads(out)
    assert data["verdict"] in ("consistent", "inconclusive")
    assert data["observed"] == pytest.approx(8, abs=0.2)  # few points above the digits
    used = [p for p in data["points"] if p["usable"]]
    assert len(used) >= 8
    assert all(p["floor"] > 1e-17 for p in data["points"])


def test_a_rosenbrock_table_is_cut_at_its_rounding_too(capsys: Any, tmp_path: Path) -> None:
    """Third order with c_2 = 0.7: 2/c_2^2 in ten decimals, right and with a digit wrong."""
    for weight, exact in (("4.0816326531", True), ("4.0916326531", False)):
        table = {"c": ["0", "7/10"], "a": [[], ["7/10*phi(1, 7/10)"]]}
        table |= {"b": [f"phi(1, 1) - {weight}*phi(3, 1)", f"{weight}*phi(3, 1)"]}
        path = written(tmp_path, table | {"linearised": True, "claimed": 3})
        _, out, _ = run(capsys, "order", path, "--json")
        data = json.loads(out)
        assert data["verdict"] == ("consistent" if exact else "lower"), data
        assert all(p["floor"] >= 30 * 5e-11 for p in data["points"])


def test_a_wrong_coefficient_of_a_rounded_table_is_refuted(capsys: Any, tmp_path: Path) -> None:
    """1 + 1e-3 times a weight, in ten digits, and the same table as it should be."""
    for weight, verdict in (("0.3333333333", "consistent"), ("0.3336666666", "lower")):
        table = {"c": ["0", "1/2", "1/2", "1"], "a": [[], ["1/2"], ["0", "1/2"], ["0", "0", "1"]]}
        table |= {"b": ["0.1666666667", weight, "0.3333333333", "0.1666666667"]}
        path = written(tmp_path, table | {"form": "rho", "claimed": 4, "name": verdict})
        _, out, _ = run(
            capsys, "order", path, "--form", "rho", "--batch", "4", "--max-steps", "256", "--json"
        )
        assert json.loads(out)["verdict"] == verdict, json.loads(out)
