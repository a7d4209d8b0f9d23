"""Every golden case is rebuilt and agrees; a wrong number, count or option is noticed."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from semilinear.integrators.solvers import deis
from semilinear.verification.golden import DATA, read, replay_case, replay_file
from semilinear.verification.releases.deis import DEIS_METHODS
from semilinear.verification.releases.rebuild import GoldenError

FILES = sorted(DATA.glob("*.json"))
CASES = [(path, i) for path in FILES for i in range(len(read(path)["cases"]))]


def case(name: str, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    data = read(DATA / f"{name}.json")
    return data, copy.deepcopy(data["cases"][index])


@pytest.mark.parametrize(("path", "index"), CASES, ids=[f"{p.stem}-{i}" for p, i in CASES])
def test_every_case_agrees_with_the_released_code(path: Path, index: int) -> None:
    data = read(path)
    result = replay_case(data, index, data["cases"][index], path.name)
    assert result.error == ""
    assert result.nfe_ok
    assert result.difference <= 1e-10
    assert result.ok


def test_there_are_165_cases() -> None:
    assert {p.stem: len(read(p)["cases"]) for p in FILES} == {
        "deis": 56,
        "dpm-solver": 49,
        "dpm-solver-pp": 60,
    }


@pytest.mark.parametrize(
    ("name", "index"), [("dpm-solver", 2), ("dpm-solver-pp", 7), ("deis", 3), ("dpm-solver-pp", 54)]
)
@pytest.mark.parametrize("field", ["x_final", "x_init"])
def test_a_changed_digit_is_noticed(name: str, index: int, field: str) -> None:
    data, changed = case(name, index)
    changed[field][0][0] += 1e-7
    result = replay_case(data, index, changed)
    assert not result.ok
    assert result.difference > 1e-10


@pytest.mark.parametrize(
    ("name", "index", "path"),
    [
        ("dpm-solver", 7, ["intermediate", 3, 0, 1]),
        ("dpm-solver", 38, ["stage_model_values", 1, 2, 0]),
        ("deis", 29, ["model_inputs", "states", 4, 1, 0]),
        ("deis", 29, ["model_inputs", "times", 4]),
        ("dpm-solver", 20, ["times", 2]),
        ("dpm-solver-pp", 52, ["noise", 4, 1, 1]),
    ],
)
def test_every_recorded_number_counts(name: str, index: int, path: list[Any]) -> None:
    data, changed = case(name, index)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] *= 1 + 1e-7
    assert not replay_case(data, index, changed).ok


@pytest.mark.parametrize("path", [["x_final", 0, 0], ["intermediate", 1, 0, 0], ["times", 1]])
def test_a_nan_in_any_recorded_array_is_a_difference(path: list[Any]) -> None:
    data, changed = case("dpm-solver", 3)
    target: Any = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = math.nan
    assert not replay_case(data, 3, changed).ok


def test_a_wrong_count_of_evaluations_is_noticed() -> None:
    data, changed = case("dpm-solver", 0)
    changed["nfe"] += 1
    result = replay_case(data, 0, changed)
    assert not result.nfe_ok
    assert not result.ok


@pytest.mark.parametrize(("key", "factor"), [("error", 1.01), ("step", 1.01)])
def test_a_wrong_adaptive_attempt_is_noticed(key: str, factor: float) -> None:
    data, changed = case("dpm-solver-pp", 35)
    changed["attempts"][4][key] *= factor
    assert not replay_case(data, 35, changed).ok


def test_the_released_quadrature_is_needed_to_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact coefficients are not those of the release: the replay would notice."""
    data, unchanged = case("deis", 3)
    monkeypatch.setitem(DEIS_METHODS, "t_ab", lambda o: deis.tab(int(o["polynomial_degree"])))
    assert 1e-6 < replay_case(data, 3, unchanged).difference < 1e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["options"].update(method="implicit"), "method 'implicit' is not known"),
        (lambda c: c["options"].update(spacing="cubic"), "spacing must be one of"),
        (lambda c: c["options"].pop("order"), "missing field 'order'"),
        (lambda c: c["options"].update(algorithm_type="x"), "algorithm_type must be one of dpmsolver,"),
        (lambda c: c.pop("x_init"), "missing field 'x_init'"),
        (lambda c: c.update(options={}), "no solver here is built"),
        (lambda c: c.update(noise_schedule={"kind": "triangular"}), "'triangular' is not known"),
        (lambda c: c.update(problem=3), "problem must hold"),
        (lambda c: c["x_final"].pop(), "recorded array has shape"),
        (lambda c: c["options"].update(order=7), "order must be 1, 2 or 3"),
        (lambda c: c.update(options=["algorithm_type"]), "an object `options`"),
        (lambda c: c.update(x_init=[[0.0, 1.0, 2.0]]), "RuntimeError"),
        (lambda c: c.update(times="none"), "could not convert"),
    ],
)
def test_cases_that_cannot_be_built_say_why(change: Any, message: str) -> None:
    data, changed = case("dpm-solver", 3)
    change(changed)
    result = replay_case(data, 3, changed)
    assert not result.ok
    assert message in result.error


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"cases": 3}', "\x00"])
def test_files_that_are_not_golden_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(GoldenError):
        list(replay_file(tmp_path / "x.json"))


def test_malformed_cases_do_not_stop_the_others(tmp_path: Path) -> None:
    data = read(DATA / "dpm-solver.json")
    data["cases"] = [None, {"solver": "x"}, data["cases"][0]]
    (tmp_path / "x.json").write_text(json.dumps(data))
    assert [r.ok for r in replay_file(tmp_path / "x.json")] == [False, False, True]
