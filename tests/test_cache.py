"""What is kept between runs: by the hash of all that it depends on, and read without executing anything."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
from semilinear.integrators.diffusion.schedule import vp_cosine, vp_linear
from semilinear.verification.problems import cache, reference
from semilinear.verification.problems.cache import Cache, Memory, digest, keeping, remembered
from semilinear.verification.problems.named import problem


@dataclass(frozen=True)
class Value:
    number: float
    many: Any = ()


@dataclass(frozen=True)
class Other:
    number: float
    many: Any = ()


DIFFERENT = (
    *(None, 1, 1.0, True, "1", -0.0, 0.0, Fraction(1)),
    *((), (1,), ((1,),), (1, 1), ("1", "1"), ("11",), {"a": 1}, ("a", (1,))),
    *(np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.array([0.0, -0.0])),
    *(Value(1.0), Value(1.0, (1,)), Other(1.0)),
)


def test_what_differs_has_another_hash_and_what_is_equal_the_same() -> None:
    assert len({digest(value) for value in DIFFERENT}) == len(DIFFERENT)
    assert digest(Value(0.1, [np.ones(3)])) == digest(Value(0.1, [np.ones(3)]))
    assert digest(1, 2) != digest((1, 2))


def test_where_no_folder_can_be_made_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Cache(tmp_path / "file" / "rows")
    kept.put("a", 1)
    assert kept.get("a") is None


@pytest.mark.parametrize("value", [lambda: 0, {1, 2}, object(), Value(1.0, print)])
def test_what_is_no_plain_data_has_none(value: Any) -> None:
    with pytest.raises(TypeError, match="has no digest"):
        digest(value)


def test_numbers_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = np.random.default_rng(0).standard_normal((5, 3)) * 10.0 ** np.arange(-150, 150, 20).reshape(5, 3)
    for kept in (Cache(tmp_path), Memory()):
        with keeping(kept):
            first, second = (remembered(("x", 1), lambda: made, made.shape) for _ in range(2))
            assert np.array_equal(first.view(np.int64), second.view(np.int64))
            assert np.array_equal(remembered(("x", 1), lambda: made + 1, made.shape), made)
            assert np.array_equal(remembered(("x", 2), lambda: made + 1, made.shape), made + 1)
    assert np.array_equal(remembered(("x", 1), lambda: made + 1, made.shape), made + 1)  # outside


@pytest.mark.parametrize("text", ["", "[1", "[[1, 2]]", "{}", '["a", "b"]', "[NaN, 1]", "\x00", "[" * 10**5])
def test_a_file_that_holds_something_else_counts_as_absent(text: str, tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    with keeping(kept):
        remembered(("x",), lambda: np.zeros(2), (2,))
        (file,) = kept.path.iterdir()
        file.write_text(text)
        assert np.array_equal(remembered(("x",), lambda: np.ones(2), (2,)), np.ones(2))
    assert json.loads(file.read_text()) == [1.0, 1.0]


def test_what_is_not_finite_or_has_no_hash_is_not_kept(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    with keeping(kept):
        assert np.isnan(remembered(("x",), lambda: np.full(1, np.nan), (1,))).all()
        assert remembered((print,), lambda: np.ones(1), (1,)) == 1
    assert list(kept.path.iterdir()) == []


def test_a_folder_that_cannot_be_written_loses_what_is_put(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    kept.path.rmdir()
    kept.path.write_text("a file")
    kept.put("a", 1)
    assert kept.get("a") is None


def test_results_of_the_last_few_versions_of_the_code_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        monkeypatch.setattr(cache, "fingerprint", lambda i=i: f"version {i}")
        os.utime(Cache(tmp_path).path, (i, i))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"version {i}" for i in range(2, 6)]


def test_a_process_remembers_the_last_data_alone() -> None:
    kept = Memory(most=2)
    for key in "abc":
        kept.put(key, key)
    assert [kept.get(key) for key in "abc"] == [None, "b", "c"]


# --- reference solutions ---


@pytest.mark.parametrize("name", ["golden-mixture", "mixture-1d"])
def test_a_reference_is_solved_once_and_is_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    law, x = problem(name), np.full((2, problem(name).dimension), 0.3)

    def solved(*times: float, schedule: Any = None) -> Any:
        return reference.reference(law, schedule or vp_linear(), x, 0.5, list(times), tolerance=1e-6)

    plain = solved(0.3, 0.2)
    with keeping(Cache(tmp_path)):
        first = solved(0.2)
        other = solved(0.2, schedule=vp_cosine())
        with monkeypatch.context() as broken:
            broken.setattr(scipy.integrate, "solve_ivp", None)
            broken.setattr(type(law), "flow", None)
            again = solved(0.2)
            with pytest.raises(TypeError):
                solved(0.3)
        both = solved(0.3, 0.2)
    assert first.bound == again.bound
    assert not np.array_equal(first.states[0.2], other.states[0.2])
    for t, found in ((0.2, first), (0.2, again), (0.2, both), (0.3, both)):
        assert np.array_equal(found.states[t], plain.states[t])
    assert both.bound == plain.bound
