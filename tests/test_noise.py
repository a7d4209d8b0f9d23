from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.forms.reverse import NoiseLevel, sde_data, sde_noise
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.noise import BrownianPath, per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.stochastic import sa_solver, seeds
from semilinear.verification.problems.named import problem

from tests.roundings import MANY_ULP, SOME_ULP

VP = vp_linear()
FORM = sde_data()(VP)
NONSENSE: Any = "nonsense"


def state(rows: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.zeros(rows, 3, 2, dtype=dtype)


def plan(name: str = "sde-dpm-solver++-1", steps: int = 4, **options: Any) -> Plan:
    return compile_plan(make(name), VP, **({"steps": steps, "t_start": 0.8, "t_end": 0.1} | options))


# --- one stream per sample ---


def test_a_samples_noise_does_not_depend_on_its_batch() -> None:
    whole = per_sample(7)(3, state(8))
    for i in range(8):
        assert torch.equal(per_sample(7, first_sample=i)(3, state(1))[0], whole[i])


def test_a_stochastic_run_of_one_sample_is_that_of_the_batch_to_the_bit() -> None:
    """webui issue 5210: images that change with the batch size."""
    model = lambda x, t: x / (1 + t)  # noqa: E731  (elementwise: the same operations for any batch)
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
    whole = sample(plan("seeds-3"), model, x, noise=per_sample(1)).x
    for i in range(8):
        one = sample(plan("seeds-3"), model, x[i : i + 1], noise=per_sample(1, first_sample=i)).x
        assert torch.equal(one[0], whole[i])


def test_an_increment_is_a_function_of_its_index_alone() -> None:
    noise = per_sample(5)
    first = noise(2, state(2))
    noise(0, state(2))
    assert torch.equal(noise(2, state(2)), first)
    seen = [per_sample(seed)(index, state(2)) for seed in (5, 6) for index in (2, 3)]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_increments_are_standard_normal() -> None:
    """Mean, variance and fourth moment within five standard errors, correlations too."""
    draws = torch.stack([per_sample(0)(k, torch.zeros(2000, 5, dtype=torch.float64)) for k in range(4)])
    n = draws.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs(float((draws**power).mean()) - moment) < 5 * (variance / n) ** 0.5
    flat = draws.reshape(4, -1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 5 / flat.shape[1] ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_another_dtype_only_rounds(dtype: torch.dtype) -> None:
    assert torch.equal(per_sample(3)(1, state(2, dtype)), per_sample(3)(1, state(2)).to(dtype))


def test_torch_numpy_and_multiprecision_draw_the_same_numbers() -> None:
    exact = per_sample(3)(1, state(2)).numpy()
    assert np.array_equal(per_sample(3)(1, np.zeros((2, 3, 2))), exact)
    assert np.array_equal(per_sample(3)(1, np.zeros((2, 3, 2), dtype=object)).astype(float), exact)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, NONSENSE])
def test_bad_seeds_are_refused(seed: Any) -> None:
    for name, build in (
        ("seed", per_sample),
        ("first_sample", lambda s: per_sample(0, first_sample=s)),
        ("seed", lambda s: BrownianPath(FORM, (0.5, 0.4), s)),
    ):
        with pytest.raises(ValueError, match=f"{name} must be an integer"):
            build(seed)


def test_single_numbers_have_no_batch() -> None:
    with pytest.raises(ValueError, match="batch"):
        per_sample(0)(0, torch.tensor(1.0))


# --- one path ---


FORMS: dict[str, Callable[..., Any]] = {
    "data": sde_data(),
    "noise": sde_noise(),
    "level": sde_data(NoiseLevel((0.5, 0.3), (1, 0, 0.5))),
}


@pytest.mark.parametrize("name", FORMS)
def test_increments_have_unit_variance_and_add_up(name: str) -> None:
    """std_c z_c = sum over the parts of Phi_1/Phi_k std_k z_k: coarse increments are the fine ones'."""
    first = make("sde-dpm-solver++-1")
    solver = dataclasses.replace(first, form=FORMS[name])
    form = FORMS[name](VP)
    assert form.std is not None
    coarse, fine = [0.8, 0.45, 0.1], [0.8, 0.7, 0.45, 0.35, 0.25, 0.1]
    plans = [compile_plan(solver, VP, times=times) for times in (coarse, fine)]
    path, like = BrownianPath.through(form, plans, seed=2), np.zeros((40, 1))
    of_coarse, of_fine = (path.noise(p) for p in plans)
    parts = [(i, a, b) for i, (a, b) in enumerate(itertools.pairwise(fine)) if form.std(a, b) > 0]
    for k, (start, end) in enumerate(itertools.pairwise(coarse)):
        inside = [(i, a, b) for i, a, b in parts if start >= a and b >= end]
        whole = form.std(start, end) * of_coarse(k, like)
        summed = sum(form.ratio(b, end) * form.std(a, b) * of_fine(i, like) for i, a, b in inside)
        assert np.abs(whole - summed).max() < SOME_ULP
        columns = np.concatenate([of_fine(i, like) for i, *_ in inside], axis=1)
        weights, *_ = np.linalg.lstsq(columns, of_coarse(k, like)[:, 0], rcond=None)
        assert weights @ weights == pytest.approx(1, rel=MANY_ULP, abs=0)


@pytest.mark.parametrize(
    "name", ["sde-dpm-solver++-1", "sde-dpm-solver++-2s", "sde-dpm-solver++-3s", "sa-solver-2-2"]
)
def test_runs_on_nested_grids_over_one_path_end_in_the_same_state(name: str) -> None:
    """Where the model says x_0 = 0 the exponential step is exact, so only the path can differ."""
    fine = [0.8, 0.7, 0.55, 0.45, 0.3, 0.2, 0.1]
    plans = [compile_plan(make(name), VP, times=t, prediction="x0") for t in (fine, fine[::2], [0.8, 0.1])]
    path = BrownianPath.through(FORM, plans, seed=4)
    x = torch.ones(3, 2, dtype=torch.float64)
    ends = [sample(p, lambda v, t: 0 * v, x, noise=path.noise(p)).x for p in plans]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=SOME_ULP)
    other = dataclasses.replace(path, seed=5)
    assert (
        sample(plans[0], lambda v, t: 0 * v, x, noise=other.noise(plans[0])).x - ends[0]
    ).abs().min() > 1e-6


def test_runs_over_one_path_approach_each_other() -> None:
    """A nonlinear model: the distance of neighbouring runs falls with the strong order, 1."""
    target = problem("mixture-1d")
    x = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(64, 1)
    plans = [plan("sde-dpm-solver++-2m", n, t_start=0.5) for n in (64, 128, 256)]
    path = BrownianPath.through(FORM, plans)
    a, b, c = (sample(p, target.model(VP), x, noise=path.noise(p)).x for p in plans)
    assert 0.7 < float(torch.log2((a - b).abs().median() / (b - c).abs().median())) < 1.3


def test_a_path_needs_an_sde_and_two_times() -> None:
    with pytest.raises(ValueError, match="form must be that of an SDE"):
        BrownianPath(data_in_lambda(VP), (0.5, 0.4))
    with pytest.raises(ValueError, match="two different times"):
        BrownianPath(FORM, (0.5, 0.5))


def test_plans_that_the_path_does_not_fit_are_refused() -> None:
    path = BrownianPath(FORM, (0.8, 0.5, 0.1))
    with pytest.raises(ValueError, match="times must hold"):
        path.noise(plan())
    with pytest.raises(ValueError, match="does not say what its increments are"):
        path.noise(dataclasses.replace(plan(), increments=()))
    renoised = dataclasses.replace(make("ddim"), noising=lambda s, t0, t1, i, n: (t0, t1 - (t0 - t1) / 4))
    with pytest.raises(ValueError, match="noise that is not its SDE's"):
        path.noise(compile_plan(renoised, VP, times=[0.8, 0.5, 0.1]))


def test_deterministic_plans_ask_for_nothing() -> None:
    made = compile_plan(seeds(2, tau=0), VP, steps=3, t_start=0.8, t_end=0.1)
    path = BrownianPath(FORM, (0.8, 0.1))
    x = torch.ones(1, 2, dtype=torch.float64)
    assert torch.equal(
        sample(made, lambda v, t: v, x, noise=path.noise(made)).x, sample(made, lambda v, t: v, x).x
    )
    assert compile_plan(sa_solver(1, tau=0), VP, steps=3, t_start=0.8, t_end=0.1).increments == ()
