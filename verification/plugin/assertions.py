"""An audit as assertions: each computes what it needs, leaves a row, and fails with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.messages import shown
from semilinear.integrators.solver import FINALS, Final
from semilinear.integrators.solvers import make

from ..audit.audit import IDENTIFIED, RANK, Audit, Order
from ..audit.checks import CHECKS, ENDS, FEW, findings, outcomes, rounded, sentence
from ..audit.finding import SEVERITIES
from ..tracing.compare import identify
from ..tracing.trace import NotLinearError, Trace
from .pins import Bound, PinError, Pins
from .table import Row

HOLDS = RANK[RANK.index("consistent") :]
"""Verdicts on an order that an assertion takes."""
STARTS = ("own", "exact")
PINNED = 5
"""Steps of a run that is pinned: a start, the usual step and an end."""
DIGITS = 20
"""Steps of the run whose coefficients are computed in float32."""


@dataclass(frozen=True, eq=False)
class Audited:
    """A sampler under test.

    audit: what is known of it, computed when it is asked for.  record: takes the row of every judgement, also
    of one that fails.  pins: where numbers are pinned.
    Assertions raise AssertionError for what does not hold, ValueError or TypeError for what cannot be asked.
    """

    audit: Audit
    record: Callable[[Row], None]
    pins: Pins
    _claims: dict[float, Audit] = field(default_factory=dict, init=False)

    def assert_order(self, order: float | None = None, *, start: str = "own") -> None:
        """The sampler has an order, or a higher one.

        order: the claimed one when absent.  start: "own" for runs as they are (the weak order of a sampler
        with noise), "exact" for the formula, from exact starting values and before steps that are lowered at
        the end.  What refutes the order fails, and so does what leaves it undecided.
        """
        __tracebackhide__ = True
        checks.one_of("start", start, STARTS)
        order = self.audit.claimed if order is None else order
        if order is None:
            raise ValueError(f"order must be given: nothing is claimed of {self._name}")
        checks.number("order", order, above=0)
        audit = self._claims.setdefault(order, self.audit.claiming(order))
        if start == "exact":
            of, found = "order of the formula", audit.formula
        else:
            of, found = "order as run", audit.as_run
            if found is None and (weak := audit.weak) is not None:
                of, found = "weak order", weak
        said = "; ".join(dict.fromkeys(f.message for f in audit.said))
        if found is None:
            why = said or ("it draws noise" if audit.subject.noisy else "it cannot be read off")
            self._judge(of, f"{order:g}", "none", "none", False, f"claimed {order:g}, no {of}: {why}")
            return
        verdict = found.verdict or "inconclusive"
        text = f"claimed {order:g}, observed {of} {_interval(found)}, {found.where}: {verdict}"
        text += "".join(f" ({part})" for part in (found.reason, said) if part)
        self._judge(of, f"{order:g}", _interval(found), verdict, verdict in HOLDS, text)

    def assert_same(self, solver: str, *, final: Final | None = None) -> None:
        """The sampler computes what a listed solver does, coefficient by coefficient, up to rounding.

        solver: its name.  final: how its run ends, "full", "last" or "lower"; any of them when absent.
        """
        __tracebackhide__ = True
        make(solver)  # refuses a name that is none
        if final is not None:
            checks.one_of("final", final, FINALS)
        of = f"is {solver}"
        trace = self._trace(IDENTIFIED, of)
        found = identify(trace, [solver], FINALS if final is None else (final,))
        if not found:
            noise = "with" if trace.noisy else "without"
            text = f"{solver} has no run of {IDENTIFIED} steps, {trace.nfe} evaluations and {noise} noise"
            self._judge(of, "", "another run", "differs", False, text)
            return
        difference = found[0].difference
        verdict = "same" if difference.same else "differs"
        text = ""
        if difference.first is not None:
            place = "the final state" if difference.first >= trace.nfe else f"evaluation {difference.first}"
            time = trace.times[min(difference.first, trace.nfe)]
            text = (
                f"is not {solver}: in {IDENTIFIED} steps the first row that differs is {difference.first}, "
                f"{place} (t = {time:.6g}): {difference.what}; coefficients differ by up to "
                f"{difference.value:.1e}, relative"
            )
        self._judge(of, "", f"{difference.value:.1e}", verdict, difference.same, text)

    def assert_finite(self, steps: Iterable[int] = FEW, *, ends: Collection[str] = tuple(ENDS)) -> None:
        """Runs from noise (sigma = 80) to data are finite, and none is refused.

        steps: counts of them.  ends: where runs end, names of `ENDS`: at sigma = 0, at sigma_min = 0.002, at
        sigma_min twice.
        """
        __tracebackhide__ = True
        counts = [checks.integer("steps", n, 1) for n in steps]
        if not counts:
            raise ValueError("steps must hold a step count, got none")
        if isinstance(ends, str) or not ends:
            raise ValueError(f"ends must be some of {', '.join(ENDS)}, got {shown(ends)}")
        for end in ends:
            checks.one_of("ends", end, tuple(ENDS))
        found = [
            (SEVERITIES.index(verdict), sentence(verdict, text, end, bad))
            for end in ends
            for (verdict, text), bad in outcomes(self.audit.subject, end, counts).items()
        ]
        claimed = f"{min(counts)} to {max(counts)} steps"
        self._holds("finite", claimed, [text for _, text in sorted(found)])

    def assert_batch_independent(self) -> None:
        """A sample is what it is alone, whatever else is in its batch."""
        __tracebackhide__ = True
        self.assert_checks("batch")

    def assert_checks(self, *names: str) -> None:
        """Checks of an audit have no finding: "linear", "noise", "batch", "repeat", "nfe", "finite", "dtype",
        "float32", "half", "ends", "shipped".
        """
        __tracebackhide__ = True
        for name in names:
            checks.one_of("names", name, tuple(CHECKS))
        for name in names:
            self._holds(name, "", [f.message for f in findings(self.audit.subject, name)])

    def assert_float32(self, bound: float) -> None:
        """Coefficients that the sampler computes for float32 states are those for float64 states.

        bound: the largest difference, relative to the largest coefficient of a row.
        """
        __tracebackhide__ = True
        checks.number("bound", bound, above=0)
        of, claimed = "float32 coefficients", f"<= {bound:.0e}"
        self._trace(DIGITS, of, claimed)
        difference, text = None, ""
        try:
            difference = rounded(self.audit.subject, DIGITS, bound)
        except Exception as error:  # a sampler may do anything to float32 states
            text = f"in float32: {error}"
        if difference is None:
            self._judge(of, claimed, "none", "fails", False, text)
            return
        text = (
            f"in float32 coefficients are off by up to {difference.value:.1e} with {DIGITS} steps, "
            f"{bound:.1e} is allowed; the first in row {difference.first}: {difference.what}"
        )
        verdict = "holds" if difference.same else "fails"
        self._judge(of, claimed, f"{difference.value:.1e}", verdict, difference.same, text)

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
            found = self.pins.hold(name, trace, self._name, bound)
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

    @property
    def _name(self) -> str:
        return self.audit.target.name

    def _trace(self, steps: int, of: str, claimed: str = "", pin: str = "") -> Trace:
        """A run as its coefficients; it fails where there are none."""
        __tracebackhide__ = True
        try:
            return self.audit.subject.traced(steps)
        except NotLinearError as error:
            why = f"cannot be read off as coefficients: {error}"
        except Exception as error:  # whatever the sampler raises, it is said
            why = f"raises {type(error).__name__}: {error}"
        self._judge(of, claimed, "none", "fails", False, why, pin)
        raise AssertionError(why)

    def _holds(self, of: str, claimed: str, found: list[str]) -> None:
        __tracebackhide__ = True
        self._judge(of, claimed, "", "fails" if found else "holds", not found, f"{of}: {'; '.join(found)}")

    def _judge(
        self, of: str, claimed: str, measured: str, verdict: str, passed: bool, text: str, pin: str = ""
    ) -> None:
        """Record a judgement; the text is the sentence of one that fails."""
        __tracebackhide__ = True
        self.record(Row(self._name, of, claimed, measured, verdict, passed, pin))
        if not passed:
            raise AssertionError(f"{self._name}: {text}")


def _interval(order: Order) -> str:
    if order.observed != order.observed:
        return "none"
    return f"{order.observed:.3f} [{order.low:.3f}, {order.high:.3f}]"
