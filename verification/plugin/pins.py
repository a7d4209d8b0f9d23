"""Coefficients pinned in files that are reviewed: those of a short run, as read off, each row on its line.

A difference is measured in units in the last place of the pinned number, or relative to the largest
coefficient of its row; how much is allowed is always said by who asks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from semilinear.integrators.common import checks
from semilinear.integrators.common.files import read_json, write_atomically
from semilinear.integrators.common.messages import shown

from ..tracing.trace import Trace
from .folder import FOLDER

SCHEMA = "semilinear-pin/1"
MOST = 1 << 24
"""Bytes of a file that are read."""
Unit = Literal["ulp", "relative"]
Update = Literal["no", "new", "all"]
Numbers = tuple[float, ...]


class PinError(ValueError):
    """A file that holds no pin."""


@dataclass(frozen=True)
class Pin:
    """The numbers of a run.

    test: that pinned them, FILE::NAME.  target: the sampler.  prediction: of the outputs.  grid, times: as of
    a `Trace`.  increments: the times of each, () where the sampler says none.  rows: of evaluated states,
    then of the final one: start, outputs, increments.
    """

    test: str
    target: str
    prediction: str
    grid: Numbers
    times: Numbers
    increments: tuple[Numbers, ...]
    rows: tuple[Numbers, ...]

    @staticmethod
    def of(trace: Trace, target: str, test: str) -> Pin:
        """The pin that a trace is."""
        return Pin(
            test,
            target,
            trace.prediction,
            trace.grid,
            trace.times,
            tuple(tuple(map(float, pair or ())) for pair in trace.increments),
            tuple(tuple(map(float, row)) for row in trace.rows),
        )

    @property
    def text(self) -> str:
        """The file: JSON, a row on a line, every number to its last bit."""
        fields = {"schema": SCHEMA} | vars(self)
        rows = ",\n  ".join(json.dumps(row) for row in fields.pop("rows"))
        head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
        return f'{{\n{head},\n "rows": [\n  {rows}\n ]\n}}\n'

    def parts(self) -> list[tuple[str, Numbers]]:
        """All numbers, with what each line of them is."""
        last = len(self.rows) - 1
        names = [f"evaluation {k}" if k < last else "the final state" for k in range(last + 1)]
        return [
            ("the grid", self.grid),
            ("the times of evaluations", self.times),
            *((f"increment {k}", times) for k, times in enumerate(self.increments)),
            *((f"{name} (t = {t:.6g})", row) for name, t, row in zip(names, self.times, self.rows)),
        ]


def read(path: Path) -> Pin:
    """The pin in a file.  Raises PinError for one that holds none, OSError where it cannot be read."""
    return read_json(path, PinError, _pin, MOST)


def _pin(data: Any) -> Pin:
    keys = ("test", "target", "prediction", "grid", "times", "increments", "rows")
    if not isinstance(data, dict) or data.keys() != {"schema", *keys}:
        raise PinError(f"a pin must be an object with the keys schema, {', '.join(keys)}")
    checks.one_of("schema", data["schema"], (SCHEMA,), PinError)
    for key in ("test", "target", "prediction"):
        if not isinstance(data[key], str):
            raise PinError(f"{key} must be a text, got {shown(data[key])}")
    grid, times = (_numbers(key, data[key]) for key in ("grid", "times"))
    increments, rows = (
        tuple(_numbers(key, line) for line in _list(key, data[key])) for key in ("increments", "rows")
    )
    width = len(times) + len(increments)
    if len(rows) != len(times) or any(len(row) != width for row in rows):
        raise PinError(f"rows must be {len(times)} rows of {width} numbers")
    return Pin(data["test"], data["target"], data["prediction"], grid, times, increments, rows)


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise PinError(f"{key} must be a list, got {shown(value)}")
    return value


def _numbers(key: str, value: Any) -> Numbers:
    found = _list(key, value)
    for entry in found:
        if not checks.is_number(entry) or not math.isfinite(entry):
            raise PinError(f"{key} must be finite numbers, got {shown(entry)}")
    return tuple(map(float, found))


@dataclass(frozen=True)
class Bound:
    """How far numbers may be from those that are pinned.  unit: of what it counts (`Bound.of`)."""

    unit: Unit
    most: float

    @staticmethod
    def of(ulp: float | None, relative: float | None) -> Bound:
        """Either of them.  Raises ValueError for both or none, and for one that is negative or no number."""
        if (ulp is None) == (relative is None):
            raise ValueError(f"one of ulp and relative must be given, got {shown(ulp)} and {shown(relative)}")
        unit, most = ("ulp", ulp) if relative is None else ("relative", relative)
        checks.number(unit, most, least=0)
        return Bound(unit, float(most))  # type: ignore[arg-type]

    def shown(self, value: float) -> str:
        """A difference in words."""
        return f"{value:.3g} ULP" if self.unit == "ulp" else f"{value:.1e} relative"

    def differences(self, numbers: Sequence[float], pinned: Sequence[float]) -> np.ndarray:
        """Of each number, in the unit; NaN counts as infinitely far."""
        own, other = np.array(numbers), np.array(pinned)
        size = np.spacing(np.abs(other)) if self.unit == "ulp" else np.max(np.abs(other), initial=0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.where(own == other, 0.0, np.abs(own - other) / size)
        return np.where(np.isnan(found), math.inf, found)


@dataclass(frozen=True)
class Change:
    """How far a run is from its pin.

    worst: the largest difference.  what: the largest of the first row above the bound, "" where there is
    none.
    """

    worst: float
    what: str


def change(pin: Pin, pinned: Pin, bound: Bound) -> Change:
    """Hold a run against the pinned one: the same numbers in the same places, up to the bound."""
    if pin.prediction != pinned.prediction:
        return Change(math.inf, f"it asks for {pin.prediction} and asked for {pinned.prediction}")
    sizes = [(len(p.grid) - 1, len(p.times) - 1, [len(i) for i in p.increments]) for p in (pin, pinned)]
    if sizes[0] != sizes[1]:
        now, then = (f"{n} steps, {calls} evaluations and {len(i)} draws" for n, calls, i in sizes)
        return Change(math.inf, f"it makes {now}, and made {then}")
    worst, what = 0.0, ""
    for (name, numbers), (_, before) in zip(pin.parts(), pinned.parts(), strict=True):
        if not numbers:
            continue
        found = bound.differences(numbers, before)
        place = int(np.argmax(found))
        if found[place] > bound.most and not what:
            apart = f"{numbers[place]!r}, pinned {before[place]!r}, {bound.shown(found[place])} apart"
            what = f"{name}{_column(name, place, len(pin.times) - 1)}: {apart}"
        worst = max(worst, float(found[place]))
    return Change(worst, what)


def _column(name: str, place: int, calls: int) -> str:
    if "(t =" not in name:
        return f", entry {place}"
    if place == 0:
        return ", the start"
    return f", output {place - 1}" if place <= calls else f", increment {place - 1 - calls}"


@dataclass(frozen=True)
class Pins:
    """The pins beside a file of tests.

    folder: of the tests.  test: FILE::NAME of the one that asks.  update: which pins are written: none, those
    that are missing, or all of them.
    """

    folder: Path
    test: str
    update: Update = "no"

    def path(self, name: str) -> Path:
        """The file of a pin.  Raises ValueError for a name that is none of a file."""
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
            raise ValueError(f"name must be of letters, digits and _ . + -, got {shown(name)}")
        return self.folder / FOLDER / f"{name}.json"

    def hold(self, name: str, trace: Trace, target: str, bound: Bound) -> Change | None:
        """Hold a run against its pin; None where it was written instead.

        Raises FileNotFoundError where there is none, PinError where the file holds none.
        """
        path, pin = self.path(name), Pin.of(trace, target, self.test)
        if self.update == "all" or (self.update == "new" and not path.exists()):
            if not path.exists() or path.read_bytes() != pin.text.encode():
                write_atomically(path, pin.text)
            return None
        return change(pin, read(path), bound)
