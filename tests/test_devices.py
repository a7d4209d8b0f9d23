"""What stands around the loop follows the state: every dtype, and a second device by tensors without data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.diffusion.sde import vp
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.black_box import draw_probes, exact_divergence, hutchinson, log_likelihood
from semilinear.integrators.run.conditioning import GREY_BASIS, Known, Replacement, ReplacementReleased
from semilinear.integrators.run.correctors import (
    Langevin,
    annealed_step,
    batch_mean_norm,
    langevin_step,
    per_sample_norm,
)
from semilinear.integrators.run.models import (
    classifier,
    classifier_free_network,
    discrete_time,
    dynamic_thresholding,
)
from semilinear.integrators.run.noise import BrownianPath, per_sample
from semilinear.integrators.run.sampler import Interlude, sample
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.solvers.dpm_solver_v3 import multistep
from semilinear.integrators.statistics.estimation import (
    Derivatives,
    Draw,
    diagonal_mean,
    estimate,
    noised,
    regress,
)
from semilinear.integrators.statistics.smooth import gaussian
from semilinear.verification.studies.own_statistics import generic
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.roundings import SOME_ULP
from tests.slow import slow

VP, SDE = vp_linear(), vp()
SHAPE = (2, 3, 4, 4)
DATA = torch.full(SHAPE, 0.5, dtype=torch.float64)
GREY = torch.tensor([1.0, 0, 0]).reshape(3, 1, 1)
COLOURS = Known(DATA, GREY, GREY_BASIS)
HALF_COLOURS = Known(DATA.half(), GREY, GREY_BASIS.bfloat16())
PIXELS = Known(DATA, torch.arange(16).reshape(4, 4) % 2 == 0)
GIVEN = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STEPS = np.linspace(1.0, 0.1, 4)

Call = Callable[[torch.Tensor], torch.Tensor]


def model(x: torch.Tensor, t: object) -> torch.Tensor:
    return x * 0.5


def log_p(x: torch.Tensor, t: object) -> torch.Tensor:
    return -(x * x).flatten(1).sum(1)


def plan(name: str = "ddim") -> Plan:
    return compile_plan(make(name), VP, times=STEPS)


def between(interlude: Interlude) -> Call:
    return lambda x: sample(plan(), model, x, between=interlude, check="off").x


def path_run(x: torch.Tensor) -> torch.Tensor:
    made = plan("sde-dpm-solver++-2m")
    noise = BrownianPath.through(make("sde-dpm-solver++-2m").form(VP), [made]).noise(made)
    return sample(made, model, x, noise=noise, check="off").x


def network(x: torch.Tensor, t: object, c: torch.Tensor) -> torch.Tensor:
    return x * c


LOOP: dict[str, Call] = {
    "colorization": between(Replacement(VP, COLOURS, per_sample(1))),
    "colorization from half": between(Replacement(VP, HALF_COLOURS, per_sample(1))),
    "colorization as released": between(ReplacementReleased(VP, COLOURS, list(GIVEN), plan().times)),
    "inpainting": between(Replacement(VP, PIXELS, per_sample(1))),
    "a start": COLOURS.start,
    "langevin": between(Langevin(VP, langevin_step(0.1, batch_mean_norm), list(GIVEN))),
    "annealed": between(Langevin(VP, annealed_step(0.1), list(GIVEN))),
    "langevin per sample": between(Langevin(VP, langevin_step(0.1), per_sample(3, stream=1))),
    "path": lambda x: path_run(x),
    "given noise": lambda x: sample(plan("sde-dpm-solver++-2m"), model, x, noise=list(GIVEN), check="off").x,
    "noise": lambda x: sample(plan("er-sde-2-corrected"), model, x, noise=per_sample(2), check="off").x,
    "statistics": lambda x: (
        sample(
            compile_plan(
                multistep(2, statistics=gaussian(np.linspace(0.5, 1, 48).reshape(3, 4, 4))), VP, times=STEPS
            ),
            model,
            x,
            check="off",
        ).x
    ),
    "thresholding": lambda x: dynamic_thresholding(model, VP)(x, 0.3),
    "guidance in one call": lambda x: classifier_free_network(
        network, 2 * DATA[:, :1, :1, :1], DATA[:, :1, :1, :1], 2.0
    )(x, 0.3),
    "labels": lambda x: discrete_time(lambda x, n: x * n.to(x.dtype).reshape(-1, 1, 1, 1), 100)(x, 0.3),
    "velocity": lambda x: SDE.probability_flow(model)(x, 0.3),
    "probes": lambda x: draw_probes("gaussian", 2, x, 1),
}
DERIVATIVES: dict[str, Call] = {
    "classifier guidance": lambda x: classifier(model, VP, log_p)(x, 0.3),
    "divergence": lambda x: exact_divergence(lambda y: y * y, x)[0],
    "probed divergence": lambda x: hutchinson(GIVEN)(lambda y: y * y, x)[0],
}
WIDE: dict[str, Call] = {
    "prior": SDE.prior_log_density,
    "trace": lambda x: exact_divergence(lambda y: y * y, x)[1],
    "probed trace": lambda x: hutchinson(GIVEN)(lambda y: y * y, x)[1],
}
"""Sums over a sample's components: in float32 at least."""


def states(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


class Transfers(TorchDispatchMode):
    """Counts copies between two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [v for v in [result, *args] if isinstance(v, torch.Tensor)]
        copies = function.overloadpacket.__name__ in ("_to_copy", "copy_")
        self.count += copies and len({v.device.type for v in tensors}) > 1
        return result


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Tensors without data on "cuda": an operation on two devices raises as it would on a GPU."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # advice about fake tensors
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


FEW = {*list(SOLVERS)[::6], "dpm-solver-v3-2m", "dpm-solver-v3-3m"}
"""With every commit: all of them take ten seconds."""


def assert_follows(call: Call, dtype: torch.dtype, expected: torch.dtype) -> None:
    """The result's dtype, and float64's values to some 16 roundings of the states."""
    value, exact = call(states(dtype)), call(states(torch.float64))
    assert value.dtype == expected
    error = float((value.double() - exact).abs().max() / exact.abs().max())
    assert error <= 16 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [*LOOP, *DERIVATIVES])
def test_constants_follow_the_dtype_of_the_state(name: str, dtype: torch.dtype) -> None:
    assert_follows((LOOP | DERIVATIVES)[name], dtype, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", WIDE)
def test_sums_over_components_are_in_float32_at_least(name: str, dtype: torch.dtype) -> None:
    assert_follows(WIDE[name], dtype, torch.float32)


def test_sums_over_many_components_do_not_stop_growing_in_half_precision() -> None:
    """Beyond 256 a bfloat16 sum of ones stays where it is; above 65504 a float16 one is infinite."""
    many = torch.full((1, 1024), 3.0, dtype=torch.bfloat16)
    assert exact_divergence(lambda x: x * 1.0, many)[1].tolist() == [1024.0]
    assert hutchinson(torch.ones(1, 1, 1024))(lambda x: x * 1.0, many)[1].tolist() == [1024.0]
    large = torch.full((1, 1024), 30.0, dtype=torch.float16)
    expected = SDE.prior_log_density(large.double())
    torch.testing.assert_close(SDE.prior_log_density(large).double(), expected, rtol=1e-6, atol=0)  # float32
    found = log_likelihood(SDE, model, many, t_start=0.5, t_end=0.4, divergence=hutchinson(many[None] / 3))
    assert found.log_density.dtype == torch.float32
    assert found.latent.dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOOP)
def test_constants_follow_the_state_to_another_device(name: str, on_cuda: FakeTensorMode) -> None:
    value = LOOP[name](torch.empty(SHAPE, dtype=torch.float32, device="cuda"))
    assert value.device.type == "cuda"
    assert value.dtype == torch.float32


@pytest.mark.filterwarnings("ignore")
def test_transfers_and_reads_are_seen(on_cuda: FakeTensorMode) -> None:
    """A host's constant costs a copy each time; what the host would read of a fake tensor is not there."""
    x = torch.empty(SHAPE, device="cuda")
    with Transfers() as transfers:
        x * torch.ones(4).to(x.device) + DATA.to(x)
        torch.empty(3, device="cuda").cpu()
    assert transfers.count == 3
    for read in (float, bool, lambda v: v.item()):
        with pytest.raises(RuntimeError):
            read(x.sum())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", slow(SOLVERS, lambda name: name not in FEW))
def test_every_solver_runs_on_a_device_without_a_word_to_the_host(name: str, on_cuda: FakeTensorMode) -> None:
    """Elementwise coefficients are copied by the first run alone."""
    steps = 24 if name.startswith("score-sde") else 5  # whose betas need so many
    made = compile_plan(generic(name), VP, steps=steps, t_start=1.0, t_end=1e-3)
    x = torch.empty(4, 2, dtype=torch.float32, device="cuda")
    counts = []
    for _ in range(2 if made.arrays else 1):
        with Transfers() as transfers:
            value = sample(made, model, x, noise=lambda i, like: torch.ones_like(like), check="off").x
        counts.append(transfers.count)
    assert value.device.type == "cuda"
    assert value.dtype == torch.float32
    assert counts == ([len({id(a) for a in made.arrays}), 0] if made.arrays else [0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["langevin per sample", "noise", "path", "thresholding", "velocity"])
def test_noise_and_norms_are_made_where_the_state_is(name: str, on_cuda: FakeTensorMode) -> None:
    with Transfers() as transfers:
        LOOP[name](torch.empty(SHAPE, dtype=torch.float32, device="cuda"))
    assert transfers.count == 0


def test_operations_of_norms_and_noise_do_not_grow_with_the_batch() -> None:
    """A loop over samples made two for each of them."""
    for call in (per_sample_norm, lambda x: per_sample(1)(0, x)):
        counts = []
        for batch in (2, 64):
            with Operations() as count:
                call(torch.ones(batch, 3, 4, 4))
            counts.append(count.all)
        assert counts[0] == counts[1]
        assert counts[0] < 250


class Operations(TorchDispatchMode):
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.all = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.all += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [*DERIVATIVES, *WIDE])
def test_derivatives_follow_the_state_to_another_device(name: str) -> None:
    """On "meta": autograd asks the runtime of a device for its streams, which a fake one has not."""
    value = (DERIVATIVES | WIDE)[name](torch.empty(SHAPE, dtype=torch.float32, device="meta"))
    assert value.device.type == "meta"


def test_a_basis_may_live_on_another_device_and_in_few_digits() -> None:
    """Orthonormal to its own rounding; the identity that it is compared with is made on its device."""
    with pytest.raises(ValueError, match="basis must have orthonormal columns"):
        Known(DATA, GREY, GREY_BASIS.bfloat16() * 1.1)
    with pytest.raises(ValueError, match="basis must be a floating-point tensor"):
        Known(DATA, GREY, torch.eye(3, dtype=torch.int64))
    x = torch.randn(SHAPE, dtype=torch.float64)
    torch.testing.assert_close(HALF_COLOURS.from_basis(HALF_COLOURS.to_basis(x)), x, rtol=0, atol=SOME_ULP)


# --- estimation ---


def smooth_model(x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    return torch.tanh(x) * torch.exp(-torch.as_tensor(t))


def test_estimates_in_float32_are_those_in_float64() -> None:
    """The weights follow the values, and the draws are the same numbers in both."""
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    derivatives, zero = Derivatives(smooth_model, VP), torch.zeros(2)
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.7, 2.0]])
    made, exact = (
        [
            diagonal_mean(derivatives, Draw(y, None, weights), 0.4).double(),
            regress(derivatives, Draw(y, None, weights), 0.2, zero.to(y), zero.to(y)).b.double(),
        ]
        for y in (x, x.double())
    )
    torch.testing.assert_close(made, exact, rtol=1e-4, atol=1e-5)  # float32, in differences over time
    data = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    first, second = (noised(d, VP, 3)(0, 0.4).x.double() for d in (data, data.double()))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)  # float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_of_states_in_half_precision_are_refused(dtype: torch.dtype) -> None:
    """Without a word they were noise: differences of outputs with three digits."""
    data = states(dtype)
    with pytest.raises(ValueError, match="data must be float32 or float64"):
        noised(data, VP, 0)
    with pytest.raises(ValueError, match="x must be float32 or float64"):
        estimate(smooth_model, VP, lambda i, t: Draw(data), -1.0, 1.0, 4)


def test_a_network_that_casts_to_half_by_itself_is_estimated() -> None:
    """l is a mean of derivatives, which half precision keeps to its eps."""
    made, exact = (
        estimate(model, VP, noised(states(torch.float32), VP, 0), -1.0, 1.0, 4)
        for model in (lambda x, t: smooth_model(x.to(torch.float16), t).to(x), smooth_model)
    )
    np.testing.assert_allclose(made.l, exact.l, rtol=0, atol=2 * torch.finfo(torch.float16).eps)  # see above
