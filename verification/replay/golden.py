"""Replay of golden files: every case of a released implementation, rebuilt from its options in our solvers.

A file holds a family, an origin and cases; a case may override the file's problem and noise schedule.  Each
case is rebuilt by its release's family (`releases/`), run, and compared with every number that the release
recorded: the final state, intermediate states, model inputs, accepted times.  Nothing in a file is executed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.integrators.common.files import Written, json_number, read_json
from semilinear.integrators.common.messages import shown

from .releases import family
from .releases.rebuild import TOLERANCE, Case, GoldenError, Record, relative_difference

TIME_TOLERANCE = 1e-9
"""Released times carry rounding of their own (a grid in float64 rho, inverted): up to 1e-12 relative."""

DATA = Path(__file__).parent / "golden-data"


@dataclass(frozen=True)
class CaseResult(Written):
    """One case: how far ours is from the release, relative to each state's largest component.  It prints as
    one line.
    """

    file: str
    index: int
    solver: str
    ours: str
    """Name of our solver, empty when the case could not be built."""
    difference: float
    times_difference: float
    nfe: int
    nfe_ok: bool
    tolerance: float
    error: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the case was built, and agrees in numbers, times and evaluations."""
        return (
            not self.error
            and self.nfe_ok
            and self.difference <= self.tolerance
            and self.times_difference <= TIME_TOLERANCE
        )

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: a case of `semilinear replay --json`."""
        return {
            "file": self.file,
            "index": self.index,
            "solver": self.solver,
            "ours": self.ours,
            "difference": json_number(self.difference),
            "times_difference": json_number(self.times_difference),
            "nfe": self.nfe,
            "nfe_ok": self.nfe_ok,
            "tolerance": self.tolerance,
            "ok": self.ok,
            "error": self.error,
            "note": self.note,
        }

    def __str__(self) -> str:
        solver, error = (" ".join(text.split()) for text in (self.solver, self.error))  # whatever they hold
        case = f"{self.file}  {self.index:4d}  {solver}"
        if self.error:
            return f"{case}: FAILED: {error}"
        mark = "" if self.ok else "  FAILED"
        nfe = "ok" if self.nfe_ok else f"WRONG ({self.nfe})"
        note = f"  ({self.note})" if self.note else ""
        return f"{case}: {self.difference:.1e}  NFE {nfe}{mark}{note}"


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a golden file.  Raises GoldenError if it is not one, OSError if it cannot be read."""
    return read_json(path, GoldenError, _cases)


def _cases(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("cases"), list) or not data["cases"]:
        raise GoldenError("a golden file is an object with a non-empty list `cases`")
    return data


def replay(*paths: str | Path) -> list[CaseResult]:
    """Replay golden files; without any, all that are here: what released code computed, made again.

    Raises TypeError for what is no path, GoldenError for a file that is none, OSError for one that cannot be
    read.
    """
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"paths must be paths of golden files, got {shown(path)}")
    return [case for path in paths or sorted(DATA.glob("*.json")) for case in replay_file(path)]


def replay_file(path: str | Path) -> Iterator[CaseResult]:
    """Replay every case of a file, in order.

    A case that cannot be built gives a result with `error`, not an exception.
    """
    data = read(path)
    for index, case in enumerate(data["cases"]):
        yield replay_case(data, index, case, str(path))


def replay_case(data: Mapping[str, Any], index: int, case: Case, file: str = "") -> CaseResult:
    """Rebuild one case, run it and compare."""
    name = str(case.get("solver", "?")) if isinstance(case, Mapping) else "?"
    try:
        return _replay(data, index, case, file, name)
    except Exception as error:  # whatever a malformed case does to us is a finding about that case
        expected = isinstance(error, (ValueError, ArithmeticError)) and str(error)
        missing = f"missing field {error}" if isinstance(error, KeyError) else ""
        reason = missing or (str(error) if expected else f"{type(error).__name__}: {error}")
        inf = float("inf")
        return CaseResult(file, index, name, "", inf, inf, 0, False, TOLERANCE, reason)


def _replay(data: Mapping[str, Any], index: int, case: Case, file: str, name: str) -> CaseResult:
    if not isinstance(case, Mapping) or not isinstance(case.get("options"), Mapping):
        raise GoldenError("a case must be an object with an object `options`")
    record = Record()
    ours, pairs = family(case["options"]).run(data, case, record)
    compared = record.comparable
    return CaseResult(
        file=file,
        index=index,
        solver=name,
        ours=ours,
        difference=max(relative_difference(a, b) for a, b in pairs),
        times_difference=_times_difference(record.times, case["times"]) if compared else 0.0,
        nfe=record.nfe,
        nfe_ok=not compared or record.nfe == case["nfe"],
        tolerance=record.tolerance,
        note=record.note,
    )


def _times_difference(ours: tuple[float, ...], recorded: Any) -> float:
    theirs = [float(t) for t in recorded]
    if len(ours) != len(theirs):
        return float("inf")
    return relative_difference(np.array(ours), theirs)


def case_of(data: Mapping[str, Any]) -> CaseResult:
    """A replayed case from its JSON data."""
    infinite = {key: math.inf for key in ("difference", "times_difference") if data[key] is None}
    return CaseResult(**{f.name: data[f.name] for f in fields(CaseResult)} | infinite)


def agreement(cases: Iterable[CaseResult]) -> dict[str, dict[str, Any]]:
    """Per solver of ours: how many released cases, how many agree, and the largest relative difference."""
    found: dict[str, list[CaseResult]] = {}
    for case in cases:
        found.setdefault(case.ours.removesuffix(" (adaptive)"), []).append(case)
    return {
        name: {
            "cases": len(results),
            "agree": sum(r.ok for r in results),
            "difference": json_number(max(r.difference for r in results)),
        }
        for name, results in found.items()
    }
