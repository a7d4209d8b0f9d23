"""Laws of what samplers are driven with: correct ones have no finding, faulty ones have their own."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.grids import karras
from semilinear.verification.audit.audit import audit
from semilinear.verification.audit.subject import FAST

Draw = Callable[[Any, int], Any]
"""(states, step) -> noise."""


def ancestral(draws: Callable[[Any], Draw]) -> Callable[[Any], Any]:
    """The reverse SDE in data prediction, first order; draws: of a run, its noise."""

    def sampler(run: Any) -> Any:
        x, model, draw = run.x, run.predict("x0"), draws(run)
        for k, (a, b) in enumerate(itertools.pairwise(float(t) for t in run.times)):
            kept = (b / a) ** 2
            x = kept * x + (1 - kept) * model(x, a) + math.sqrt(b * b * (1 - kept)) * draw(x, k)
        return x

    return sampler


def plainly(draw: Callable[[Any], Any]) -> Callable[[Any], Draw]:
    return lambda run: lambda x, k: draw(x)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(shape: Any, generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def all_at_once(run: Any) -> Draw:
    noise = normal((int(run), *run.x.shape))
    return lambda x, k: noise[k]


def behind_the_batch(run: Any) -> Draw:
    noise = normal((len(run.x), int(run), *run.x.shape[1:]))
    return lambda x, k: noise[:, k]


def one_generator_a_sample(run: Any) -> Draw:
    generators = [seeded(i) for i in range(len(run.x))]
    return lambda x, k: torch.stack([normal(x.shape[1:], g) for g in generators])


def a_drawn_seed(run: Any) -> Draw:
    generator = seeded(int(torch.randint(0, 2**31, (1,))))
    return lambda x, k: normal(x.shape, generator)


def asked_again(run: Any) -> Draw:
    """A step's seed, as trees of noise keep them; it is asked for twice and has one answer."""

    def draw(x: Any, k: int) -> Any:
        return 0.5 * (normal(x.shape, seeded(k)) + normal(x.shape, seeded(k)))

    return draw


NOISY = {
    "all at once": all_at_once,
    "all at once, behind the batch": behind_the_batch,
    "flat": plainly(lambda x: normal((x.numel(),)).view_as(x)),
    "channels last": plainly(lambda x: normal(x.movedim(1, -1).shape).movedim(-1, 1)),
    "one generator a sample": one_generator_a_sample,
    "a drawn seed": a_drawn_seed,
    "a seed asked again": asked_again,
}
EACH = ("linear", "noise", "batch", "repeat", "times", "nfe")


def findings(sampler: Any, *only: str) -> list[str]:
    return [f"{f.check} {f.verdict}: {f.message}" for f in audit(sampler, 1, only=only or EACH).findings]


@pytest.mark.parametrize("name", NOISY)
def test_noise_drawn_in_any_shape_is_followed(name: str) -> None:
    sampler, plain = ancestral(NOISY[name]), ancestral(plainly(torch.randn_like))
    one_seed = [
        "repeat noted: its noise is the same whatever seed torch has: two calls of it are not independent"
    ]
    assert findings(sampler) == (one_seed if name == "a seed asked again" else [])
    rows, wanted = (audit(s, 1).subject.traced(5).rows for s in (sampler, plain))
    assert rows == pytest.approx(wanted, rel=0, abs=1e-15)  # two roundings of numbers up to 1


def reseeded(run: Any) -> Draw:
    def draw(x: Any, k: int) -> Any:
        torch.manual_seed(0)
        return torch.randn_like(x)

    return draw


@pytest.mark.parametrize(
    "draws", [plainly(lambda x: normal(x.shape, seeded(0))), reseeded], ids=["generator", "manual_seed"]
)
def test_a_seed_used_in_every_step_is_one_noise(draws: Any) -> None:
    found = audit(ancestral(draws), 1, only=["orders"], profile=FAST)
    assert len(found.subject.traced(20).increments) == 1
    assert found.weak is not None
    assert found.weak.verdict == "lower"


def test_a_law_that_is_off_by_little_is_told() -> None:
    """Noise that is 1.003 of what it must be; errors of the least numbers of steps still fall."""

    def told(size: float) -> list[str]:
        sampler = ancestral(plainly(lambda x: size * torch.randn_like(x)))
        found = audit(sampler, 1, only=["orders"], profile=replace(FAST, weak=(8, 16, 32, 64, 128)))
        return [f.message for f in found.findings]

    (said,) = told(1.003)
    assert said.startswith("runs seem to tend to another law: errors extrapolate to ")
    assert told(1.0) == []


def test_what_cannot_be_followed_is_inconclusive_not_a_crash() -> None:
    sampler = ancestral(plainly(lambda x: normal((1, 1, 1, 1))))
    said = findings(sampler, "linear", "identity", "noise", "batch")
    assert said[0].startswith(
        "linear inconclusive: cannot be read off: noise is drawn in the shape (1, 1, 1, 1)"
    )
    assert said[1:] == ["batch failed: the samples of a batch of 3 share noise"]
    assert audit(sampler, only=["linear"]).holds


def test_one_noise_for_a_batch_is_found() -> None:
    sampler = ancestral(plainly(lambda x: normal((1, *x.shape[1:]))))
    assert findings(sampler) == ["batch failed: the samples of a batch of 3 share noise"]


# --- without noise ---


def euler(run: Any, model: Any = None, times: Any = None) -> Any:
    x, model = run.x, model or run.model
    for a, b in itertools.pairwise([float(t) for t in run.times] if times is None else times):
        x = x + (b - a) * model(x, a)
    return x


def one_by_one(run: Any) -> Any:
    """The model is asked for a sample at a time."""
    return euler(run, lambda x, t: torch.cat([run.model(y, t) for y in x.split(1)]))


def twice_as_many(run: Any) -> Any:
    """Two states of a sample beside each other in one call, as guidance has them."""

    def model(x: Any, t: float) -> Any:
        return run.model(x.repeat_interleave(2, 0), t).reshape(len(x), 2, *x.shape[1:]).mean(1)

    return euler(run, model)


@pytest.mark.parametrize("sampler", [one_by_one, twice_as_many])
def test_samples_may_be_evaluated_apart_and_stacked(sampler: Any) -> None:
    assert [m for m in findings(sampler) if "stacked" not in m] == []
    alone, wanted = (audit(s, 1).subject.traced(5) for s in (sampler, euler))
    if sampler is one_by_one:
        assert alone.rows == pytest.approx(wanted.rows, rel=0, abs=0)


def counting(every: int) -> Callable[[Any], Any]:
    made = itertools.count(1)
    return lambda run: euler(run) * (1.001 if next(made) % every == 0 else 1.0)


def keeping_grids() -> Callable[[Any], Any]:
    kept: dict[int, list[float]] = {}
    return lambda run: euler(run, times=kept.setdefault(int(run), [float(t) for t in run.times]))


def own_grid(run: Any) -> Any:
    first, last = float(run.times[0]), float(run.times[-1])
    return euler(run, times=torch.linspace(first, last, int(run) + 1, dtype=torch.float64).tolist())


NUMPY = np.random.default_rng(0)


def numpy_noise(run: Any) -> Any:
    return euler(run) + torch.from_numpy(NUMPY.standard_normal(tuple(run.x.shape)))


def third(run: Any) -> Any:
    return euler(run, lambda x, t: run.model(x, t) + (1e-3 * x[2:3] if len(x) > 2 else 0 * x))


def nothing(run: Any) -> Any:
    return None


def leaving(run: Any) -> Any:
    sys.exit(3)


FAULTY: dict[str, tuple[Callable[[], Any], tuple[str, ...], tuple[str, ...]]] = {
    "every fifth run": (
        lambda: counting(5),
        ("repeat",),
        ("repeat failed: two runs from one start and noise differ by 1.0e-03, relative",),
    ),
    "every third run, in batches": (
        lambda: counting(3),
        ("batch",),
        ("batch inconclusive: dependence on the batch cannot be checked: two runs from one start",),
    ),
    "numpy's noise": (
        lambda: numpy_noise,
        ("batch", "repeat"),
        ("batch inconclusive: dependence on the batch cannot", "repeat failed: two runs from one start"),
    ),
    "grids kept by their length": (
        keeping_grids,
        ("repeat",),
        ("repeat failed: on another grid of 10 steps, with other ends, the model is asked at the times",),
    ),
    "a grid of its own": (
        lambda: own_grid,
        ("times",),
        ("times noted: the model is not asked at 19 of the 20 times of a grid, but at 19 others",),
    ),
    "the third of a batch": (
        lambda: third,
        ("batch",),
        ("batch failed: a sample in a batch of 3 and the same alone differ",),
    ),
    "nothing returned": (
        lambda: nothing,
        ("finite",),
        ("finite failed: sampler must return real states of shape (4, 1, 1, 2), got None from sigma = 80",),
    ),
    "sys.exit": (
        lambda: leaving,
        ("linear", "finite", "dtype"),
        ("linear raised: EndedError: the sampler ends the program: sys.exit(3)",),
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_has_its_finding_and_no_other(name: str) -> None:
    make, only, wanted = FAULTY[name]
    found = findings(make(), *only)
    assert len(found) == len(wanted), found
    for said, start in zip(found, wanted, strict=True):
        assert said.startswith(start)


def test_what_is_raised_has_one_finding_with_its_step_counts() -> None:
    def sampler(run: Any) -> Any:
        if int(run) % 2 == 0:
            raise KeyError("sigmas")
        return euler(run)

    found = audit(sampler, 1, only=["orders", "finite", "dtype", "identity"], profile=FAST)
    (said,) = [f.message for f in found.findings if f.verdict != "noted"]
    assert "KeyError: 'sigmas'" in said
    assert "other places" in said


def test_our_own_exceptions_are_inconclusive() -> None:
    """A score at sigma = 0 is none: our model raises, not the sampler that asks for it; but what else it
    calls of ours is its own affair.
    """

    def scores(run: Any) -> Any:
        return run.predict("score")(euler(run), float(run.times[-1]))

    said = findings(scores, "finite")
    assert said
    assert all(m.startswith("finite inconclusive: cannot be checked from sigma = 80 to 0 in") for m in said)
    (own,) = findings(lambda run: karras(-1.0), "linear")
    assert own.startswith("linear raised: ")


@pytest.mark.parametrize("check", ["identity", "diagnosis", "noise", "float32", "ends"])
def test_a_check_that_cannot_run_says_why(check: str) -> None:
    clipped = findings(lambda run: euler(run).clamp(-1, 1), check)
    assert clipped[0].startswith(
        f"{check} inconclusive: cannot be checked: it cannot be read off: on a nonlinear"
    )

    def crash(run: Any) -> Any:
        raise KeyError("sigmas")

    (crashed,) = findings(crash, check)
    assert "KeyError: 'sigmas'" in crashed
