from __future__ import annotations

import dataclasses
import itertools
import pickle
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import ve, vp_linear
from semilinear.integrators.forms import reverse as sde_forms
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.boundary import NonFiniteError, given_noise
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import StepInfo, sample
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.solvers import SOLVERS, dpm_solver, make
from semilinear.integrators.solvers.dpm_solver_v3 import multistep
from semilinear.integrators.statistics.smooth import gaussian
from semilinear.integrators.tableaux.tableau import N as NN
from semilinear.integrators.tableaux.tableau import Tableau, phi1
from semilinear.verification.problems.named import mixture_1d, rotated_product
from semilinear.verification.studies.own_statistics import generic
from torch.utils._python_dispatch import TorchDispatchMode

from tests.roundings import MANY_ULP, SOME_ULP
from tests.slow import MANY_TERMS, few, slow

VP = vp_linear()
PROBLEM = rotated_product()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
ODE = [name for name in SOLVERS if not generic(name).stochastic]


def plan(name: str = "dpm-solver++-2m", steps: int = 8, **options: Any) -> Plan:
    return compile_plan(generic(name), VP, steps=steps, t_start=1.0, t_end=1e-3, **options)


# --- what the loop costs, counted ---


class Counting(TorchDispatchMode):
    """Counts the tensor operations of the loop: all, those with a zero-dimensional result, and host
    synchronisations.
    """

    SYNCS = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal")
    VIEWS = ("detach", "view", "alias", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.all = self.scalar = self.syncs = 0
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in self.VIEWS:
            self.all += 1
            self.names[name] += 1
            self.scalar += isinstance(result, torch.Tensor) and result.ndim == 0
            self.syncs += name in self.SYNCS
        return result


@pytest.mark.parametrize(
    ("name", "prediction"),
    slow(
        itertools.product(ODE, ["eps", "x0", "v"]),  # all formulas, and every prediction of some of each kind
        lambda case: case[0] in MANY_TERMS or (case[1] != "eps" and case[0] not in ODE[::4]),
    ),
)
def test_a_run_does_one_operation_per_term_and_nothing_else(name: str, prediction: str) -> None:
    made, output = plan(name, 10, prediction=prediction), torch.ones_like(X)
    with Counting() as count:
        sample(made, lambda x, t: output, X, check="off")
    rows = [op for step in made.steps for op in step.operations if isinstance(op, Row)]
    assert count.all == sum(
        len(row.terms) for row in rows
    )  # one multiplication, then one fused addition per term
    assert count.scalar == count.syncs == 0
    assert set(count.names) <= {"mul", "add_"}


def test_a_multistep_step_costs_at_most_one_operation_more_than_its_terms() -> None:
    output = torch.ones_like(X)
    counts = []
    for steps in (10, 20):
        with Counting() as count:
            sample(plan("dpm-solver++-2m", steps, prediction="x0"), lambda x, t: output, X)
        counts.append(count.all)
    assert counts[1] - counts[0] <= 10 * (1 + 2)  # two model outputs per step


def test_the_default_check_synchronises_once_per_run_not_per_step() -> None:
    output = torch.ones_like(X)
    syncs = []
    for steps in (5, 50):
        with Counting() as count:
            sample(plan(steps=steps), lambda x, t: output, X)
        syncs.append(count.syncs)
    assert syncs == [1, 1]


def test_a_plan_without_noise_never_asks_for_any() -> None:
    def forbidden(index: int, like: Any) -> Any:
        raise AssertionError("noise was drawn")

    sample(plan(), PROBLEM.model(VP), X, noise=forbidden)


# --- one result for every kind of array ---


@pytest.mark.parametrize("name", ["ddim", "dpm-solver-3", "dpm-solver++-3m-corrected", "deis-tab3", "etdrk4"])
def test_torch_numpy_and_multiprecision_agree(name: str) -> None:
    model, made = PROBLEM.model(VP), plan(name)
    by_torch = sample(made, model, X).x.numpy()
    by_numpy = sample(made, model, X.numpy()).x
    exact = sample(plan(name, digits=30), model, X.numpy()).x
    assert np.allclose(by_torch, by_numpy, rtol=0, atol=MANY_ULP)
    assert np.allclose(by_torch, exact.astype(float), rtol=MANY_ULP, atol=0)
    assert exact.dtype == object


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 2), (1, 1, 1, 2)])
def test_any_batch_shape(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = sample(plan(), PROBLEM.model(VP), x).x
    flat = sample(plan(), PROBLEM.model(VP), x.reshape(-1, 2)).x
    assert result.shape == x.shape
    torch.testing.assert_close(result.reshape(-1, 2), flat, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("name", few(name for name in SOLVERS if generic(name).form(VP).table is None))
def test_a_sample_is_bitwise_the_same_in_every_batch(name: str) -> None:
    """A1111 #5210, #7730, #10847, sdnext #2352: samples that change with the batch size."""
    made = plan(name, 4 * generic(name).sequence.period)
    wide = X.repeat(2, 1)

    def elementwise(x: torch.Tensor, t: float) -> torch.Tensor:  # so that only the sampler can mix samples
        return torch.stack([row.tanh() * (1 + t) for row in x])

    noise = per_sample(3) if made.stochastic else None
    alone, together = (sample(made, elementwise, x, noise=noise).x for x in (wide[:1], wide))
    assert torch.equal(alone[0], together[0])


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.float16, 0.02), (torch.bfloat16, 0.1)]
)
@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "deis-tab2", "edm-heun"])
def test_only_the_model_and_the_result_see_low_precision(dtype: torch.dtype, bound: float, name: str) -> None:
    """diffusers #3005, #3056: the schedule rounded to half; here coefficients stay float64, sums float32.

    bound: a few roundings of inputs and outputs, amplified by the flow.
    """
    seen, made = [], plan(name, 40)
    model, digest = PROBLEM.model(VP), made.digest

    def watched(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(x.dtype)
        return model(x.double(), t).to(x.dtype)

    result = sample(made, watched, X.to(dtype)).x
    assert result.dtype == dtype
    assert set(seen) == {dtype}
    assert made.digest == digest
    assert (result.double() - sample(made, model, X).x).abs().max() < bound


def test_the_input_and_the_models_outputs_are_left_alone() -> None:
    x, outputs = X.clone(), []
    model = PROBLEM.model(VP)

    def keeping(x: torch.Tensor, t: float) -> torch.Tensor:
        outputs.append(model(x, t))
        return outputs[-1]

    sample(plan(), keeping, x)
    again = []
    sample(plan(), lambda x, t: again.append(model(x, t)) or again[-1], x)  # type: ignore[func-returns-value]
    assert torch.equal(x, X)
    assert all(torch.equal(a, b) for a, b in zip(outputs, again))


BIG = torch.randn(64, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", few(SOLVERS, 4))
def test_a_run_keeps_its_states_in_the_places_that_the_plan_laid_out(name: str) -> None:
    """And ends in the state of a run in which every state has its own memory, to the bit."""
    made = plan(name, 24 if name.startswith("score-sde") else 8)  # whose betas need so many
    noise, seen = per_sample(3), set[int]()

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.add(x.data_ptr())
        return torch.sin(x) * t

    laid_out = sample(made, model, X, noise=noise).x
    assert len(seen - {X.data_ptr()}) <= max(made.slots.values()) + 1
    assert torch.equal(laid_out, sample(made, model, X, noise=noise, callback=lambda info: None).x)
    holds: dict[int, int] = {}
    rows = [(step, op) for step in made.steps for op in step.operations if isinstance(op, Row)]
    for place, (step, row) in enumerate(rows):
        held = holds.get(made.slots[row.state], -1)  # what it overwrites is not read by it, or after it
        assert held not in {state for _, later in rows[place:] for _, state, _ in later.terms}
        assert held not in {step.output, step.low}
        holds[made.slots[row.state]] = row.state


@pytest.mark.parametrize(
    ("name", "prediction", "places"),
    [
        ("ddim", "eps", 2),
        ("dpm-solver++-2m", "x0", 3),
        ("dpm-solver++-2m", "eps", 3),
        ("dpm-solver++-3m-corrected", "eps", 4),
        ("dpm-solver-3", "eps", 4),
    ],
)
def test_memory_is_the_state_its_history_and_the_one_that_is_made(
    name: str, prediction: str, places: int
) -> None:
    assert max(plan(name, 20, prediction=prediction).slots.values()) + 1 == places


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "dpm-solver-3", "unipc-3-bh2", "sde-dpm-solver++-2m"])
def test_nothing_is_allocated_after_the_first_steps(name: str) -> None:
    """Counted by results that are no argument: new tensors come from the model and the noise alone."""
    output, z = torch.ones_like(BIG), [torch.ones_like(BIG)] * 40
    made = []
    for steps in (15, 30):
        with Allocations() as count:
            sample(plan(name, steps), lambda x, t: output, BIG, noise=z, check="off")
        made.append(count.new)
    assert made[0] == made[1] == max(plan(name, 30).slots.values()) + 1


class Allocations(TorchDispatchMode):
    """Counts operations whose result is not written into an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.new = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {id(v) for v in [*args, *(kwargs or {}).values()]}
        self.new += isinstance(result, torch.Tensor) and id(result) not in given
        return result


def test_transforms_that_write_over_nothing_have_the_same_result() -> None:
    """vmap and forward derivatives refuse to write into given memory; the run goes on without it."""
    made = compile_plan(
        multistep(2, statistics=gaussian(np.array([0.5, 2.0]))), VP, steps=6, t_start=0.8, t_end=0.1
    )
    run = lambda x: sample(made, lambda x, t: torch.sin(x) * t, x, check="off").x  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(run)(X), run(X), rtol=SOME_ULP, atol=0)
    jacobian = torch.func.jacrev(run)(X[:1])
    torch.testing.assert_close(torch.func.jacfwd(run)(X[:1]), jacobian, rtol=SOME_ULP, atol=0)
    with torch.inference_mode():
        inside = run(X)
    assert torch.equal(inside, run(X))
    sent = pickle.loads(pickle.dumps(made))  # what was placed on a device stays behind
    assert not sent.placed
    assert torch.equal(sample(sent, lambda x, t: torch.sin(x) * t, X).x, run(X))


def test_states_that_a_model_keeps_are_its_own_where_it_asks_for_that() -> None:
    kept, copies = [], []

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        kept.append(x)
        copies.append(x.clone())
        return x * 0.1

    sample(plan(steps=12), model, BIG, reuse=False)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    with pytest.raises(TypeError, match="reuse must be True or False"):
        sample(plan(), model, X, reuse=1)  # type: ignore[arg-type]


def test_a_model_may_return_its_input() -> None:
    made = plan(steps=12)
    aliased = sample(made, lambda x, t: x, BIG).x
    assert torch.equal(aliased, sample(made, lambda x, t: x.clone(), BIG).x)


def test_states_given_to_a_callback_are_never_written_again() -> None:
    kept: list[torch.Tensor] = []
    copies: list[torch.Tensor] = []

    def callback(info: StepInfo) -> None:
        kept.append(info.x.detach())
        copies.append(info.x.clone())

    sample(plan(steps=12), lambda x, t: x * 0.1, BIG, callback=callback)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_gradients_flow_through_a_run() -> None:
    x = X.clone().requires_grad_(True)
    result = sample(plan(steps=5), PROBLEM.model(VP), x).x
    (gradient,) = torch.autograd.grad(result.sum(), x)
    h = 1e-6
    shifted = [sample(plan(steps=5), PROBLEM.model(VP), X + s * h).x.sum() for s in (1, -1)]
    # ulp/h, h^2
    assert gradient.sum().item() == pytest.approx(((shifted[0] - shifted[1]) / (2 * h)).item(), rel=1e-8)


# --- callbacks and counts ---


def test_the_callback_sees_each_step() -> None:
    seen: list[StepInfo] = []
    result = sample(plan("dpm-solver-2", 4, denoise=True), PROBLEM.model(VP), X, callback=seen.append)
    assert [s.index for s in seen] == [0, 1, 2, 3, 4]
    assert [s.nfe for s in seen] == [2, 4, 6, 8, 9]
    assert seen[-1].t is None
    assert seen[-2].t == 1e-3
    assert torch.equal(seen[-1].x, result.x)


@pytest.mark.parametrize("name", ODE)
def test_the_model_is_called_nfe_times(name: str) -> None:
    calls = []
    made = plan(name, 7)
    result = sample(made, lambda x, t: calls.append(t) or x, X)  # type: ignore[func-returns-value]
    assert result.nfe == made.nfe == len(calls)
    assert calls[0] == 1.0


def test_an_exact_start_uses_the_states_it_is_given() -> None:
    made = plan("dpm-solver++-3m-corrected", start="exact")
    states = [X, X + 1, X + 2]
    seen: list[torch.Tensor] = []
    sample(made, lambda x, t: seen.append(x.clone()) or x * 0, states)  # type: ignore[func-returns-value]
    assert all(torch.equal(a, b) for a, b in zip(seen[:3], states))


def test_recorded_noise_is_used_as_given() -> None:
    made = plan("sde-dpm-solver++-1", 3)
    increments = [torch.full_like(X, float(i)) for i in range(3)]
    zero = sample(made, lambda x, t: x * 0, X, noise=[torch.zeros_like(X)] * 3).x
    some = sample(made, lambda x, t: x * 0, X, noise=increments).x
    weights = [step.operations[-1].noise[0][1] for step in made.steps]  # type: ignore[union-attr]
    assert all(w > 0 for w in weights)
    assert not torch.equal(zero, some)
    with pytest.raises(ValueError, match="increments for every step, got 1"):
        sample(made, lambda x, t: x * 0, X, noise=given_noise(increments[:1]))


# --- errors ---


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("check", ["end", "step"])
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_non_finite_output_is_reported_with_its_step(bad: float, check: Any, at: int) -> None:
    made = plan(steps=8)
    t_bad = made.times[at - 1]

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        return x * (bad if t == t_bad else 0.1)

    with pytest.raises(
        NonFiniteError, match=rf"not finite at step {at - 1}, t = {t_bad} \(evaluation {at}\)"
    ) as caught:
        sample(made, model, X, check=check)
    assert (caught.value.step, caught.value.t, caught.value.evaluation) == (at - 1, t_bad, at)


def test_a_non_finite_output_that_does_not_return_is_still_reported() -> None:
    calls = [0]

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        calls[0] += 1
        return x * (float("nan") if calls[0] == 3 else 0.1)

    with pytest.raises(NonFiniteError, match="not deterministic"):
        sample(plan(), model, X)


def test_multiprecision_runs_are_checked_at_every_step() -> None:
    made, xp = plan(digits=20), multiprecision(20)
    with pytest.raises(NonFiniteError, match="step 0"):
        sample(made, lambda x, t: x * xp.number("nan"), np.ones((1, 1)))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(2, 2, dtype=torch.int64), TypeError, "floating-point"),
        (np.ones((2, 2), dtype=int), TypeError, "float array"),
        ("x", TypeError, "torch tensor or a numpy array"),
        (torch.ones(0, 2), ValueError, "not be empty"),
        ([torch.ones(2, 2), torch.ones(2, 2)], ValueError, r"1 state\(s\)"),
        (torch.ones(2, 2, device="meta"), TypeError, "dense tensor with data"),
        (torch.ones(2, 2).to_sparse(), TypeError, "dense tensor with data"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), TypeError, "at least 16 bits"),
    ],
)
def test_bad_states_are_refused(x: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        sample(plan(), lambda x, t: x, x)


def test_states_of_different_shape_are_refused() -> None:
    made = plan("dpm-solver++-2m", start="exact")
    with pytest.raises(ValueError, match=r"x\[1\] must have the type, shape and dtype"):
        sample(made, lambda x, t: x, [X, X[:2]])
    with pytest.raises(ValueError, match=r"x\[1\] must have the type, shape and dtype"):
        sample(made, lambda x, t: x, [X, X.float()])


@pytest.mark.parametrize(
    "output",
    [
        torch.ones(3, 2),
        torch.ones(4),
        np.ones((4, 2)),
        None,
        1.0,
        torch.ones(4, 2, dtype=torch.int64),
        torch.ones(4, 2, dtype=torch.complex128),
        torch.ones(4, 2, device="meta"),
    ],
)
def test_outputs_of_another_shape_or_type_are_refused(output: Any) -> None:
    with pytest.raises(ValueError, match="model must return"):
        sample(plan(), lambda x, t: output, X)


def scaled_in_place(x: Any, t: Any) -> Any:
    x *= 0.5
    return x


@pytest.mark.parametrize("x", [X, X.float(), X.numpy()], ids=["float64", "float32", "numpy"])
def test_a_model_that_changes_its_input_is_refused(x: Any) -> None:
    with pytest.raises(ValueError, match=r"must not change its input|read-only"):
        sample(plan(), scaled_in_place, x.clone() if isinstance(x, torch.Tensor) else x.copy())


def test_a_half_precision_model_works_on_a_copy_of_its_own() -> None:
    x = X.half()
    sample(plan(), scaled_in_place, x)
    assert torch.equal(x, X.half())


def test_a_model_that_writes_into_an_earlier_output_is_refused() -> None:
    """As a captured CUDA graph does: the two-step formula would read its last output twice."""
    static = torch.empty_like(X)

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        return static.copy_(x * t)

    with pytest.raises(ValueError, match="an output that it returned before"):
        sample(plan("dpm-solver++-2m"), model, X)
    sample(plan("ddim"), model, X)  # one output at a time: nothing is lost


@pytest.mark.parametrize("reuse", [True, False])
def test_where_a_change_of_the_input_cannot_be_seen_it_changes_no_state_of_the_callers(reuse: bool) -> None:
    """Tensors of torch's inference mode have no versions."""
    plan = compile_plan(make("ddim"), vp_linear(), steps=3, t_start=0.9, t_end=0.1)
    with torch.inference_mode():
        x = torch.ones(4, 2, dtype=torch.float64)
        sample(plan, lambda x, t: x.mul_(0.5), x, reuse=reuse, backend="torch")
        assert torch.equal(x, torch.ones(4, 2, dtype=torch.float64))


def test_a_model_may_return_the_same_unchanged_tensor() -> None:
    zero = torch.zeros_like(X)
    assert sample(plan(), lambda x, t: zero, X).nfe == 8


def test_outputs_in_another_precision_take_that_of_the_state() -> None:
    made = plan(prediction="x0")
    result = sample(made, lambda x, t: x.double() * 0.5, X.float()).x
    assert result.dtype == torch.float32
    result = sample(made, lambda x, t: x.half() * 0.5, X)
    assert result.x.dtype == torch.float64


@pytest.mark.parametrize("check", ["end", "step"])
def test_where_infinity_came_from_is_told_apart(check: Any) -> None:
    zero, huge = (lambda x, t: 0 * x), (lambda x, t: 0 * x + 1e308)
    with pytest.raises(NonFiniteError, match="x is not finite"):
        sample(plan(), zero, X * float("nan"), check=check)
    with pytest.raises(NonFiniteError, match="state overflows in step"):
        sample(plan(), huge, X, check=check)
    noise = [torch.full_like(X, float("inf") if i == 3 else 0.0) for i in range(8)]
    with pytest.raises(NonFiniteError, match="noise is not finite at step 3"):
        sample(plan("sde-dpm-solver++-1"), zero, X, noise=noise, check=check)
    with pytest.raises(NonFiniteError, match="final state overflows"):
        sample(plan(steps=1), lambda x, t: 0 * x - 60000, X.half(), check=check)


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (5, TypeError, "noise must be a function or a sequence"),
        ([X] * 7, ValueError, "increments for 8 steps, got 7"),
        ([X[:1]] * 8, ValueError, r"noise\[0\] must be a Tensor of shape \(4, 2\)"),
        (lambda i, like: X[:1], ValueError, r"noise\[0\] must be a Tensor of shape \(4, 2\)"),
        (lambda i, like: 0.0, ValueError, r"noise\[0\] must be a Tensor"),
    ],
)
def test_bad_noise_is_refused(noise: Any, error: Any, message: str) -> None:
    calls = []

    def model(x: Any, t: Any) -> Any:
        calls.append(t)
        return x

    with pytest.raises(error, match=message):
        sample(plan("sde-dpm-solver++-1"), model, X, noise=noise)
    assert len(calls) <= 1


def test_single_numbers_are_states_too() -> None:
    x = np.array(0.7)
    assert sample(plan(), lambda x, t: 0.5 * x, x).x.shape == ()
    number = multiprecision(20).number(np.array(0.7, dtype=object))
    assert (
        sample(plan(digits=20), lambda x, t: np.asarray(x * 0.5), np.asarray(number, dtype=object)).nfe == 8
    )


def test_other_bad_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        sample(plan(), lambda x, t: x, X, callback=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be callable"):
        sample(plan(), None, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="check must be"):
        sample(plan(), lambda x, t: x, X, check="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise must be given"):
        sample(plan("sde-dpm-solver++-1"), lambda x, t: x, X)
    with pytest.raises(TypeError, match="multiprecision"):
        sample(plan(digits=20), lambda x, t: x, X)


def test_fifty_digit_runs_agree_with_the_exact_flow() -> None:
    problem = mixture_1d()
    made = compile_plan(make("exprk5s8"), VP, steps=48, t_start=0.4, t_end=0.2, digits=50)
    x = np.array([[0.3], [-1.0]])
    exact = problem.flow(VP, x, 0.4, 0.2, 50)
    # the method's 9e-14 at 48 steps
    assert max(abs(v) for v in (sample(made, problem.model(VP), x).x - exact).ravel()) < 1e-12


@pytest.mark.parametrize(
    ("name", "order"), [("ddim", 1), ("dpm-solver++-2m", 2), ("deis-tab1", 2), ("dpm-solver-3", 3)]
)
def test_data_are_encoded_at_the_same_order(name: str, order: int) -> None:
    """Increasing times run the flow backwards; encoding then decoding returns within the order."""
    x = np.array([[0.3, -0.8], [1.1, 0.4]])
    exact = PROBLEM.flow(VP, x, 0.1, 0.5, 25).astype(float)
    errors, returns = [], []
    for steps in (40, 80):
        there, back = (
            compile_plan(generic(name), VP, steps=steps, t_start=a, t_end=b)
            for a, b in ((0.1, 0.5), (0.5, 0.1))
        )
        encoded = sample(there, PROBLEM.model(VP), x).x
        errors.append(np.abs(encoded - exact).max())
        returns.append(np.abs(sample(back, PROBLEM.model(VP), encoded).x - x).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)  # O(h) at 80 steps, seen 0.03
    assert returns[1] < returns[0] / 2 ** (order - 0.4)


@pytest.mark.parametrize("name", ["sde-dpm-solver++-1", "sde-dpm-solver-2m"])
def test_torch_and_numpy_agree_on_recorded_noise(name: str) -> None:
    made, model = plan(name, 5), PROBLEM.model(VP)
    noise = [
        torch.randn(X.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        for i in range(5)
    ]
    by_torch = sample(made, model, X, noise=noise).x
    by_numpy = sample(made, model, X.numpy(), noise=[z.numpy() for z in noise]).x
    assert np.allclose(by_torch.numpy(), by_numpy, rtol=MANY_ULP, atol=MANY_ULP)


def test_the_noise_of_a_step_is_the_one_recorded_for_it() -> None:
    asked: list[int] = []

    def noise(index: int, like: Any) -> Any:
        asked.append(index)
        return like * 0

    sample(plan("sde-dpm-solver++-1", 3), lambda x, t: x * 0, X, noise=noise)
    assert asked == [0, 1, 2]


def test_large_finite_states_are_kept() -> None:
    """Nothing to add and alpha = 1: the state stays, near the largest float."""
    x = torch.full((4, 2), 1.5e308, dtype=torch.float64)
    made = compile_plan(make("ddim"), ve(), steps=2, t_start=1.0, t_end=0.5, prediction="eps")
    assert torch.equal(sample(made, lambda x, t: x * 0, x).x, x)


def test_a_failed_run_is_repeated_without_the_callback() -> None:
    seen: list[int] = []
    with pytest.raises(NonFiniteError):
        sample(
            plan(),
            lambda x, t: x * (float("nan") if t < 0.1 else 0.1),
            X,
            callback=lambda i: seen.append(i.index),
        )
    assert len(seen) == 8


def test_a_failed_multiprecision_run_is_not_repeated() -> None:
    calls: list[Any] = []

    def model(x: Any, t: Any) -> Any:
        calls.append(t)
        return x * multiprecision(20).number("nan")

    with pytest.raises(NonFiniteError):
        sample(plan(digits=20), model, np.ones((1, 1)))
    assert len(calls) == 1


def test_the_callback_sees_the_embedded_state() -> None:
    made = compile_plan(dpm_solver.singlestep(2, low=True), VP, steps=3, t_start=0.5, t_end=0.1)
    seen: list[StepInfo] = []
    sample(made, PROBLEM.model(VP), X, callback=seen.append)
    euler = compile_plan(make("ddim"), VP, times=made.times[:2])
    torch.testing.assert_close(seen[0].low, sample(euler, PROBLEM.model(VP), X).x, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("part", ["x", "model"])
def test_gradients_flow_through_a_run_that_reuses_buffers(part: str) -> None:
    made = plan(steps=6)

    def gradient(x: torch.Tensor) -> torch.Tensor:
        w = torch.tensor(0.1, dtype=torch.float64, requires_grad=part == "model")
        leaf = x.clone().requires_grad_(part == "x")
        sample(made, lambda x, t: torch.sin(x) * w, leaf, gradients=part == "model").x[
            :1, :2
        ].sum().backward()
        found = leaf.grad if part == "x" else w.grad
        assert found is not None
        return found[:1, :2] if part == "x" else found

    torch.testing.assert_close(gradient(BIG), gradient(BIG[:1, :2]), rtol=SOME_ULP, atol=0)


def test_half_precision_states_accumulate_in_float32() -> None:
    """1000 steps of a model that says 0: the state is x alpha_end/alpha_start to half an ulp."""
    made = compile_plan(make("ddim"), VP, steps=1000, t_start=0.5, t_end=0.1)
    x = torch.tensor([[0.777]], dtype=torch.bfloat16)
    expected = x.double() * VP.alpha(0.1) / VP.alpha(0.5)
    assert sample(made, lambda x, t: x * 0, x).x == expected.to(torch.bfloat16)


def test_a_model_that_needs_gradients_late_has_them_although_buffers_were_freed() -> None:
    made = compile_plan(make("dpm-solver++-2m"), VP, steps=8, t_start=1.0, t_end=1e-3)

    def total(w: Any) -> Any:
        return sample(made, lambda x, t: torch.sin(x) * (w if t < 0.5 else 0.1), BIG, gradients=True).x.sum()

    w = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    total(w).backward()
    h = 1e-6
    assert w.grad is not None
    # ulp/h
    assert w.grad.item() == pytest.approx((total(0.1 + h) - total(0.1 - h)).item() / (2 * h), rel=1e-7)


def test_noise_may_be_weighted_elementwise() -> None:
    euler = Tableau((), phi1 * NN(0))
    std = np.array([0.5, 2.0])
    solver = Solver(
        name="noise",
        form=lambda s: dataclasses.replace(sde_forms.sde_data_in_lambda(s), std=lambda t0, t1: std),
        sequence=Repeat(euler, euler),
        claimed=1,
        source="test",
    )
    made = compile_plan(solver, VP, steps=1, t_start=0.9, t_end=0.5)
    zero, one = (sample(made, lambda x, t: x * 0, X, noise=[torch.full_like(X, v)]).x for v in (0.0, 1.0))
    torch.testing.assert_close(one - zero, torch.tensor(std).expand(4, 2), rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("name", ["dpm-solver++-3m-corrected", "deis-tab3", "dpm-solver-3", "deis-ipndm"])
def test_runs_and_threads_do_not_see_each_other(name: str) -> None:
    """diffusers #8711, #3672: history of another run, or of another thread."""
    made, model = plan(name, 30), PROBLEM.model(VP)
    starts = [X + k for k in range(4)]
    expected = [sample(made, model, x).x for x in starts]
    found: list[Any] = [None] * 4

    def work(k: int) -> None:
        for _ in range(3):
            found[k] = sample(made, model, starts[k]).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
