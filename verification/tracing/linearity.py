"""Why a sampler is not linear: each reason tried by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from semilinear.integrators.diffusion.schedule import Schedule

from ..targets.run import Sampler
from .trace import NotLinearError, departures, followed, read, tolerance
from .witness import Scene, Witness

SMALL = 1e-3
"""Scale of values that no clipping reaches."""
TINY, KEPT = 1e-9, 1e3
"""Scale of values beside which all that is added shows; by how much more than these states shrink less."""
AGREE = 1e-9
"""Largest relative difference of states that are one, in float64."""
CASTS = {"float32": 2.0**-24, "half precision": 2.0**-11}
"""Half units of what values are cast to."""
NUDGE = 160.0
"""Of these units: many, and little beside any other length."""
SINGLE = 1e-4
"""Of states that float32 rounds."""


def apart(a: Witness, b: Witness) -> float:
    """The largest relative difference of two runs' states, infinite where they make other evaluations."""
    if a.states.shape != b.states.shape:
        return float("inf")
    size = np.max(np.abs(a.states), axis=1, keepdims=True)
    return float(np.max(np.abs(a.states - b.states) / np.where(size > 0, size, 1.0)))


def repeats(sampler: Sampler, scene: Scene) -> float:
    """How far a second run from the same start and noise is from the first."""
    return apart(scene.run(sampler), scene.run(sampler))


def other_chance(sampler: Sampler, scene: Scene) -> str:
    """What a sampler draws from torch besides normal numbers, where its states depend on it; else "".

    Seeds that it draws are no such thing.
    """
    first, again, third, last = (replace(scene, seed=seed).run(sampler) for seed in (0, 0, 1, 1))
    if not max(apart(first, again), apart(third, last)) <= AGREE or apart(first, third) <= AGREE:
        return ""
    names = ", ".join(dict.fromkeys(first.script.others))
    return f"it draws numbers that are not normal{f': {names}' if names else ''}"


def batched(sampler: Sampler, scene: Scene) -> float:
    """How far samples in a batch are from the same samples alone, at most."""
    together, scene = _placed(sampler, scene)
    parts = np.split(together.states, len(scene.start()), axis=1)
    runs = (replace(scene, sample=i).run(sampler) for i in range(len(parts)))
    return max(_ends_apart(alone, Witness(together.script, p)) for alone, p in zip(runs, parts, strict=True))


def shares_noise(sampler: Sampler, scene: Scene) -> bool:
    """Whether samples of a batch have fewer numbers of noise than they have alone."""
    alone, together = (s.run(sampler).script for s in (replace(scene, sample=0), scene))
    return together.numbers < len(scene.start()) * alone.numbers


def mixed(sampler: Sampler, scene: Scene) -> float:
    """How far the first components of all samples are from what they are without the others, on a model that
    does not couple them.
    """
    together, each = _placed(sampler, replace(scene, coupled=False))
    first = together.states.reshape(len(together.states), -1, scene.columns)[..., 0]
    return _ends_apart(replace(each, columns=1).run(sampler), Witness(together.script, first))


def _placed(sampler: Sampler, scene: Scene) -> tuple[Witness, Scene]:
    """A run, and the scene of it: where the place of noise is unknown, all of it is one number."""
    found = scene.run(sampler)
    if not found.script.strange:
        return found, scene
    scene = replace(scene, spread="none")
    return scene.run(sampler), scene


def _ends_apart(a: Witness, b: Witness) -> float:
    """How far two runs are apart; their ends alone where one evaluated samples apart."""
    if a.script.parts or b.script.parts:
        a, b = (Witness(w.script, w.states[-1:]) for w in (a, b))
    return apart(a, b)


def reasons(sampler: Sampler, schedule: Schedule, times: Any, error: NotLinearError) -> tuple[str, ...]:
    """What is not linear about a sampler that could not be read off.

    Raises whatever the sampler raises.
    """
    scene = Scene(schedule, tuple(float(t) for t in times), torch.float64)
    if not repeats(sampler, scene) <= AGREE:
        return ("two runs from one start differ: it keeps something between runs, or draws elsewhere",)
    if chance := other_chance(sampler, scene):
        return (chance,)
    if error.kind == "values" and _adds(sampler, scene):
        return ("it adds what is neither start, output nor noise, or scales these itself",)
    found = []
    if error.kind == "evaluations":
        found.append("the steps follow the values: step-size control")
    if not batched(sampler, scene) <= AGREE:
        found.append("a sample depends on the others of its batch")
    if error.kind != "evaluations" and not mixed(sampler, scene) <= AGREE:
        found.append("components of a sample are mixed")
    if found:
        return tuple(found)
    scene = followed(scene, scene.run(sampler).script)[0]
    if _departs(sampler, replace(scene, scales=(SMALL,) * len(scene.scales))) <= 1:
        return ("values are clipped or thresholded: small ones pass unchanged",)
    if _cast(sampler, scene) and _departs(sampler, scene, SINGLE) <= 1:
        return ("float64 states are cast to float32 on the way",)
    for name, unit in CASTS.items():
        if _rounds(sampler, scene, unit):
            return (f"outputs or noise are cast to {name} on the way: states differ by as much",)
    return ("none of the known ones: no dependence on the batch, clipping, cast or memory was seen",)


def _adds(sampler: Sampler, scene: Scene) -> bool:
    """Whether states do not shrink as start, outputs and noise do."""
    full = scene.run(sampler).states
    faint = replace(scene, scales=tuple(TINY * scale for scale in scene.scales)).run(sampler).states
    return faint.shape == full.shape and bool(np.max(np.abs(faint)) > KEPT * TINY * np.max(np.abs(full)))


def _cast(sampler: Sampler, scene: Scene) -> bool:
    """Whether a state of a run is one that float32 holds, although it is not that of the start."""
    states = torch.from_numpy(scene.run(sampler).states)
    return any(bool((x.float().double() == x).all()) for x in states)


def _rounds(sampler: Sampler, scene: Scene, unit: float) -> bool:
    """Whether states are off by what rounding leaves: by as little, and by other amounts where start, outputs
    and noise are a few units larger.  What is a function of them moves with them.

    unit: of rounding, half of one in the last place.
    """
    try:
        found = read(sampler, scene)
        left = []
        for scale in (1.0, 1.0 + NUDGE * unit):
            nudged = replace(scene, scales=(scale,) * len(scene.scales))
            run = nudged.run(sampler)
            made = found.rows @ nudged.basis(run, found.prediction, len(found.increments))
            left.append((made - run.states) / np.max(np.abs(run.states)))
    except NotLinearError:
        return False
    size = float(np.max(np.abs(left[0])))
    moved = float(np.linalg.norm(left[1] - left[0])) > float(np.linalg.norm(left[0])) / 2
    return unit / 1e3 < size < unit * 1e2 and moved


def _departs(sampler: Sampler, scene: Scene, bound: float | None = None) -> float:
    """How far rows are from a run, in units of `bound`, or of what rounding explains."""
    try:
        found = read(sampler, scene)
        errors = departures(found, scene, scene.run(sampler))
    except NotLinearError:
        return float("inf")
    return float(np.max(errors)) / (bound or tolerance(found))
