"""What a sampler must do besides converging: each check by itself, on one subject.

A check yields findings; none means that it holds.  What a sampler raises is a finding of the check.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from semilinear.integrators.diffusion.grids import karras

from ..problems.named import marginal_samples, problem
from ..studies.experiment import MAIN_PROBLEM
from ..targets.frames import NoLevel
from ..targets.named import Target
from ..targets.run import Run, ShapeError, states_like
from ..targets.shipped import LARGEST, SMALLEST
from ..tracing.compare import Difference, compare
from ..tracing.linearity import AGREE, apart, batched, reasons, repeats
from ..tracing.trace import NotLinearError, trace
from ..tracing.witness import Scene, Witness
from . import costs
from .finding import LONGEST, SEVERITIES, Finding, Severity, named, refused
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
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d.]*(e[-+]?\d+)?(, )?")


def linear(s: Subject) -> Iterator[tuple[Severity, str]]:
    """Whether the sampler is linear in its start, the model's outputs and its noise."""
    if s.bent is not None:
        why = "; ".join(reasons(s.target.sampler, s.schedule, s.grid("karras", 20), s.bent))
        yield "noted", f"not linear, so not read off: {why} ({s.bent})"


def noise(s: Subject) -> Iterator[tuple[Severity, str]]:
    """Draws whose weight is zero."""
    if s.linear:
        found = s.traced(20)
        none = int(np.sum(~np.any(found.rows[:, 1 + found.nfe :], axis=0)))
        if none:
            yield "noted", f"{none} of {len(found.increments)} draws of a run with 20 steps have no weight"


def batch(s: Subject) -> Iterator[tuple[Severity, str]]:
    """A sample must not depend on the others of its batch."""
    away = batched(s.target.sampler, _scene(s))
    if not away <= AGREE:
        how = f"differ by {away:.1e}, relative" if np.isfinite(away) else "are evaluated at other times"
        yield "failed", f"a sample in a batch of 2 and the same alone {how}"


def repeat(s: Subject) -> Iterator[tuple[Severity, str]]:
    """A second run from the same start and noise must be the first, and so one in another thread."""
    scene = _scene(s)
    away = repeats(s.target.sampler, scene)
    if not away <= AGREE:
        yield "failed", f"two runs from one start and noise differ by {away:.1e}, relative"
    found: list[Witness] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            found.append(scene.run(s.target.sampler))
        except Exception as error:  # it is raised again where it is seen
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        yield "failed", f"in another thread it raises {named(errors[0])}"
    elif not (away := apart(scene.run(s.target.sampler), found[0])) <= AGREE:
        yield "failed", f"a run in another thread differs by {away:.1e}, relative"


def nfe(s: Subject) -> Iterator[tuple[Severity, str]]:
    """Evaluations that a run with 20 steps makes for each sample, beside its calls of the model and what it
    says that it makes.
    """
    script = Scene(s.schedule, s.grid("karras", 20), torch.float64).run(s.target.sampler).script
    made = len(script.asked)
    if script.calls != made:
        yield (
            "noted",
            f"states are stacked: {script.calls} calls of the model in 20 steps are {made} evaluations",
        )
    if script.claimed is not None and script.claimed != made:
        yield "failed", f"{script.claimed} evaluations are claimed of a run with 20 steps, {made} are made"


ENDS: dict[str, tuple[float, ...]] = {"0": (0.0,), "sigma_min": (), "sigma_min twice": (SMALLEST,)}
"""The last noise levels of runs from noise to data, by name."""


def outcomes(s: Subject, end: str, counts: Iterable[int]) -> dict[tuple[Severity, str], list[int]]:
    """What goes wrong in runs from noise to data, and the step counts at which it does: a refusal is noted.

    end: one of `ENDS`.
    """
    found: dict[tuple[Severity, str], list[int]] = {}
    for n in counts:
        try:
            states = _final(s, _whole(s, n, ENDS[end]))
        except NoLevel as error:
            found.setdefault(("failed", str(error)), []).append(n)
        except Exception as error:  # a crash is what is looked for
            verdict: Severity = "noted" if refused(error) else "raised"
            found.setdefault((verdict, _kind(error)), []).append(n)
        else:
            if not np.all(np.isfinite(states)):
                found.setdefault(("failed", "states are not finite"), []).append(n)
    return found


def sentence(verdict: Severity, text: str, end: str, counts: list[int]) -> str:
    """An outcome in words."""
    runs = f"from sigma = {LARGEST:g} to {end} in {_counts(counts)} steps"
    return f"refuses runs {runs}: {text}" if verdict == "noted" else f"{text} {runs}"


def finite(s: Subject) -> Iterator[tuple[Severity, str]]:
    """Runs from noise to data with 1 to 20 steps, down to sigma = 0, to sigma_min, and to sigma_min twice."""
    for end in ENDS:
        found = sorted(outcomes(s, end, FEW).items(), key=lambda item: SEVERITIES.index(item[0][0]))
        for (verdict, text), counts in found:
            if verdict != "noted" or end != "sigma_min twice":  # a level that repeats may be refused
                yield verdict, sentence(verdict, text, end, counts)


def dtype(s: Subject) -> Iterator[tuple[Severity, str]]:
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
            yield "raised", f"{name} states raise {named(error)}"
            continue
        if final.dtype != kind:
            yield "noted", f"{name} states become {str(final.dtype).removeprefix('torch.')}"


def rounded(s: Subject, n: int, allowed: float) -> Difference:
    """Coefficients of a run with n steps for float32 states, as the package computes them, against exact
    ones.

    Raises NotLinearError where they cannot be read off.
    """
    own = trace(s.own.sampler, s.schedule, s.grid("karras", n), dtype=torch.float32)
    return compare(own, s.traced(n), allowed)


def float32(s: Subject) -> Iterator[tuple[Severity, str]]:
    """Coefficients as the package computes them for float32 states, against exact ones."""
    if not s.linear:
        return
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


def half(s: Subject) -> Iterator[tuple[Severity, str]]:
    """The step count at which runs in half precision are best, where more steps make them worse."""
    if s.noisy:
        return
    for kind in (torch.float16, torch.bfloat16):
        name, found = str(kind).removeprefix("torch."), {}
        for n in HALVED:
            try:
                found[n] = costs.coarse(s, n, kind)
            except Exception as error:  # whatever it is, it is said
                yield "raised", f"{name} states in {n} steps raise {named(error)}"
                break
        bad = [n for n, error in found.items() if not np.isfinite(error)]
        if bad:
            yield "failed", f"{name} states are not finite in {_counts(bad)} steps"
            continue
        best = min(found, key=lambda n: found[n], default=0)
        if found and found[max(found)] > GROWN * found[best]:
            last = f"{found[max(found)]:.1e} with {max(found)}"
            yield (
                "noted",
                f"in {name} the error is least with {best} steps, {found[best]:.1e}; {last}, relative",
            )


CHECKS: dict[str, Callable[[Subject], Iterator[tuple[Severity, str]]]] = {
    "linear": linear,
    "noise": noise,
    "batch": batch,
    "repeat": repeat,
    "nfe": nfe,
    "finite": finite,
    "dtype": dtype,
    "float32": float32,
    "half": half,
    "ends": costs.ends,
    "shipped": costs.shipped,
}


def findings(s: Subject, check: str) -> tuple[Finding, ...]:
    """What a check finds; an exception is a finding of its own."""
    line = repeated(s.target, check)
    found: list[Finding] = []
    try:
        for verdict, message in CHECKS[check](s):
            found.append(Finding(check, verdict, message, line))
    except Exception as error:  # the audit goes on
        found.append(Finding(check, "raised", named(error), line))
    return tuple(found)


def repeated(target: Target, check: str, claimed: float | None = None) -> str:
    """The line that repeats a check; empty for a target that no text names."""
    if not target.named:
        return ""
    words = ["semilinear", "audit", target.name, "--only", check]
    words += ["--as", target.convention] if target.convention else []
    words += ["--claimed", f"{claimed:g}"] if claimed is not None and claimed != target.claimed else []
    return shlex.join(words)


def _kind(error: Exception) -> str:
    """An exception without its numbers, by which those of several runs are told to be one."""
    return named(error, NUMBER.sub("..", " ".join(str(error).split()))[:LONGEST].rstrip("., "))


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


def _counts(counts: list[int]) -> str:
    if len(counts) > 3 and counts == list(range(counts[0], counts[-1] + 1)):
        return f"{counts[0]} to {counts[-1]}"
    return ", ".join(map(str, counts))
