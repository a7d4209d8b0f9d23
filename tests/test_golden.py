"""Every golden case is rebuilt and agrees; a wrong number, count or option is noticed."""

from __future__ import annotations

import copy
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.solvers import deis
from semilinear.verification.replay.golden import DATA, read, replay_case, replay_file
from semilinear.verification.replay.releases import dpm_solver
from semilinear.verification.replay.releases.deis import DEIS_METHODS
from semilinear.verification.replay.releases.rebuild import GoldenError, relative_difference, within_domain

from tests.slow import slow

FILES = sorted(DATA.glob("*.json"))


@cache
def golden(path: Path) -> dict[str, Any]:
    """A golden file's contents, parsed once: not to be changed."""
    return read(path)


CASES = [(path, i) for path in FILES for i in range(len(golden(path)["cases"]))]


def is_long(path: Path, index: int) -> bool:
    """A likelihood to nine digits on another SDE than VP: thousands of evaluations of one integrator."""
    case = golden(path)["cases"][index]
    tight = "log-likelihood" in case["solver"] and case["options"]["rtol"] < 1e-8
    return tight and case["options"]["sde"] != "vp"


def case(name: str, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    data = golden(DATA / f"{name}.json")
    return data, copy.deepcopy(data["cases"][index])


@pytest.mark.parametrize(
    ("path", "index"), slow(CASES, lambda case: is_long(*case)), ids=[f"{p.stem}-{i}" for p, i in CASES]
)
def test_every_case_agrees_with_the_released_code(path: Path, index: int) -> None:
    data = golden(path)
    result = replay_case(data, index, data["cases"][index], path.name)
    assert result.error == ""
    assert result.nfe_ok
    assert result.difference <= 1e-10  # rounding of a run of up to 1000 steps; a wrong digit is 1e-7
    assert result.ok


def test_every_golden_case_is_here() -> None:
    assert {p.stem: len(read(p)["cases"]) for p in FILES} == {
        "deis": 56,
        "dpm-solver": 49,
        "dpm-solver-pp": 60,
        "scire": 78,
        "er-sde": 64,
        "unipc": 38,
        "dpm-solver-v3": 124,
        "score-sde": 107,
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
    # far above the replay's tolerance, far below 1
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
        (lambda c: c["options"].update(order=7), "order must be an integer from 1 to 3"),
        (lambda c: c.update(options=["algorithm_type"]), "an object `options`"),
        (lambda c: c.update(x_init=[[0.0, 1.0, 2.0]]), "states must have 2 components each"),
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


def case_of(name: str, wanted: Any) -> tuple[Any, int, Any]:
    data = read(DATA / f"{name}.json")
    i = next(i for i, c in enumerate(data["cases"]) if wanted(c))
    return data, i, json.loads(json.dumps(data["cases"][i]))


def test_a_grid_of_another_rule_is_noticed() -> None:
    """The states agree, since the run takes the recorded times; the rule's times do not."""
    data, i, c = case_of(
        "dpm-solver-pp",
        lambda c: (
            str(c["options"].get("method")).startswith("multistep")
            and c["options"].get("spacing") == "time_uniform"
        ),
    )
    c["options"]["spacing"] = "logSNR"
    result = replay_case(data, i, c)
    assert not result.ok
    assert result.times_difference > 1e-9


def test_a_free_adaptive_run_must_end_where_the_release_does(monkeypatch: Any) -> None:
    data = read(DATA / "dpm-solver-pp.json")
    assert replay_case(data, 35, data["cases"][35]).ok
    monkeypatch.setattr(dpm_solver, "FREE_TOLERANCE", 0.0)
    assert "with its own controller our run ends" in replay_case(data, 35, data["cases"][35]).error


def test_a_proposal_that_does_not_follow_from_the_error_is_noticed() -> None:
    data = read(DATA / "dpm-solver-pp.json")
    c = json.loads(json.dumps(data["cases"][35]))
    c["attempts"][-1]["step"] *= 1.001
    assert "the release goes on with" in replay_case(data, 35, c).error


def test_a_missing_attempt_and_a_missing_time_are_noticed() -> None:
    data = read(DATA / "dpm-solver-pp.json")
    for key in ("attempts", "times"):
        c = json.loads(json.dumps(data["cases"][35]))
        c[key].append(c[key][-1])
        assert not replay_case(data, 35, c).ok


def test_a_difference_is_relative_to_the_state() -> None:
    # ulp/1e-8
    assert relative_difference(np.array([1e-6 + 1e-14]), [1e-6]) == pytest.approx(1e-8, rel=1e-6, abs=0)


def test_the_last_error_estimate_counts() -> None:
    """No step follows it, so nothing but the estimate itself can be compared."""
    data = read(DATA / "dpm-solver-pp.json")
    c = json.loads(json.dumps(data["cases"][35]))
    c["attempts"][-1]["error"] *= 1.01
    assert "error estimate" in replay_case(data, 35, c).error


def test_a_wrong_count_of_an_adaptive_run_is_noticed() -> None:
    data = read(DATA / "dpm-solver-pp.json")
    c = json.loads(json.dumps(data["cases"][35]))
    c["nfe"] += 1
    assert not replay_case(data, 35, c).nfe_ok


def test_only_rounding_is_put_back_into_the_schedules_domain() -> None:
    inside = within_domain(vp_linear(), [1 + 1e-13, 0.5, -1e-13])
    assert inside == [1.0, 0.5, 0.0]
    assert within_domain(vp_linear(), [1.1]) == [1.1]


def test_a_case_of_an_exception_must_not_record_results() -> None:
    data = read(DATA / "score-sde.json")
    index = next(i for i, c in enumerate(data["cases"]) if c["solver"].startswith("predictor"))
    wrong = copy.deepcopy(data["cases"][index])
    wrong["options"]["raises"] = "TypeError"
    result = replay_case(data, index, wrong)
    assert not result.ok
    assert "cannot record" in result.error
