"""Runs over few numbers: the plan's own arithmetic in one memory, to rounding, and what it costs, counted."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.layout import Call, Product, lay_out
from semilinear.integrators.plans.program import Evaluation, Row
from semilinear.integrators.run import small
from semilinear.integrators.run.boundary import NonFiniteError
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import SOLVERS, dpm_solver
from semilinear.verification.studies.own_statistics import generic
from torch.utils._python_dispatch import TorchDispatchMode

from tests.roundings import FLOAT32
from tests.slow import few

VP = vp_linear()
X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
SOME = few(SOLVERS, 5)


def plan(name: str = "dpm-solver++-2m", steps: int = 8, **options: Any) -> Plan:
    return compile_plan(generic(name), VP, steps=steps, t_start=1.0, t_end=1e-3, **options)


def model(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.sin(x) * t


def is_small(made: Plan, x: torch.Tensor = X) -> bool:
    return small.borrowed(made, x) is not None


def moved(made: Plan, x: torch.Tensor, noise: Any) -> torch.Tensor:
    """How far rounding may move the final state of a run in float32, to first order: every row may be off by
    2 n u sum |weight| |value| between two orders of its n terms, and an error e of a state is one of at most
    |t e| in its output, because |sin'| <= 1.
    """
    unit = torch.finfo(torch.float32).eps / 2
    values: dict[int, torch.Tensor] = {0: x.double()}
    errors: dict[int, torch.Tensor] = {0: torch.zeros_like(x, dtype=torch.float64)}
    for step in made.steps:
        for op in step.operations:
            if isinstance(op, Evaluation):
                t, key = float(op.t), 2 * op.state
                values[key + 1] = model(values[key], t)
                errors[key + 1] = t * errors[key] + 4 * unit * values[key + 1].abs()  # sin and the product
                continue
            drawn = [(noise(which, x).double(), weight) for which, weight in op.noise]
            terms = [(values[key], weight) for key, weight in op.keyed] + drawn
            size = sum(value.abs() * abs(weight) for value, weight in terms)
            values[2 * op.state] = sum(value * weight for value, weight in terms)
            carried = sum(errors[key] * abs(weight) for key, weight in op.keyed)
            # coefficients are rounded to float32 as well: two roundings more
            errors[2 * op.state] = carried + 2 * (len(terms) + 2) * unit * size
    return errors[2 * made.steps[-1].output]


@pytest.mark.parametrize("name", SOME)
def test_a_small_run_is_the_run_to_rounding(name: str) -> None:
    made = plan(name, 24 if name.startswith("score-sde") else 8)
    noise = per_sample(3)
    if not is_small(made):
        assert lay_out(made) is None or lay_out(made).places * 64 > small.NUMBERS  # type: ignore[union-attr]
        return
    few = sample(made, model, X, noise=noise)
    whole = sample(made, model, X, noise=noise, reuse=False)
    assert few.nfe == whole.nfe
    assert ((few.x - whole.x).abs().double() <= moved(made, X, noise)).all()


@pytest.mark.parametrize("name", SOME)
def test_what_lies_in_a_place_is_what_is_read_there(name: str) -> None:
    """The layout is run on names: each operation finds in its places what the plan's operation reads."""
    made = plan(name, 24 if name.startswith("score-sde") else 8)
    layout = lay_out(made)
    if layout is None:
        return
    holds: dict[int, Any] = {i: 2 * i for i in range(len(made.inputs))}
    operations = [op for step in made.steps for op in step.operations]
    for op, placed in zip(operations, layout.operations, strict=True):
        if isinstance(op, Evaluation):
            assert isinstance(placed, Call)
            assert (holds[placed.state], placed.t) == (2 * op.state, op.t)
            holds[placed.output] = 2 * op.state + 1
            continue
        assert isinstance(placed, Product)
        holds |= {place: ("noise", which) for which, place in placed.draws}
        read = {holds[place]: weight for place, weight in placed.weights.items()}
        wanted: dict[Any, float] = {**dict(op.keyed)}
        assert read == wanted | {("noise", which): w for which, w in op.noise}
        holds[placed.into] = 2 * op.state
    assert holds[layout.final] == 2 * made.steps[-1].output
    assert max(holds) < layout.places


@pytest.mark.parametrize(
    ("name", "prediction", "places"),
    [
        ("ddim", "eps", 2),
        ("dpm-solver++-2m", "x0", 3),
        ("dpm-solver++-2m", "eps", 4),
        ("dpm-solver++-3m-corrected", "x0", 4),
        ("sde-dpm-solver++-2m", "x0", 4),
    ],
)
def test_memory_holds_what_one_row_adds(name: str, prediction: str, places: int) -> None:
    layout = lay_out(plan(name, 20, prediction=prediction))
    assert layout is not None
    assert layout.places == places


# --- costs, counted ---


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.scalar = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.names[function.overloadpacket.__name__] += 1
        self.scalar += isinstance(result, torch.Tensor) and result.ndim == 0
        return result


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver-3", "unipc-3-bh2"])
def test_of_torch_a_run_asks_one_copy_per_evaluation_and_no_memory(name: str) -> None:
    made, output = plan(name, 20, prediction="x0"), torch.ones_like(X)
    sample(made, lambda x, t: output, X)
    with Counting() as count:
        sample(made, lambda x, t: output, X)
    assert count.names == {"copy_": made.nfe + 1, "clone": 1}  # the start is copied in, the result out
    assert count.scalar == 0


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver++-3m-corrected", "unipc-3-bh2"])
def test_a_step_costs_at_most_one_operation_more_than_its_terms(name: str) -> None:
    """A copy per evaluation, a product and a copy per row."""
    made = plan(name, 20)
    memory = small.borrowed(made, X)
    assert memory is not None
    rows = [op for step in made.steps for op in step.operations if isinstance(op, Row)]
    assert len(memory.actions) == made.nfe + 2 * len(rows)
    assert len(memory.actions) <= sum(1 + len(row.terms) for row in rows)


def test_a_memory_serves_the_next_run_and_its_results_stay() -> None:
    made = plan()
    seen = set[int]()

    def watched(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.add(x.untyped_storage().data_ptr())
        return model(x, t)

    first = sample(made, watched, X).x
    kept = first.clone()
    second = sample(made, watched, 2 * X).x
    assert len(seen) == 1
    assert torch.equal(first, kept)
    assert not torch.equal(first, second)
    assert torch.equal(sample(made, watched, X).x, first)


def test_runs_in_threads_and_within_a_model_have_memories_of_their_own() -> None:
    made = compile_plan(generic("dpm-solver++-2m"), VP, steps=8, t_start=0.2, t_end=0.1)  # hardly amplifies
    starts = [X + k for k in range(4)]

    def within(x: torch.Tensor, t: float) -> torch.Tensor:
        return model(sample(made, model, x).x, t)

    expected = [sample(made, within, x, reuse=False).x for x in starts]
    found: list[Any] = [None] * 4

    def work(k: int) -> None:
        found[k] = sample(made, within, starts[k]).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [sample(made, within, x).x for x in starts]
    assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))
    # float32 through a network of two layers
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(found, expected, strict=True))


# --- which runs are small ---


def test_sums_that_are_measured_on_or_followed_are_made_in_order() -> None:
    made = plan()
    assert is_small(made)
    assert not is_small(made, X.double())
    assert not is_small(made, X.t())
    assert not is_small(made, X.expand(64, 4, 16))
    assert not is_small(plan("dpm-solver++-2m", digits=20), X)
    assert not is_small(made, torch.zeros(64, 64))
    leaf = X.clone().requires_grad_()
    assert sample(made, model, leaf).x.requires_grad
    w = torch.tensor(1.0, requires_grad=True)
    assert sample(made, lambda x, t: x * w, X, gradients=True).x.requires_grad
    assert not sample(made, lambda x, t: x * w, X).x.requires_grad
    stochastic = plan("sde-dpm-solver++-2m")
    given = [torch.ones_like(X).requires_grad_() for _ in range(8)]
    assert sample(stochastic, model, X, noise=given).x.requires_grad
    run = lambda x: sample(made, model, x, check="off").x  # noqa: E731
    # float32: vmap's matrix products add in another order
    torch.testing.assert_close(torch.func.vmap(run)(X), run(X), rtol=1e-4, atol=1e-5)


def test_a_sample_is_bitwise_the_same_in_every_small_batch() -> None:
    made, noise = plan("sde-dpm-solver++-2m"), per_sample(3)

    def elementwise(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.stack([row.tanh() * (1 + t) for row in x])

    wide = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    together = sample(made, elementwise, wide, noise=noise).x
    for count in (1, 2, 5, 39):
        assert torch.equal(sample(made, elementwise, wide[:count], noise=noise).x, together[:count])


@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (2, 3, 2)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 0.3)
    assert is_small(plan(), x)
    found = sample(plan(), model, x).x
    assert found.shape == x.shape
    # float32: sums in another order
    torch.testing.assert_close(found, sample(plan(), model, x, reuse=False).x, rtol=1e-5, atol=1e-6)


# --- what it refuses is what every run refuses ---


def test_a_model_that_breaks_its_contract_is_refused_and_the_next_run_is_right() -> None:
    made = plan()
    right = sample(made, model, X).x
    with pytest.raises(ValueError, match="must not change its input"):
        sample(made, lambda x, t: x.mul_(2), X)
    with pytest.raises(ValueError, match="must return a floating-point Tensor of shape"):
        sample(made, lambda x, t: x[:1], X)
    bad = lambda x, t: x * float("nan") if t < 0.5 else model(x, t)  # noqa: E731
    with pytest.raises(NonFiniteError, match="the model's output is not finite at step"):
        sample(made, bad, X)
    assert not torch.isfinite(sample(made, bad, X, check="off").x).any()
    assert torch.equal(sample(made, model, X).x, right)


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "edm-heun-churn"])
def test_an_output_on_another_device_is_refused_whatever_the_plan_begins_with(name: str) -> None:
    """Churn adds noise before anything is evaluated."""
    made = plan(name)
    assert is_small(made)
    with pytest.raises(ValueError, match=r"on cpu, got torch.float32 of shape .* on meta"):
        sample(made, lambda x, t: x.to("meta"), X, noise=per_sample(1))


def test_a_model_that_changes_its_input_changes_no_state_of_the_callers() -> None:
    x = X.clone()
    with pytest.raises(ValueError, match="must not change its input"):
        sample(plan(), lambda x, t: x.mul_(2), x)
    assert torch.equal(x, X)
    with torch.inference_mode():  # where nothing counts what is written
        found, exact = (sample(plan(), lambda x, t: x.mul_(0.5), y).x for y in (x, x.double()))
    assert torch.equal(x, X)
    # float32: linear in every number, by a factor of 2e-3 whose sums cancel
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


def test_what_nobody_reads_may_be_infinite() -> None:
    """An embedded row: 0 times it is not 0, so that the run is made in order."""
    made = compile_plan(dpm_solver.singlestep(2, low=True), VP, steps=3, t_start=0.5, t_end=0.1)
    calls = []

    def model_(x: torch.Tensor, t: float) -> torch.Tensor:
        calls.append(t)
        return model(x, t)

    right = sample(made, model_, X).x
    assert len(calls) == made.nfe
    memory = small.borrowed(made, X)
    assert memory is not None
    memory.places[-1].fill_(float("inf"))
    small.give_back(made, memory)
    # float32: sums in another order
    torch.testing.assert_close(sample(made, model_, X).x, right, rtol=1e-5, atol=1e-6)


def test_a_model_over_arrays_may_follow_its_own_gradients() -> None:
    def score(x: np.ndarray, t: float) -> np.ndarray:
        y = torch.tensor(x, requires_grad=True)
        (found,) = torch.autograd.grad((y * y).sum(), y)
        return found.numpy() * t

    x = X.double().numpy()
    assert np.array_equal(sample(plan(), score, x).x, sample(plan(), lambda x, t: 2 * x * t, x).x)


def test_large_finite_states_are_kept() -> None:
    """Where no noise is told x/alpha stays what it is; that the sum of all overflows says nothing."""
    made, x = plan("ddim", 2), torch.full((4, 16), 1e36)
    large = sample(made, lambda x, t: x * 0, x, check="end").x
    wanted = x.double() * VP.alpha(1e-3) / VP.alpha(1.0)
    assert wanted.sum() > torch.finfo(torch.float32).max
    torch.testing.assert_close(large.double(), wanted, rtol=FLOAT32, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_added_in_float32_and_the_model_called_in_half(dtype: torch.dtype) -> None:
    seen = set[torch.dtype]()

    def watched(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.add(x.dtype)
        return model(x, t)

    found = sample(plan(), watched, X.to(dtype)).x
    assert seen == {dtype}
    assert found.dtype == dtype
    whole = sample(plan(), watched, X.to(dtype), reuse=False).x
    torch.testing.assert_close(
        found, whole, rtol=2**-6, atol=2**-6
    )  # an output may be rounded to its neighbour


def test_a_memory_made_in_inference_mode_serves_outside() -> None:
    made = plan()
    with torch.inference_mode():
        inside = sample(made, model, X).x
    assert torch.equal(inside, sample(made, model, X).x)
