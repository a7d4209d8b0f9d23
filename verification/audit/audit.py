"""One verdict on any sampler: its order as run and of its formula, what it is, and what else is to be said.

Whatever is asked for is computed once, and only then.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.orders.solver_proof import SolverProof
from semilinear.integrators.common import checks
from semilinear.integrators.common.files import Written, json_number
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.forms.reverse import of_square
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver

from ..reporting.audit import text
from ..studies import flow, gaussian
from ..studies.flow import Enough, Study
from ..studies.gaussian import StochasticExperiment, StochasticStudy
from ..studies.ladders import restricted
from ..studies.sampler import lowest_first
from ..targets.named import Target
from ..targets.named import target as named_target
from ..tracing.diagnosis import FORMS, Diagnosis, Unexplained, diagnose, level
from ..tracing.local import NoExactStart
from ..tracing.trace import Trace
from .assertions import Assertions
from .checks import CHECKS, DIGITS, OF_ROWS, UNREAD, findings, repeated, unasked
from .finding import SEVERITIES, Finding, Severity, merged, named, raised, refused
from .identity import Identity, identity, is_also, on_equal_steps, proof_of, strides
from .order import RANK, Order
from .subject import FULL, KNOWN, SMOOTH, WARPED, Profile, Subject, experiment
from .subject import gaussian as gaussian_data

NONE = 0.5
"""A weak order that is below this is none."""
NOT_ASKED = "not asked: "
SAID = "a finding says why"
ONLY = (*CHECKS, "orders", "identity", "diagnosis")
"""What an audit can be asked for."""


class Audit(Assertions, Written):
    """A target under audit, made by `audit`; printing it makes all that it was asked for."""

    def __init__(
        self,
        target: Target,
        claimed: float | None,
        wanted: Iterable[str] = ONLY,
        *,
        profile: Profile = FULL,
        subject: Subject | None = None,
    ) -> None:
        self.claimed, self.wanted, self.profile = claimed, tuple(wanted), profile
        self.subject = Subject(target, counts=profile.counts) if subject is None else subject
        self.target, self.asked = self.subject.target, self.wanted
        self._said: dict[Finding, None] = {}
        self._claims: dict[float | None, Audit] = {}
        self._proofs: dict[tuple[int, int], SolverProof | None] = {}

    def claiming(self, claimed: float | None) -> Audit:
        """The same audit, judged against another order, made once; traces are shared."""
        if claimed == self.claimed:
            return self
        if claimed not in self._claims:
            self._claims[claimed] = Audit(
                self.target, claimed, self.wanted, profile=self.profile, subject=self.subject
            )
        return self._claims[claimed]

    def __str__(self) -> str:
        """All of it (`reporting.audit.text`)."""
        return text(self.json())

    def __repr__(self) -> str:
        return f"Audit({self.target.name!r}, claimed={self.claimed})"

    def measured(self, order: float, start: str) -> tuple[str, Order | None, str]:
        """What is judged against an order, the order that it has, and what was said on the way.

        start: one of `assertions.STARTS`.
        """
        claimed = self.claiming(order)
        of, found = "order as run", None
        if start == "exact":
            of, found = "order of the formula", claimed.formula
        else:
            found = claimed.as_run
            if found is None and (weak := claimed.weak) is not None:
                of, found = "weak order", weak
        return of, found, "; ".join(dict.fromkeys(f.message for f in claimed.said))

    # --- orders ---

    @cached_property
    def as_run(self) -> Order | None:
        """The order of the method as it is run: the lower of those on smooth grids, or the lowest over the
        residues of N, on the warped one, where the end of runs depends on it.  None for a sampler with noise,
        or one whose steps follow a tolerance.
        """
        with self._noting("order as run"):
            if len(self._residues) == 1:
                return self._lowest([self._runs(grid, (1, 0)) for grid in self.profile.grids])
            runs = [o for o in (self._runs(WARPED, residue) for residue in self._residues) if o]
            if not runs:
                return None
            self._say_depends("", [(o, o.where) for o in runs])
            return self._lowest(runs)
        return None

    @cached_property
    def not_smooth(self) -> Order | None:
        """The same on a grid whose steps alternate, at multiples of the period of the ends of runs."""
        with self._noting("order on alternating steps"):
            return self._runs("alternating", self._residues[0])
        return None

    @cached_property
    def formula(self) -> Order | None:
        """The order of the formula on the warped grid, from exact starting values and before steps that are
        lowered at the end; None for a sampler with noise, and where it cannot be told from its start.
        """
        with self._noting("order of the formula"):
            return self._formula(WARPED)
        return None

    @cached_property
    def stochastic(self) -> StochasticStudy | None:
        """Exact orders on Gaussian data of a sampler with noise: of its reverse SDE, where all steps have the
        noise of one and every increment its times, else of the marginals alone.
        """
        with self._noting("weak"):
            if self.subject.noisy and not self.subject.linear:
                self._say_unread("orders")
            elif self.subject.noisy:
                study = self._stochastic()
                for name, error in study.drifting.items():
                    what = "coefficients are off by a fixed amount each, or lose digits"
                    self._say("noted", f"{name}: the one error, of up to {error:.1e}, grows with N: {what}")
                if study.weak.high < NONE:
                    points = study.weak.points
                    errors = " and ".join(f"{p.error:.1e} with {p.n} steps" for p in (points[0], points[-1]))
                    self._say("noted", f"runs do not tend to the exact law: off by {errors}")
                elif self.claimed is not None and study.against(self.claimed) == "inconclusive":
                    left = _left({p.n: p.error for p in study.weak.points if p.usable})
                    if left is not None:
                        what = f"runs seem to tend to another law: errors extrapolate to {left:.1e}, not to 0"
                        self._say("noted", what)
                return study
        return None

    def _stochastic(self) -> StochasticStudy:
        """Of the residues of N, where the end or the error of runs depends on it, the lowest."""
        if len(self._residues) == 1:
            return self._of_residue(self._residues[0])
        found = [(self._of_residue(residue), residue) for residue in self._residues]
        self._say_depends("weak ", [(s.weak, f"N = {r} mod {m}") for s, (m, r) in found])
        claimed = self._judged
        return min((s for s, _ in found), key=lambda s: (RANK.index(s.against(claimed)), lowest_first(s)))

    def _of_residue(self, residue: tuple[int, int]) -> StochasticStudy:
        subject, where = self.subject, gaussian_data()
        ladder = restricted(self.profile.weak, residue, subject.residues[1])
        steps = subject.steps(ladder[0])
        explained = steps.trace.prediction in FORMS and _whole(steps.trace, where)
        square = level(steps) if explained else None
        law = None if square is None else where.law(of_square(steps.trace.prediction, square))
        return gaussian.of_plans(
            self.target.name,
            lambda n: subject.steps(n).plan(),
            ladder,
            where,
            law=law,
            marginal=law is None,
            on_path=law is not None,
        )

    @property
    def weak(self) -> Order | None:
        """The weak order of a sampler with noise."""
        study = self.stochastic
        if study is None:
            return None
        what = "marginals" if study.marginal else "the SDE from a point"
        e, claimed = study.weak, self.claimed
        verdict = None if claimed is None else study.against(claimed)
        reason = "" if claimed is None else study.reason(claimed)
        return Order(e.order, e.low, e.high, verdict, reason, f"{what}, Gaussian data, karras grid")

    @property
    def strong(self) -> Order | None:
        """The strong order of a sampler with noise, without a verdict: no source claims one.  None where it
        says no times of its increments.
        """
        study = self.stochastic
        if study is None or study.marginal:
            return None
        e = study.strong
        return Order(e.order, e.low, e.high, None, "", "on the path, Gaussian data, karras grid")

    @property
    def _residues(self) -> list[tuple[int, int]]:
        period, _ = self.subject.residues
        return [(period, r) for r in range(period)]

    def _runs(self, grid: str, residue: tuple[int, int]) -> Order | None:
        bent = self.subject.bent
        if bent is not None and bent.kind == "evaluations":
            self._say_unread("orders")
            return None
        if self.subject.noisy:
            return None
        least = self.subject.residues[1]
        ladder = [n for n in self.profile.ladder if n >= least]
        sampler, where = self.target.sampler, experiment(grid)
        study = flow.measure(
            self.target.name,
            self._judged,
            sampler,
            where,
            ladder=ladder,
            residue=residue,
            enough=self._agreeing(residue, lambda proof: proof.run("smooth" if grid in SMOOTH else "any")),
        )
        of = f", N = {residue[1]} mod {residue[0]}" if residue[0] > 1 else ""
        self._note(study, f"{grid} grid{of}")
        return self._order(study, f"{grid} grid{of}")

    def _formula(self, grid: str) -> Order | None:
        subject = self.subject
        if subject.noisy or not subject.linear:
            return None
        period = subject.residues[0]
        subject.formula(subject.grid(grid, period * math.ceil(20 / period)))  # raises without an exact start

        def sampler(run: Any) -> Any:
            plan = subject.formula(tuple(float(t) for t in run.times))
            model = convert(run.schedule, run.model, "eps", plan.prediction)
            return sample(plan, model, [run.exact(t).numpy() for t in plan.inputs]).x

        residue = subject.residues[0], 0
        study = flow.measure(
            self.target.name,
            self._judged,
            sampler,
            experiment(grid),
            ladder=self.profile.formula,
            residue=residue,
            enough=self._agreeing(residue, SolverProof.exact_start),
        )
        return self._order(study, f"{grid} grid, exact start")

    def _agreeing(self, residue: tuple[int, int], order: Callable[[SolverProof], int]) -> Enough | None:
        """Whether runs agree with what is proved of the listed solver that the sampler is: longer ones are
        not needed then.
        """
        if "identity" not in self.wanted:
            return None

        def agrees(study: Study) -> bool:
            proof = self._proved(residue)
            return proof is not None and study.agrees(order(proof))

        return agrees

    def _proved(self, residue: tuple[int, int]) -> SolverProof | None:
        """The proof of the solver whose coefficients the sampler has, in a long run too."""
        if residue not in self._proofs:
            found = self.identified
            known = found is not None and found.same and is_also(self.subject, found, max(DIGITS))
            self._proofs[residue] = proof_of(found, residue) if found is not None and known else None
        return self._proofs[residue]

    @property
    def _judged(self) -> float:
        return 1 if self.claimed is None else self.claimed

    def _order(self, study: Study, where: str) -> Order:
        e = study.estimate
        verdict = None if self.claimed is None else study.against(self.claimed)
        reason = "" if self.claimed is None else study.reason(self.claimed)
        return Order(e.order, e.low, e.high, verdict, reason, where)

    def _lowest(self, found: Iterable[Order | None]) -> Order | None:
        """The order that speaks most against the claim."""
        rank = {None: 0} | {v: i for i, v in enumerate(RANK)}
        return min((o for o in found if o), key=lambda o: (rank[o.verdict], o.observed), default=None)

    def _say(self, verdict: Severity, message: str, check: str = "orders", cause: str = "") -> None:
        self._said[Finding(check, verdict, message, repeated(self.target, check, self.claimed), cause)] = None

    def _say_depends(self, kind: str, found: Sequence[tuple[Order | OrderEstimate, str]]) -> None:
        """That runs depend on the number of steps; found: orders, and of which numbers."""
        seen = [o for o, _ in found if math.isfinite(o.low) and math.isfinite(o.high)]
        apart = bool(seen) and max(o.low for o in seen) > min(o.high for o in seen)
        what = f"{kind}order" if apart else f"end of runs, and not visibly the {kind}order,"
        told = [(f"{_observed(o):.2f}" if o in seen else "none is seen", where) for o, where in found]
        orders = "; ".join(f"{order} ({where})" for order, where in told)
        self._say("noted", f"the {what} depends on the number of steps: {orders}")

    def _say_unread(self, check: str) -> None:
        """Why what needs a sampler's rows is not had, where no check that is asked for says it."""
        if self.subject.bent is not None and "linear" not in self.asked:
            self._say("inconclusive", UNREAD.format(self.subject.bent), check, UNREAD)

    @contextmanager
    def _noting(self, what: str, check: str = "orders") -> Iterator[None]:
        """The audit goes on: what is raised is a finding, and what cannot be had is said."""
        try:
            yield
        except NoExactStart as error:
            self._say("noted", str(error))
        except Exception as error:  # whatever it is, it is said
            verdict, message, cause = raised(error, self.target, f"{what}:")
            self._say(verdict, message, check, cause)

    def _note(self, study: Study, where: str) -> None:
        for f in study.findings:
            if f.error is not None:
                verdict, message, cause = raised(f.error, self.target, f"{where}:")
                if refused(f.error, self.target):
                    verdict, message, cause = "noted", f"{where}: refuses runs: {named(f.error)}", ""
                self._say(verdict, f"{message} at n = {', '.join(map(str, f.n))}", cause=cause)
            elif f.kind != "rounding":
                bad = f.kind in ("not finite", "samples", "evaluations")
                self._say("failed" if bad else "noted", f"{where}: {f}")

    # --- what it is ---

    @cached_property
    def identified(self) -> Identity | None:
        """The listed solver that it is, or the nearest; None where it cannot be read off or none is near."""
        with self._noting("identity", "identity"):
            if self.subject.linear:
                found = identity(self.subject)
                if found is not None and found.rounded:
                    self._say("noted", f"it is {found.solver} but for {found.rounded}", "identity")
                elif (found is None or not found.same) and strides(self.subject):
                    what = "steps go over several intervals of the grid, whose points are their stages"
                    names = ", ".join(on_equal_steps(self.subject))
                    told = f"on equal steps in lambda, where these are listed ones, it is {names}"
                    told = told if names else "listed solvers have stages of their own"
                    self._say("noted", f"{what}: {told}", "identity")
                return found
            self._say_unread("identity")
        return None

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """The moments of its steps' weights; None where it cannot be read off, or no form explains it."""
        with self._noting("diagnosis", "diagnosis"):
            if self.subject.linear:
                try:
                    owed = 0 if self.claimed is None else math.ceil(self.claimed)
                    found = diagnose(self.subject.traced, owed=owed)
                    if not self._noisy and (off := found.inconsistent) is not None:
                        what = f"the weights of most steps add up to {off:.6g} of what they must"
                        self._say("failed", f"{what}: runs do not tend to the solution", "diagnosis")
                    return found
                except Unexplained as error:
                    self._say("noted", f"no diagnosis: {error}", "diagnosis")
            else:
                self._say_unread("diagnosis")
        return None

    @cached_property
    def nfe(self) -> int | None:
        """Evaluations of a run with 20 steps; None where they depend on the values."""
        return self.subject.traced(20).nfe if self._linear else None

    @cached_property
    def _linear(self) -> bool:
        try:
            return self.subject.linear
        except Exception:  # said by the check of that name
            return False

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the checks found, and what orders raised: of one cause one."""
        return merged(self.each)

    @cached_property
    def each(self) -> tuple[Finding, ...]:
        """All of it, also what was found before."""
        _ = self.orders, "identity" in self.wanted and self.identified  # they have a say too
        _ = "diagnosis" in self.wanted and self.diagnosis
        found = [f for check in self.wanted if check in CHECKS for f in findings(self.subject, check)]
        if "linear" in self.asked:
            found = [f for f in found if f.cause != UNREAD]
        return (*found, *self._said)

    @property
    def said(self) -> tuple[Finding, ...]:
        """What the orders that were asked for so far raised, or left to say."""
        return tuple(self._said)

    @property
    def orders(self) -> dict[str, Order | None]:
        """By the names of the JSON data; none where they are not wanted."""
        if "orders" not in self.wanted:
            return dict.fromkeys(("as_run", "not_smooth", "formula", "weak", "strong"))
        return {
            "as_run": self.as_run,
            "not_smooth": self.not_smooth,
            "formula": self.formula,
            "weak": self.weak,
            "strong": self.strong,
        }

    @cached_property
    def checks(self) -> dict[str, str]:
        """What became of all that was asked for: of every check "holds", its gravest verdict,
        or why it is not one of such a sampler; why an order, identity or diagnosis that is none is none.
        """
        gravest = {f.check: f.verdict for f in sorted(self.each, key=lambda f: -SEVERITIES.index(f.verdict))}
        found = {}
        for check in self.wanted:
            if check in CHECKS:
                why = (check in OF_ROWS and self._unread) or self._unasked(check)
                found[check] = gravest.get(check) or (f"{NOT_ASKED}{why}" if why else "holds")
        return found | {name: f"{NOT_ASKED}{why}" for name, why in self._none.items()}

    @property
    def _unread(self) -> str:
        try:
            return "" if self.subject.linear else "it cannot be read off"
        except Exception:  # said by every check
            return ""

    def _unasked(self, check: str) -> str:
        try:
            return unasked(self.subject, check)
        except Exception:  # it is what the check finds
            return ""

    @property
    def _none(self) -> dict[str, str]:
        """Why there is no order, identity or diagnosis where one was asked for."""
        why = {}
        if "orders" in self.wanted:
            of = {True: ("as_run", "not_smooth", "formula"), False: ("weak", "strong")}[self._noisy]
            kind = "it draws noise" if self._noisy else "it draws no noise"
            missing = [name for name, order in self.orders.items() if order is None]
            why = {name: kind if name in of else SAID for name in missing}
            if "formula" in why and not self._noisy:
                why["formula"] = self._unread or SAID
            if self.weak is not None and "strong" in why:
                timed = all(pair is not None for pair in self.subject.traced(KNOWN).increments)
                why["strong"] = "its noise is that of no reverse SDE" if timed else "its noise says no times"
        if "identity" in self.wanted and self.identified is None:
            none = (
                SAID
                if any(f.check == "identity" for f in self.said)
                else "none listed makes these evaluations"
            )
            why["identity"] = self._unread or (none if self._linear else SAID)
        if "diagnosis" in self.wanted and self.diagnosis is None:
            why["diagnosis"] = self._unread or SAID
        return why

    @property
    def _noisy(self) -> bool:
        try:
            return self.subject.noisy
        except Exception:  # said by every check
            return False

    @property
    def holds(self) -> bool:
        """Whether the claimed order is what runs have and alternating steps do not refute it, and no check
        failed.
        """
        orders = self.orders
        run = orders["weak"] if orders["as_run"] is None else orders["as_run"]
        judged = self.claimed is not None and "orders" in self.wanted
        order = not judged or (run is not None and run.verdict in ("consistent", "higher"))
        rough = orders["not_smooth"]
        order = order and not (judged and rough is not None and rough.verdict == "lower")
        return order and not any(f.verdict in ("failed", "raised") for f in self.findings)

    @property
    def data(self) -> dict[str, Any]:
        """The audit as JSON data."""
        return self.json()

    def json(self) -> dict[str, Any]:
        """The audit as JSON data."""
        orders = {key: None if o is None else _order_json(o) for key, o in self.orders.items()}
        identified = self.identified if "identity" in self.wanted else None
        diagnosis = self.diagnosis if "diagnosis" in self.wanted else None
        return {
            "target": self.target.name,
            "package": self.target.package,
            "version": self.target.version,
            "claimed": self.claimed,
            **orders,
            "identified": None if identified is None else _identity_json(identified),
            "diagnosis": None if diagnosis is None else _diagnosis_json(diagnosis),
            "nfe": self.nfe,
            "findings": [f.json() for f in self.findings],
            "checks": self.checks,
            "holds": self.holds,
        }


def _whole(trace: Trace, where: StochasticExperiment) -> bool:
    """Whether the increments make up the path: every one has its times, and they fill the interval."""
    lam = where.schedule.lam
    spans = [abs(float(lam(b) - lam(a))) for a, b in (pair for pair in trace.increments if pair is not None)]
    return len(spans) == len(trace.increments) and math.isclose(
        sum(spans), where.lam_end - where.lam_start, rel_tol=1e-9
    )


def _left(errors: Mapping[int, float]) -> float | None:
    """Of errors c_1/N + c_2/N^2 + .. + left what is left; None where it falls like the next term still does.

    Richardson's extrapolation, twice, from N, N/2 and N/4, beside that from half as many steps.
    """
    n = max(errors, default=0)
    counts = [n // 8, n // 4, n // 2, n]
    if n % 8 or not all(count in errors for count in counts):
        return None
    e = [errors[count] for count in counts]
    once = [2 * b - a for a, b in itertools.pairwise(e)]
    before, left = ((4 * b - a) / 3 for a, b in itertools.pairwise(once))
    return left if abs(left) > SHARE * abs(before) else None


SHARE = 0.5
"""Of what errors extrapolate to, what more steps leave of it where it is more than the next terms: those fall
by 1/8."""


def _observed(order: Order | OrderEstimate) -> float:
    return order.observed if isinstance(order, Order) else order.order


def _order_json(order: Order) -> dict[str, Any]:
    numbers = {key: json_number(getattr(order, key)) for key in ("observed", "low", "high")}
    return numbers | {"verdict": order.verdict, "reason": order.reason, "where": order.where}


def _diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    formulas = [
        {
            "first": f.first,
            "steps": list(f.steps),
            "of": f.count,
            "rows": f.rows,
            "outputs": f.width,
            "moments": [{"state": m.state, "quotient": json_number(m.limit)} for m in f.moments],
        }
        for f in diagnosis.formulas
    ]
    return {"form": diagnosis.form, "formulas": formulas, "text": str(diagnosis)}


def _identity_json(found: Identity) -> dict[str, Any]:
    return asdict(found) | {"difference": json_number(found.difference)}


def audit(
    target: str | Target | Solver | Plan | Callable[..., Any],
    claimed: float | None = None,
    *,
    convention: str | None = None,
    settings: dict[str, Any] | None = None,
    only: Iterable[str] | None = None,
    profile: Profile = FULL,
) -> Audit:
    """Audit a sampler.

    target: whatever `targets.named.target` finds: PACKAGE:NAME, FILE.py:function, a listed solver, a file, a
    `Target`, a `Solver`, a `Plan`, or a function of a run.  claimed: the order to judge against; what the
    source claims where absent.  convention, settings: as there.  only: which checks to make; all when
    absent.  profile: how much is run for an order.
    Nothing is computed before it is asked for.
    Raises TypeError or ValueError for what is none of these.
    """
    if claimed is not None:
        checks.number("claimed", claimed, above=0)
    wanted = ONLY if only is None else checks.sequence("only", only, least=1)
    if settings is not None:
        checks.instance("settings", settings, Mapping)
    for name in wanted:
        checks.one_of("only", name, ONLY)
    chosen = named_target(target, settings=settings, convention=convention)
    return Audit(chosen, chosen.claimed if claimed is None else claimed, wanted, profile=profile)
