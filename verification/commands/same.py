"""`semilinear same A B`: whether two samplers are one method, with the first row that differs.

JSON: a, b; same; difference, the largest of a coefficient, relative (null where they make other evaluations);
bound, what counts as none; first_row, the first evaluation that differs (as many as there are: the end), null
where none does; what differs there; steps, of the last run, where it shows; compared, all runs with the
noise levels that they go over; grid, of them.
"""

from __future__ import annotations

import argparse
from typing import Any

from semilinear.integrators.common import limits
from semilinear.integrators.common.kinds import ALL

from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_convention,
    add_target,
    check_convention,
    count,
    missing,
    print_json,
    refusing,
)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    same: argparse.ArgumentParser = commands.add_parser(
        "same",
        help="whether two samplers are one method, with the first row that differs",
        description="Reads both off and compares their coefficients.  Exit code 1 if they differ.",
    )
    for name in ("a", "b"):
        add_target(same, name, ALL)
    same.add_argument(
        "--steps",
        type=count(1, limits.TRACED_STEPS),
        metavar="N",
        help="of the runs (default: 20, and 13, 14 and 15 where both have these)",
    )
    add_convention(same)
    same.set_defaults(run=run)
    return same


def run(options: argparse.Namespace) -> int:
    """Read off, compare, print."""
    check_convention(options.convention, (options.a, options.b))

    from semilinear.integrators.common.files import json_number

    from ..audit.identity import BESIDE, CONFIRMED, IDENTIFIED, passed
    from ..audit.subject import LEVELS, WARPED, WHOLE, Subject
    from ..audit.versions import apart
    from ..targets.named import is_function, target
    from ..tracing.trace import NotLinearError

    subjects = []
    for text in (options.a, options.b):
        told = options.convention if is_function(text) else None
        with refusing(AttributeError):
            subjects.append(Subject(target(text, convention=told)))
        try:
            subjects[-1].steps(options.steps or CONFIRMED)
        except ModuleNotFoundError as error:
            raise UsageError(missing(error)) from error
        except NotLinearError as error:
            raise UsageError(f"{text} cannot be read off: {error}") from error
        except Exception as error:  # whatever the sampler raises: nothing was compared
            raise UsageError(f"{text} raised {type(error).__name__}: {error}") from error
    first = options.steps or CONFIRMED
    more = (first,) if options.steps else (CONFIRMED, IDENTIFIED, *BESIDE)
    compared: list[dict[str, Any]] = []
    worst = 0.0
    for steps, grid in [*((n, WARPED) for n in more), (first, WHOLE)]:
        if compared and not all(_runs(subject, steps, grid) for subject in subjects):
            continue
        with refusing():
            found = apart(subjects[0], subjects[1], steps, grid)
        found = passed(found) if grid == WHOLE else found
        compared.append({"steps": steps, "sigma": list(LEVELS[grid])})
        worst = max(worst, found.value)
        if not found.same:
            break
    if options.json:
        print_json(
            {
                "a": options.a,
                "b": options.b,
                "same": found.same,
                "difference": json_number(worst),
                "bound": found.bound,
                "first_row": found.first,
                "what": found.what,
                "steps": steps,
                "compared": compared,
                "grid": "karras",
            }
        )
    elif found.same:
        print(f"the same in {_where(compared)}, to {worst:.0e}")
    else:
        end = " (the end)" if all(s.traced(steps, grid).nfe == found.first for s in subjects) else ""
        print(f"they differ in {_where(compared[-1:])} from evaluation {found.first}{end} on: {found.what}")
    return OK if found.same else FAILED


def _where(compared: list[dict[str, Any]]) -> str:
    """Runs in words: their steps, by the noise levels that they go over."""
    by: dict[str, list[int]] = {}
    for run in compared:
        by.setdefault("sigma = {:g} to {:g}".format(*run["sigma"]), []).append(run["steps"])
    return " and ".join(f"{', '.join(map(str, sorted(steps)))} steps ({at})" for at, steps in by.items())


def _runs(subject: Any, n: int, grid: str) -> bool:
    """Whether a sampler can be read off with n steps."""
    try:
        subject.steps(n, grid)
    except Exception:  # it refuses the number, or raises, which is said where runs are audited
        return False
    return True
