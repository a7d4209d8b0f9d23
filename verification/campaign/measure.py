"""The main job: measure every solver, compare with what is claimed and expected, replay the released code.

A task is one solver under one setting, on an experiment of its own: its row depends on no task before it.
Reference solutions are remembered (`problems/cache.py`).  A ladder ends where its runs say what is proved;
where they do not, or there is no proof, it is climbed to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from semilinear.analysis.orders.solver_proof import SolverProof, prove_solver
from semilinear.integrators.plans.program import Start
from semilinear.integrators.solver import Spanning
from semilinear.integrators.solvers import make

from ..claims.expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS
from ..claims.flow import Expectation
from ..claims.orders import recorded
from ..claims.stochastic import StochasticExpectation
from ..studies.experiment import MAIN_PROBLEM
from ..studies.flow import Study, run
from ..studies.gaussian import StochasticExperiment, StochasticStudy
from ..studies.gaussian import study as stochastic_study
from ..studies.ladders import FLOW, FLOW_LONG, GAUSSIAN, GAUSSIAN_LONG, half_octaves
from ..studies.own_statistics import on_experiment
from ..studies.records import estimate_json, ladder_json
from ..studies.setting import Setting
from .runner import Expected

MAIN = Setting("main", MAIN_PROBLEM, "vp-linear", "t-quadratic")
SECOND = Setting("general mixture", "golden-mixture", "vp-cosine", "karras")
DIGITS = Setting(
    "handwritten digits", "digits-0.8", "vp-linear", "lambda", batch=32, ladder=FLOW[:-2], tolerance=1e-12
)
HARD = tuple(
    replace(
        DIGITS,
        name=f"hard: {p}",
        problem=p,
        lam_end=3.5,
        statistics=("rms", "median", "max"),
        asserted=False,
    )
    for p in ("digits-0.2", "digits-0")
)
FIFTY = Setting(
    "50 digits",
    "mixture-1d",
    "vp-linear",
    "lambda",
    batch=4,
    digits=50,
    ladder=FLOW[2:],
)

ROUGH = (
    replace(MAIN, name="alternating steps", grid="alternating:base=t-quadratic", ladder=half_octaves(8, 256)),
    replace(MAIN, name="one kink", grid="kinked:base=t-quadratic", ladder=half_octaves(8, 256)),
    replace(MAIN, name="times rounded to 1/1000", grid="rounded:base=t,n=1000", ladder=half_octaves(4, 64)),
)
"""What rounding does at every step, in the limit; what the table of an interpolated grid does at each of its
times; and rounding itself, which has no limit: steps of less than a few indices are none.
"""

ON_DIGITS = (
    "ddim",
    "dpm-solver++-2s",
    "dpm-solver++-3s",
    "dpm-solver++-2m",
    "dpm-solver++-3m-released",
    "dpm-solver++-3m-corrected",
    "deis-tab3",
)
ON_HARD = ("ddim", "dpm-solver++-2m")
IN_FIFTY = (
    "ddim",
    "dpm-solver++-2m",
    "dpm-solver-3",
    "dpm-solver++-3m-corrected",
    "deis-lambdaab3",
    "krogstad4",
    "exprk5s8",
)


@dataclass(frozen=True)
class OrderTask(Expected):
    """One solver under one setting: its own start and, where it has one, an exact one."""

    setting: Setting
    expectation: Expectation
    long: bool = True
    part: ClassVar[str] = "rows"

    @property
    def key(self) -> str:
        """Setting and solver."""
        return f"{self.setting.name}: {self.expectation.label}" + ("" if self.long else ", quick")

    @property
    def starts(self) -> tuple[Start, ...]:
        """The starts that differ."""
        several = self.setting.asserted and make(self.expectation.solver).history
        return ("own", "exact") if several else ("own",)

    def run(self) -> dict[str, Any]:
        """What was measured, as JSON data (`Measured.row`)."""
        e, setting = self.expectation, self.setting
        if e.long and self.long:
            setting = replace(setting, ladder=FLOW_LONG)
        proof = proof_of(e)
        own, exact = (None, None) if proof is None else (proof.run(), proof.exact_start())
        orders = {"own": (own, e.own), "exact": (exact, e.exact)}
        studies = [_study(setting, e, start, *orders[start]) for start in self.starts]
        return Measured(self.setting, e, studies[0], studies[-1], self.long).row()


@cache
def proof_of(e: Expectation) -> SolverProof | None:
    """The proof of a solver's orders; None of a discretised kernel, which has no formula."""
    try:
        return prove_solver(e.build(), residue=e.residue)
    except ValueError:
        return None


def _on_rough(e: Expectation) -> tuple[int | None, int | None, None]:
    """What is proved on the kinds of grids of `ROUGH`.  Steps over several intervals can be alike where those
    alternate.
    """
    proof = proof_of(e)
    if proof is None:
        return None, None, None
    alternating = None if isinstance(proof.solver.sequence, Spanning) else proof.run("any")
    return alternating, proof.across_kinks(), None


def _study(setting: Setting, e: Expectation, start: Start, proved: int | None, expected: int | None) -> Study:
    """The study of one start, on a ladder that ends where it says what is proved."""
    experiment = setting.build()
    return run(
        on_experiment(e.solver, experiment),
        experiment,
        start=start,
        residue=e.residue,
        statistics=setting.statistics,
        enough=None if proved is None else lambda study: study.agrees(proved, falls=expected is None),
    )


@dataclass(frozen=True)
class GridTask(Expected):
    """One solver on grids that are not smooth, as it is run."""

    expectation: Expectation
    part: ClassVar[str] = "grids"

    @property
    def key(self) -> str:
        """The solver."""
        return self.expectation.label

    def run(self) -> dict[str, Any]:
        """What is proved for each kind of grid, None where nothing is, and what was measured, as JSON data.

        as_expected: whether these agree; None where a measurement is inconclusive, or nothing is asserted.
        """
        e, solver = self.expectation, self.expectation.build()
        rows, found = [], []
        for setting, proved in zip(ROUGH, _on_rough(e), strict=True):
            study = _study(setting, e, "own", proved, e.own)
            agrees = None if proved is None or e.long else _as_expected(study, proved if e.own else None)
            found += [] if proved is None else [agrees]
            verdict = None if proved is None or e.own is None else study.against(proved)
            rows.append(
                {"grid": setting.name, "proved": proved, **estimate_json(study.estimate), "verdict": verdict}
            )
        expected = False if False in found else None if None in found or not found else True
        return {"solver": e.label, "claimed": solver.claimed, "grids": rows, "as_expected": expected}


@dataclass(frozen=True)
class StochasticTask(Expected):
    """One stochastic solver's weak and strong orders."""

    expectation: StochasticExpectation
    long: bool = True
    part: ClassVar[str] = "stochastic"

    @property
    def key(self) -> str:
        """The solver."""
        return self.expectation.solver + ("" if self.long else ", quick")

    def run(self) -> dict[str, Any]:
        """What was measured, as JSON data (`StochasticMeasured.row`)."""
        long = self.expectation.long and self.long
        experiment = StochasticExperiment(ladder=GAUSSIAN_LONG if long else GAUSSIAN)
        study = stochastic_study(self.expectation.build(), experiment)
        return StochasticMeasured(self.expectation, study, self.long).row()


@dataclass(frozen=True)
class StochasticMeasured:
    """A stochastic solver, measured."""

    expectation: StochasticExpectation
    study: StochasticStudy
    long: bool = True

    @property
    def as_expected(self) -> bool | None:
        """Whether the orders are the expected ones; None where none is asserted, or the expectation speaks of
        the long ladder and a quick run stopped before.
        """
        e = self.expectation
        if (e.long and not self.long) or (e.weak is None and e.strong is None):
            return None
        weak = e.weak is None or self.study.against(e.weak) == "consistent"
        strong = e.strong is None or self.study.strong_verdict(e.strong) == "consistent"
        return weak and strong

    def row(self) -> dict[str, Any]:
        """As JSON data."""
        e, s = self.expectation, self.study
        solver = e.build()
        return {
            "solver": e.solver,
            "claimed": solver.claimed,
            "paper": solver.paper,
            "source": solver.source,
            "weak": estimate_json(s.weak) | {"verdict": s.against(solver.claimed)},
            "strong": estimate_json(s.strong) | {"verdict": s.strong_verdict(solver.claimed)},
            "mean": estimate_json(s.mean),
            "variance": ladder_json(s.variance, s.nfe) | {"start": "own"},
            "without_error": sorted(s.exact),
            "expected": {"weak": e.weak, "strong": e.strong},
            "as_expected": self.as_expected,
            "verdict": recorded(e, solver.claimed),
            "reason": e.reason,
            "agreement": None,
        }


@dataclass(frozen=True)
class Measured:
    """A solver under one setting: its own start and exact starting values (one study where they are the
    same).
    """

    setting: Setting
    expectation: Expectation
    own: Study
    exact: Study
    long: bool = True
    """Whether the long ladder was run where the expectation asks for it."""

    @property
    def as_expected(self) -> bool | None:
        """Whether the measured orders are the expected ones; None where nothing is asserted, or a measurement
        is inconclusive and none contradicts.

        Nothing is asserted on the hard cases, nor where an expectation speaks of the long ladder and a quick
        run stopped before.
        """
        if not self.setting.asserted or (self.expectation.long and not self.long):
            return None
        pairs = ((self.own, self.expectation.own), (self.exact, self.expectation.exact))
        found = [_as_expected(study, order) for study, order in pairs]
        return False if False in found else None if None in found else True

    def row(self) -> dict[str, Any]:
        """As JSON data; what is proved, and how released code agrees, is filled in where reports are made."""
        e = self.expectation
        solver = e.build()
        return {
            "solver": e.label,
            "setting": self.setting.name,
            "claimed": solver.claimed,
            "paper": solver.paper,
            "source": solver.source,
            "own": self.own.data,
            "exact": None if self.exact is self.own else self.exact.data,
            "expected": {"own": e.own, "exact": e.exact},
            "proved": None,
            "as_expected": self.as_expected,
            "verdict": recorded(e, solver.claimed),
            "reason": e.reason,
            "agreement": None,
        }


def _as_expected(study: Study, order: int | None) -> bool | None:
    if order is None:
        return None if study.verdict == "inconclusive" else study.verdict == "lower"
    verdict = study.against(order)
    return None if verdict == "inconclusive" else verdict == "consistent"


def tasks(quick: bool) -> list[OrderTask | StochasticTask | GridTask]:
    """Everything that a run measures."""
    planned = [(MAIN, e) for e in EXPECTATIONS]
    if not quick:
        planned += [(SECOND, e) for e in EXPECTATIONS if not e.long]
        by_name = {e.solver: e for e in EXPECTATIONS}
        planned += [(DIGITS, by_name[n]) for n in ON_DIGITS]
        planned += [(setting, by_name[n]) for setting in HARD for n in ON_HARD]
        planned += [(FIFTY, by_name[n]) for n in IN_FIFTY]
    stochastic = [StochasticTask(e, not quick) for e in STOCHASTIC_EXPECTATIONS]
    rough = [] if quick else [GridTask(e) for e in EXPECTATIONS]
    return [*(OrderTask(s, e, not quick) for s, e in planned), *stochastic, *rough]
