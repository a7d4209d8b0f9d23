"""What a sampler must do besides converging: each check by itself, on one subject.

A check yields findings; none means that it holds.  What a sampler raises is a finding of the check.
"""

from __future__ import annotations

import math
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from semilinear.integrators.diffusion.grids import karras

from ..problems.named import marginal_samples, problem
from ..studies.experiment import MAIN_PROBLEM
from ..targets.named import Target
from ..targets.run import Run, ShapeError, states_like
from ..targets.shipped import LARGEST, SMALLEST
from ..tracing.compare import Difference, compare
from ..tracing.linearity import AGREE, apart, batched, other_chance, reasons
from ..tracing.probe import Script
from ..tracing.trace import NotLinearError, trace
from ..tracing.witness import Scene, Witness
from . import costs
from .finding import (
    SEVERITIES,
    Finding,
    Said,
    Severity,
    cause_of,
    counted,
    judged,
    named,
    numberless,
    raised,
    refused,
)
from .subject import Subject

FEW = range(1, 21)
"""Step counts at which runs must be finite."""
DIGITS = {20: 1e-4, 100: 1e-3}
"""By number of steps, how far float32 coefficients may be from exact ones, relative: a thousand units and
more."""
HALVED = (4, 8, 16, 32, 64, 128, 256)
"""Step counts of runs in half precision."""
GROWN = 2.0
"""By how much more than the least error is worse."""


def linear(s: Subject) -> Iterator[Said]:
    """Whether the sampler is linear in its start, the model's outputs and its noise."""
    if s.bent is None:
        return
    if s.bent.kind == "noise":
        yield "inconclusive", f"cannot be read off: {s.bent}"
        return
    why = "; ".join(reasons(s.target.sampler, s.schedule, s.grid("karras", 20), s.bent))
    yield "noted", f"not linear, so not read off: {why} ({s.bent})"


def noise(s: Subject) -> Iterator[Said]:
    """Draws whose weight is zero."""
    found = s.traced(20)
    none = int(np.sum(~np.any(found.rows[:, 1 + found.nfe :], axis=0)))
    if none:
        yield "noted", f"{none} of {len(found.increments)} draws of a run with 20 steps have no weight"
    steps = s.steps(20)
    for local in steps.locals:
        start, end = steps.times[local.base], steps.times[local.state]
        least = SAME_TIME * max((abs(w) for _, w in local.noise), default=0.0)
        used = [steps.trace.increments[i] for i, w in local.noise if abs(w) > least]
        for t0, t1 in (pair for pair in used if pair is not None):
            if not (reaches(start, t0) and reaches(t1, end)):
                yield (
                    "failed",
                    f"between t = {start:.6g} and {end:.6g} it adds the noise that it asked for between "
                    f"{t0:.6g} and {t1:.6g}: on one path these are independent",
                )
                return


def reaches(t: float, later: float) -> bool:
    """Whether a time is not after another, as runs go down."""
    return t >= later or math.isclose(t, later, rel_tol=SAME_TIME)


def batch(s: Subject) -> Iterator[Said]:
    """A sample must not depend on the others of its batch, nor share its noise."""
    scene, sampler = _scene(s), s.target.sampler
    away = batched(sampler, scene)
    if away <= AGREE and not s.shares_noise:
        return
    if why := _restless(s):
        yield "inconclusive", f"dependence on the batch cannot be checked: {why}"
        return
    size = len(scene.start())
    if not away <= AGREE:
        how = f"differ by {away:.1e}, relative" if np.isfinite(away) else "are evaluated at other times"
        yield "failed", f"a sample in a batch of {size} and the same alone {how}"
    if s.shares_noise:
        yield "failed", f"the samples of a batch of {size} share noise"


def _restless(s: Subject) -> str:
    """Why runs from one start and noise differ; "" where they do not."""
    scene, sampler = _scene(s), s.target.sampler
    if chance := other_chance(sampler, scene):
        return chance
    samples = range(len(scene.start()))
    scenes = [scene, *(replace(scene, sample=k) for k in samples)]
    first, second = ([one.run(sampler) for one in scenes] for _ in range(2))
    if all(apart(a, b) <= AGREE for a, b in zip(first, second, strict=True)):
        return ""
    return "two runs from one start and noise differ"


RUNS = 6
"""That must be one."""


def repeat(s: Subject) -> Iterator[Said]:
    """Further runs from the same start and noise must be the first, after a run on another grid with as many
    steps, and in another thread.
    """
    scene, sampler = _scene(s), s.target.sampler
    first, *more = (scene.run(sampler) for _ in range(RUNS))
    away = max(apart(first, run) for run in more)
    if not away <= AGREE:
        yield "failed", f"two runs from one start and noise differ by {away:.1e}, relative"
        return
    if chance := other_chance(sampler, scene):
        yield "noted", chance
    other = replace(scene, grid=tuple(OTHER * t for t in scene.grid))
    elsewhere = other.run(sampler).script
    if not (away := apart(first, scene.run(sampler))) <= AGREE:
        yield "failed", f"after a run on another grid of as many steps a run differs by {away:.1e}, relative"
    elif first.script.asked and elsewhere.asked == first.script.asked:
        yield (
            "failed",
            f"on another grid of {len(scene.grid) - 1} steps, with other ends, the model is asked at the "
            "times of the first",
        )
    found: list[Witness] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            found.append(scene.run(sampler))
        except Exception as error:  # it is raised again where it is seen
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        yield "failed", f"in another thread it raises {named(errors[0])}"
    elif not (away := apart(first, found[0])) <= AGREE:
        yield "failed", f"a run in another thread differs by {away:.1e}, relative"

    if not errors and _seeded(s):
        yield "noted", "its noise is the same whatever seed torch has: two calls of it are not independent"
    if scene.run(sampler).overwritten:
        yield "noted", "it writes into the states that it is given, which are its caller's"


def _seeded(s: Subject) -> bool:
    """Whether a sampler whose states depend on noise gives the same ones with other seeds of torch."""
    scene, ends = _scene(s), list[torch.Tensor]()
    if apart(scene.run(s.target.sampler), replace(scene, spread="none").run(s.target.sampler)) <= AGREE:
        return False
    for seed in (1, 2):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            ends.append(_end(s, Run(scene.schedule, scene.grid, scene.start(), scene.model)))
    return torch.equal(*ends)


OTHER = 0.75
"""Times of the other grid, in those of the first."""


def times(s: Subject) -> Iterator[Said]:
    """Whether the model is asked at the times of the grid, all but the last, beside others."""
    grid = s.grid("karras", 20)
    script = Scene(s.schedule, grid, torch.float64).run(s.target.sampler).script
    asked = sorted({t for _, t in script.asked})
    first, last = script.asked[0][1], script.asked[-1][1]
    if first < last and len(asked) > 1:
        yield (
            "failed",
            f"the model is asked at t = {first:.6g} first and at {last:.6g} last, in a run from t = "
            f"{grid[0]:.6g} to {grid[-1]:.6g}",
        )
    yield from _unread(s, grid)
    missed = sum(not any(math.isclose(t, a, rel_tol=SAME_TIME) for a in asked) for t in grid[:-1])
    if missed:
        other = sum(not any(math.isclose(t, a, rel_tol=SAME_TIME) for t in grid) for a in asked)
        others = f", but at {other} others" if other else ""
        yield "noted", f"the model is not asked at {missed} of the 20 times of a grid{others}"


def _unread(s: Subject, grid: tuple[float, ...]) -> Iterator[Said]:
    """Ends of a grid on which neither the final state's coefficients nor the times of evaluations depend: it
    belongs to another time, or the start is taken for a state at another.
    """
    if s.bent is not None:
        return
    known = s.between(grid)
    ends = {
        "first": ((grid[0] + grid[1]) / 2, *grid[1:]),
        "last": (*grid[:-1], (grid[-2] + grid[-1]) / 2),
    }
    for name, times in ends.items():
        moved = s.between(times)
        if moved.times[:-1] == known.times[:-1] and np.array_equal(moved.rows[-1], known.rows[-1]):
            runs = f"runs with {len(grid) - 1} steps"
            yield "failed", f"the final states of {runs} do not depend on the {name} time of the grid"


SAME_TIME = 1e-6
"""Relative, of two times that are one, as float32 rounds them."""


def nfe(s: Subject) -> Iterator[Said]:
    """Evaluations that a run with 20 steps makes for each sample, beside its calls of the model and what it
    says that it makes.
    """
    script = Scene(s.schedule, s.grid("karras", 20), torch.float64).run(s.target.sampler).script
    made = script.evaluations
    if script.calls < made:
        yield (
            "noted",
            f"states are stacked: {script.calls} calls of the model in 20 steps are {made} evaluations",
        )
    elif again := _repeated(script):
        yield (
            "noted",
            f"{again} of {made} evaluations in 20 steps repeat one before, of its state at its time",
        )
    if script.claimed is not None and script.claimed != made:
        yield "failed", f"{script.claimed} evaluations are claimed of a run with 20 steps, {made} are made"


def _repeated(script: Script) -> int:
    """Evaluations of a state at a time at which it was evaluated before."""
    seen = {(asked, x.double().numpy().tobytes()) for asked, x in zip(script.asked, script.seen, strict=True)}
    return len(script.seen) - len(seen)


ENDS: dict[str, tuple[float, ...]] = {"0": (0.0,), "sigma_min": (), "sigma_min twice": (SMALLEST,)}
"""The last noise levels of runs from noise to data, by name."""


INFINITE = "states are not finite"


def outcomes(s: Subject, end: str, counts: Iterable[int]) -> list[tuple[Severity, str, str, list[int]]]:
    """What goes wrong in runs from noise to data: a verdict, a text, its cause, and the step counts at which
    it does; a refusal is noted.

    end: one of `ENDS`.
    """
    found: dict[tuple[Severity, str], dict[int, str]] = {}
    for n in counts:
        try:
            states = _final(s, _whole(s, n, ENDS[end]))
        except Exception as error:  # a crash is what is looked for
            verdict: Severity = "noted" if refused(error, s.target) else judged(error, s.target)
            cause, text = cause_of(error), named(error)
            if verdict == "failed":
                cause, text = numberless(str(error)), str(error)
            found.setdefault((verdict, cause), {})[n] = text
        else:
            if not np.all(np.isfinite(states)):
                found.setdefault(("failed", INFINITE), {})[n] = INFINITE
    return [
        (verdict, texts.pop() if len(texts := set(said.values())) == 1 else cause, cause, list(said))
        for (verdict, cause), said in found.items()
    ]


def sentence(verdict: Severity, text: str, end: str, counts: list[int]) -> str:
    """An outcome in words."""
    runs = f"from sigma = {LARGEST:g} to {end} in {counted(counts)}"
    if verdict == "inconclusive":
        return f"cannot be checked {runs}: {text}"
    return f"refuses runs {runs}: {text}" if verdict == "noted" else f"{text} {runs}"


def finite(s: Subject) -> Iterator[Said]:
    """Runs from noise to data with 1 to 20 steps, down to sigma = 0, to sigma_min, and to sigma_min twice."""
    for end in ENDS:
        found = sorted(outcomes(s, end, FEW), key=lambda outcome: SEVERITIES.index(outcome[0]))
        for verdict, text, cause, counts in found:
            if verdict != "noted" or end != "sigma_min twice":  # a level that repeats may be refused
                one = verdict == "noted" or text == INFINITE
                yield verdict, sentence(verdict, text, end, counts), "" if one else cause


def dtype(s: Subject) -> Iterator[Said]:
    """States keep their dtype and shape."""
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        name = str(kind).removeprefix("torch.")
        try:
            scene = replace(_scene(s), dtype=kind)
            final = _end(s, Run(scene.schedule, scene.grid, scene.start(), scene.model))
        except ShapeError as error:
            yield "failed", f"states of shape {error.wanted} become {error.got}"
            continue
        except Exception as error:  # whatever it is, it is said
            if refused(error, s.target):
                yield "noted", f"refuses {name} states: {named(error)}"
            else:
                yield raised(error, s.target, f"{name} states raise")
            continue
        if final.dtype != kind:
            yield "noted", f"{name} states become {str(final.dtype).removeprefix('torch.')}"


def rounded(s: Subject, n: int, allowed: float) -> Difference:
    """Coefficients of a run with n steps for float32 states, as the package computes them, against exact
    ones.

    Raises NotLinearError where they cannot be read off.
    """
    own = trace(s.own.sampler, s.schedule, s.grid("karras", n), dtype=torch.float32)
    return compare(own, s.read(n), allowed)


def float32(s: Subject) -> Iterator[Said]:
    """Coefficients as the package computes them for float32 states, against exact ones."""
    for n, allowed in DIGITS.items():
        try:
            difference = rounded(s, n, allowed)
        except NotLinearError as error:
            yield "noted", f"in float32 with {n} steps: {error}"
            continue
        if not difference.same:
            yield (
                "noted",
                f"in float32 coefficients are off by up to {difference.value:.1e} with {n} steps, first at "
                f"evaluation {difference.first}: {difference.what}",
            )


def half(s: Subject) -> Iterator[Said]:
    """The step count at which runs in half precision are best, where more steps make them worse."""
    for kind in (torch.float16, torch.bfloat16):
        name, found = str(kind).removeprefix("torch."), {}
        refusals: dict[str, list[int]] = {}
        for n in HALVED:
            try:
                found[n] = costs.coarse(s, n, kind)
            except Exception as error:  # whatever it is, it is said
                if refused(error, s.target):
                    refusals.setdefault(named(error), []).append(n)
                    continue
                yield raised(error, s.target, f"{name} states in {n} steps raise")
                break
        for text, counts in refusals.items():
            yield "noted", f"refuses {name} states in {counted(counts)}: {text}"
        bad = [n for n, error in found.items() if not np.isfinite(error)]
        if bad:
            yield "failed", f"{name} states are not finite in {counted(bad)}"
            continue
        best = min(found, key=lambda n: found[n], default=0)
        if found and found[max(found)] > GROWN * found[best]:
            last = f"{found[max(found)]:.1e} with {max(found)}"
            yield (
                "noted",
                f"in {name} the error is least with {best} steps, {found[best]:.1e}; {last}, relative",
            )


CHECKS: dict[str, Callable[[Subject], Iterator[Said]]] = {
    "linear": linear,
    "noise": noise,
    "batch": batch,
    "repeat": repeat,
    "times": times,
    "nfe": nfe,
    "finite": finite,
    "dtype": dtype,
    "float32": float32,
    "half": half,
    "ends": costs.ends,
    "shipped": costs.shipped,
}
OF_ROWS = ("noise", "float32", "ends")
"""Checks of what can be read off."""
OF_PATHS = ("half", "ends")
"""Checks of errors along a path."""
UNREAD = "cannot be checked: it cannot be read off: {}"


def unasked(s: Subject, check: str) -> str:
    """Why a check is not one of such a sampler; "" where it is."""
    if check == "shipped" and s.target.shipped is None:
        return "no grid comes with it"
    if check in OF_PATHS and s.noisy:
        return costs.DRAWS
    if check == "ends" and not costs.separable(s):
        return "its first and last steps cannot be taken apart"
    return ""


def findings(s: Subject, check: str) -> tuple[Finding, ...]:
    """What a check finds; an exception is a finding of its own."""
    line = repeated(s.target, check)
    found: list[Finding] = []
    try:
        if check in OF_ROWS and s.bent is not None:
            return (Finding(check, "inconclusive", UNREAD.format(s.bent), line, UNREAD),)
        if unasked(s, check):
            return ()
        for verdict, message, *of in CHECKS[check](s):
            found.append(Finding(check, verdict, message, line, *of))
    except Exception as error:  # the audit goes on
        verdict, message, cause = raised(error, s.target)
        found.append(Finding(check, verdict, message, line, cause))
    return tuple(found)


def repeated(target: Target, check: str, claimed: float | None = None) -> str:
    """The line that repeats a check; empty for a target that no text names."""
    if not target.named:
        return ""
    words = ["semilinear", "audit", target.name, "--only", check]
    words += ["--as", target.convention] if target.convention else []
    words += ["--claimed", f"{claimed:g}"] if claimed is not None and claimed != target.claimed else []
    return shlex.join(words)


def _scene(s: Subject) -> Scene:
    return Scene(s.schedule, s.grid("karras", 10), torch.float64)


def _whole(s: Subject, n: int, end: tuple[float, ...]) -> tuple[float, ...]:
    """n + 1 noise levels from noise to data, the last ones `end`."""
    inner = n - len(end)
    if inner < 1:
        return (LARGEST, *end)[: n + 1]
    return (*(float(t) for t in karras()(s.schedule, LARGEST, SMALLEST, inner)), *end)


def _final(s: Subject, times: tuple[float, ...]) -> np.ndarray:
    chosen = problem(MAIN_PROBLEM)
    x = torch.from_numpy(marginal_samples(chosen, costs.VE, times[0], 4, 0)).reshape(4, 1, 1, -1)
    model = chosen.model(costs.VE)
    run = Run(costs.VE, times, x, lambda y, t: model(y.reshape(len(y), -1), t).reshape(y.shape))
    return np.asarray(_end(s, run).double().numpy())


def _end(s: Subject, run: Run) -> torch.Tensor:
    with torch.no_grad():
        given = s.own.sampler(run)
    return states_like(given, run.x)[0]
