"""An audit as assertions: each computes what it needs, leaves a row, and fails with a sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable

from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.solver import FINALS, Final
from semilinear.integrators.solvers import make

from ..targets.named import Target
from ..tracing.compare import identify
from ..tracing.trace import NotLinearError, Trace
from .checks import CHECKS, ENDS, FEW, findings, outcomes, rounded, sentence
from .finding import SEVERITIES
from .identity import BESIDE, CONFIRMED, IDENTIFIED, has_run
from .judgement import Judgement
from .order import RANK, Order
from .subject import Subject

HOLDS = RANK[RANK.index("consistent") :]
"""Verdicts on an order that an assertion takes."""
STARTS = ("own", "exact")
DIGITS = 20
"""Steps of the run whose coefficients are computed in float32."""


class Assertions(ABC):
    """What an `Audit` asserts.

    record: takes every judgement, also one that fails.
    Assertions raise AssertionError for what does not hold, ValueError or TypeError for what cannot be asked.
    """

    target: Target
    claimed: float | None
    subject: Subject
    record: Callable[[Judgement], None] | None = None

    @abstractmethod
    def measured(self, order: float, start: str) -> tuple[str, Order | None, str]:
        """What is judged against an order, the order that it has, and what was said on the way."""

    def assert_order(self, order: float | None = None, *, start: str = "own") -> None:
        """The sampler has an order, or a higher one.

        order: the claimed one when absent.  start: "own" for runs as they are (the weak order of a sampler
        with noise), "exact" for the formula, from exact starting values and before steps that are lowered at
        the end.  What refutes the order fails, and so does what leaves it undecided.
        """
        __tracebackhide__ = True
        checks.one_of("start", start, STARTS)
        order = self.claimed if order is None else order
        if order is None:
            raise ValueError(f"order must be given: nothing is claimed of {self.target.name}")
        checks.number("order", order, above=0)
        of, found, said = self.measured(order, start)
        if found is None:
            why = said or ("it draws noise" if self.subject.noisy else "it cannot be read off")
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
        of, worst, ends = f"is {solver}", 0.0, FINALS if final is None else (final,)
        for steps in (IDENTIFIED, *(n for n in (*BESIDE, CONFIRMED) if has_run(solver, n))):
            trace = self._trace(steps, of)
            found = identify(trace, [solver], ends)
            if not found:
                noise = "with" if trace.noisy else "without"
                text = f"{solver} has no run of {steps} steps, {trace.nfe} evaluations and {noise} noise"
                self._judge(of, "", "another run", "differs", False, text)
            d = found[0].difference
            worst = max(worst, d.value)
            if d.first is not None:
                place = "the final state" if d.first >= trace.nfe else f"evaluation {d.first}"
                time = trace.times[min(d.first, trace.nfe)]
                text = (
                    f"is not {solver}: in {steps} steps the first row that differs is {d.first}, {place} "
                    f"(t = {time:.6g}): {d.what}; coefficients differ by up to {d.value:.1e}, relative"
                )
                self._judge(of, "", f"{d.value:.1e}", "differs", False, text)
        if self.subject.noisy and self.subject.shares_noise:
            self._judge(of, "", "shared noise", "differs", False, "the samples of a batch share noise")
        self._judge(of, "", f"{worst:.1e}", "same", True, "")

    def assert_finite(self, steps: Iterable[int] = FEW, *, ends: Collection[str] = tuple(ENDS)) -> None:
        """Runs from noise (sigma = 80) to data are finite, and none is refused.

        steps: counts of them.  ends: where runs end, names of `ENDS`: at sigma = 0, at sigma_min = 0.002, at
        sigma_min twice.
        """
        __tracebackhide__ = True
        if not isinstance(steps, Iterable):
            raise TypeError(f"steps must be step counts, got {shown(steps)}")
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
            for verdict, text, _, bad in outcomes(self.subject, end, counts)
        ]
        claimed = f"{min(counts)} to {max(counts)} steps"
        self._holds("finite", claimed, [text for _, text in sorted(found)])

    def assert_batch_independent(self) -> None:
        """A sample is what it is alone, whatever else is in its batch."""
        __tracebackhide__ = True
        self.assert_checks("batch")

    def assert_checks(self, *names: str) -> None:
        """Checks of an audit have no finding; names: of `checks.CHECKS`."""
        __tracebackhide__ = True
        if not names:
            raise ValueError(f"names must be some of {', '.join(CHECKS)}, got none")
        for name in names:
            checks.one_of("names", name, tuple(CHECKS))
        for name in names:
            self._holds(name, "", [f.message for f in findings(self.subject, name)])

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
            difference = rounded(self.subject, DIGITS, bound)
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

    def _trace(self, steps: int, of: str, claimed: str = "", pin: str = "") -> Trace:
        """A run as its coefficients; it fails where there are none."""
        __tracebackhide__ = True
        try:
            return self.subject.traced(steps)
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
        self,
        of: str,
        claimed: str,
        measured: str,
        verdict: str,
        passed: bool,
        text: str,
        pin: str = "",
    ) -> None:
        """Record a judgement; the text is the sentence of one that fails."""
        __tracebackhide__ = True
        if self.record is not None:
            self.record(Judgement(self.target.name, of, claimed, measured, verdict, passed, pin))
        if not passed:
            raise AssertionError(f"{self.target.name}: {text}")


def _interval(order: Order) -> str:
    if order.observed != order.observed:
        return "none"
    return f"{order.observed:.3f} [{order.low:.3f}, {order.high:.3f}]"
