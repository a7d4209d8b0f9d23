"""What a sampler was in another version of its package: audits and plans kept in a folder, compared.

The folder is what `semilinear audit .. --out DIR --save DIR/plans` leaves: audit.json, and the run of each
sampler with 20 steps as a plan.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.integrators.common.files import json_number
from semilinear.integrators.plans import files

from ..tracing.compare import Difference, compare
from ..tracing.trace import of_plan
from .subject import WARPED, Subject

STEPS = 20
"""Of the runs that are kept and compared."""
PLANS = "plans"


def save(subject: Subject, path: Path) -> None:
    """Keep the run of a sampler as a plan.

    Raises NotLinearError where it cannot be read off, and what the sampler raises.
    """
    t = subject.target
    version = f" ({t.package} {t.version})" if t.package else ""
    files.save(subject.steps(STEPS).plan(f"{t.name}{version}"), path)


def file_of(name: str) -> str:
    """The file name under which the plan of a target is kept."""
    return re.sub(r"[^\w.=,+-]", "-", name) + ".json"


def audits(folder: Path) -> list[dict[str, Any]]:
    """The audits kept in a folder.

    Raises ValueError where there are none.
    """
    try:
        found = json.loads((folder / "audit.json").read_text())["audits"]
        return [dict(row) for row in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} must hold audit.json as `semilinear audit --out` writes it: {error}"
        ) from error


def changed(subject: Subject, folder: Path) -> dict[str, Any] | None:
    """How a sampler's run differs from the one that a folder keeps, as JSON data; None where it keeps none.

    {from, same, difference, first_row, what}: of what, whether no coefficient differs, the largest of the
    differences, relative, the first evaluation that differs, and what differs there.
    """
    path = folder / PLANS / file_of(subject.target.name)
    if not path.is_file():
        return None
    plan, now = files.load(path), subject.steps(STEPS).trace
    kept = replace(
        of_plan(plan, subject.schedule), grid=now.grid
    )  # a plan's steps may be several of the grid's
    found = compare(kept, now)
    return {
        "from": plan.solver,
        "same": found.same,
        "difference": json_number(found.value),
        "first_row": found.first,
        "what": found.what,
    }


def apart(a: Subject, b: Subject, steps: int, grid: str = WARPED) -> Difference:
    """How far apart two samplers are; they are not the same where a batch shares the noise of one alone.

    Raises NotLinearError where one cannot be read off, ValueError where they cannot be compared, and what the
    samplers raise.
    """
    own, other = a.steps(steps, grid).trace, b.steps(steps, grid).trace
    found = compare(own, other)
    if not found.same or not own.noisy or a.shares_noise == b.shares_noise:
        return found
    first = int(np.flatnonzero(own.rows[:, 1 + own.nfe :].any(axis=1))[0])
    words = {True: "one for all samples of a batch", False: "each sample's own"}
    what = f"the noise: {words[a.shares_noise]} against {words[b.shares_noise]}"
    return replace(found, first=first, what=what)
