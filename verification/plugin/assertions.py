"""An audit in a test: judgements are rows of the closing table, numbers are pinned beside the test."""

from __future__ import annotations

from collections.abc import Callable

from semilinear.integrators.common import checks

from ..audit.audit import Audit
from ..audit.judgement import Judgement
from .pins import Bound, PinError, Pins

PINNED = 5
"""Steps of a run that is pinned: a start, the usual step and an end."""


class Audited(Audit):
    """A sampler under test.  pins: where its numbers are pinned."""

    def __init__(self, found: Audit, record: Callable[[Judgement], None], pins: Pins) -> None:
        """found: what it was made as, whose traces it shares.  record: takes every judgement."""
        super().__init__(
            found.target, found.claimed, found.wanted, profile=found.profile, subject=found.subject
        )
        self.record, self.pins = record, pins

    def assert_pinned(
        self, name: str, *, ulp: float | None = None, relative: float | None = None, steps: int = PINNED
    ) -> None:
        """The coefficients and times of a run are those in semilinear-pins/<name>.json beside the test.

        ulp: how far each may be, in units in the last place of the pinned number.  relative: the same,
        relative to the largest number of its row.  One of them must be given.  steps: of the run.
        """
        __tracebackhide__ = True
        bound = Bound.of(ulp, relative)
        checks.integer("steps", steps, 1)
        path = self.pins.path(name)
        of, claimed, pin = f"pin {name}", f"<= {bound.shown(bound.most)}", str(path)
        trace = self._trace(steps, of, claimed, pin)
        measured, passed, text = "", False, ""
        try:
            found = self.pins.hold(name, trace, self.target.name, bound)
        except FileNotFoundError:
            verdict, text = (
                "missing",
                f"no pin {name}: {path} is missing; --semilinear-update-new-only writes it",
            )
        except PinError as error:
            verdict, text = "unreadable", f"{error}; --semilinear-update rewrites it"
        else:
            verdict, passed = "written", True
            if found is not None:
                measured, passed = bound.shown(found.worst), not found.what
                verdict = "pinned" if passed else "differs"
                text = f"pin {name}: {found.what}; {bound.shown(bound.most)} is allowed ({path})"
        self._judge(of, claimed, measured, verdict, passed, text, pin)
