"""Rows of the committed reports, made again: the code says what the reports say.

One row of each kind that takes a second or so; `semilinear verify` makes them all.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from semilinear.verification.campaign import plan, runner
from semilinear.verification.claims.identities import proofs
from semilinear.verification.inverse import study as inverse
from semilinear.verification.replay.golden import DATA, read, replay_case

from tests.slow import slow

REPORTS = Path(__file__).parents[1] / "reports"
DIGITS = 2e-4
"""Half of the last digit that is printed of an order or a ratio (three decimals) is 5e-4; what another
machine's libraries change by rounding is smaller.
"""


def committed(name: str) -> Any:
    return json.loads((REPORTS / f"{name}.json").read_text())


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two JSON values are not the same: numbers to `DIGITS`, errors of runs to their floor."""
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [f"{path}: keys {sorted(found.keys() ^ expected.keys())}"]
        if {
            "error",
            "floor",
        } <= found.keys():  # a run: floors are measured rounding, of which the size counts
            a, b = (math.hypot(*(row[k] or 0.0 for k in ("error", "floor"))) for row in (found, expected))
            rest = [
                {k: v for k, v in row.items() if k not in ("error", "floor")} for row in (found, expected)
            ]
            same = abs(a - b) <= DIGITS * b + max(found["floor"], expected["floor"])
            return ([] if same else [f"{path}: error {a} for {b}"]) + differences(rest[0], rest[1], path)
        return [d for key in found for d in differences(found[key], expected[key], f"{path}.{key}")]
    if isinstance(found, list | tuple) and isinstance(expected, list):
        if len(found) != len(expected):
            return [f"{path}: {len(found)} for {len(expected)}"]
        pairs = enumerate(zip(found, expected, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}[{i}]")]
    if isinstance(found, float) and isinstance(expected, int | float):
        same = abs(found - expected) <= DIGITS * max(1.0, abs(expected))
    else:
        same = found == expected
    return [] if same else [f"{path}: {found!r} for {expected!r}"]


def test_a_changed_digit_is_a_difference() -> None:
    row = committed("orders")["rows"][0]
    changed = json.loads(json.dumps(row))
    changed["own"]["observed"] += 1e-3
    changed["own"]["points"][0]["error"] *= 1.001
    assert [d.split(":")[0] for d in differences(changed, row)] == [".own.observed", ".own.points[0]"]


ROWS = [
    ("rows", "main: ddim"),
    ("rows", "main: dpm-solver-3m-released"),
    ("rows", "main: dpm-solver-fast-3, NFE 1 mod 3"),
    *(("stochastic", name) for name in ("sde-dpm-solver-2m", "er-sde-1", "ddpm", "edm-heun-churn")),
    *(("solvers", name) for name in ("ddim", "dpm-solver-3", "deis-tab2", "dpm-solver-fast-3, NFE 1 mod 3")),
    *(("catalogue", name) for name in ("lawson-euler", "etdrk2", "rosenbrock-euler")),
    *(("released", f"RES4LYF/{name}") for name in ("midpoint_2s", "lobatto_iiic_2s")),
    ("constants", "ddim"),
    *(("mutations", f"{name}, 4 mutants") for name in ("ddim", "dpm-solver-2m", "rosenbrock-euler")),
    ("stability", "dpm-solver++-1"),
    ("rows", "main: dpm-solver++-2m"),
    ("rows", "general mixture: deis-tab2"),
    ("rows", "handwritten digits: ddim"),
    ("rows", "50 digits: ddim"),
]
SLOW = {key for _, key in ROWS[-4:]} | {"edm-heun-churn", "rosenbrock-euler", "main: dpm-solver-3m-released"}
"""Rows that take three seconds or more; each part and each verdict has a quicker one."""
FILLED_IN = ("proved", "agreement")
"""Of a row, where reports are made: from other rows."""


@cache
def planned() -> dict[tuple[str, str], Any]:
    return {(task.part, task.key): task for task in plan.tasks(False)}


@pytest.mark.parametrize(("part", "key"), slow(ROWS, lambda row: row[1] in SLOW))
def test_a_row_is_the_reported_one(part: str, key: str) -> None:
    task = planned()[part, key]
    ((_, expected),) = plan.Reports(REPORTS).rows([task])
    found = json.loads(json.dumps(runner.run(task)))
    assert differences(found, {**expected, **{k: found[k] for k in FILLED_IN if k in found}}) == []


@pytest.mark.parametrize(
    ("file", "index"), [("deis", 0), ("dpm-solver-v3", 3), ("score-sde", 1), ("unipc", 5)]
)
def test_a_replayed_case_is_the_reported_one(file: str, index: int) -> None:
    """Differences are of rounding, and differ from machine to machine: what they must be is bounded."""
    (row,) = (r for r in committed("orders")["replay"] if (Path(r["file"]).stem, r["index"]) == (file, index))
    data = read(DATA / f"{file}.json")
    found = replay_case(data, index, data["cases"][index], row["file"]).data
    rounding = ("difference", "times_difference")
    assert {k: v for k, v in found.items() if k not in rounding} == {
        k: v for k, v in row.items() if k not in rounding
    }
    assert all(found[k] <= max(10 * row[k], 1e-14) for k in rounding)  # some ulp, in another order


def test_the_reported_identities_are_those_that_are_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    from semilinear.verification.claims import identities

    chosen = identities.IDENTITIES[::22]
    monkeypatch.setattr(identities, "IDENTITIES", chosen)
    reported = {row["statement"]: row for row in committed("orders")["identities"]}
    assert proofs() == [reported[i.statement] for i in chosen]


@pytest.mark.parametrize("sampler", ["replacement, as released", "exact likelihood (control)"])
def test_a_sampled_posterior_is_the_reported_one(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverse, "SAMPLERS", {sampler: inverse.SAMPLERS[sampler]})
    (found,) = inverse.study(inverse.PROBLEMS[:1], steps=(50,))
    (row,) = (
        r
        for r in committed("inverse-problems")
        if (r["problem"], r["sampler"], r["steps"]) == (found.problem, sampler, 50)
    )
    assert differences(asdict(found) | {"biased": found.biased}, row) == []
    assert differences(asdict(replace(found, mean=found.mean + 1e-3)) | {"biased": found.biased}, row)
