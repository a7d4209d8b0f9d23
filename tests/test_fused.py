"""Rows by one kernel each: the chain's own arithmetic, in Triton's interpreter; what is refused without it.

The rest of the machine runs without Triton as well, with torch in the kernel's place.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run import fused, sampler
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.dpm_solver_v3 import multistep
from semilinear.integrators.statistics.smooth import gaussian
from torch._subclasses.fake_tensor import FakeTensorMode

VP = vp_linear()
NAMES = ("ddim", "dpm-solver++-2m", "unipc-3-bh2", "dpm-solver-3", "sde-dpm-solver++-2m", "sa-solver-2-2")
SHAPES = ((), (1,), (7,), (4, 16), (3, 1, 5), (2, 3, 11, 17), (1025,))
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
CONTRACTED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
"""Whether torch's own additions on this CPU round once, as the kernel's do."""


def plan(name: str = "dpm-solver++-2m", steps: int = 6) -> Plan:
    return compile_plan(make(name), VP, steps=steps, t_start=1.0, t_end=1e-2)


def model(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.sin(x) * t


def states(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def runs(made: Plan, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """With one kernel a row, and with a chain of torch's operations."""
    noise = per_sample(3) if made.stochastic and x.ndim else None
    if made.stochastic and noise is None:
        noise = lambda index, like: torch.full_like(like, 0.5)  # noqa: E731
    one, chain = (sample(made, model, x, noise=noise, backend=b).x for b in ("fused", "torch"))
    return one, chain


def forget() -> None:
    fused.unusable.cache_clear()
    fused.launcher.cache_clear()
    sys.modules.pop("semilinear.integrators.run.kernels", None)


# --- the machine, with torch in the kernel's place ---


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The number of values and the memory of every launch."""
    calls: list[tuple[int, int]] = []

    def launch(values: tuple[torch.Tensor, ...], weights: torch.Tensor, into: torch.Tensor) -> None:
        assert all(v.is_contiguous() and v.shape == into.shape for v in (*values, into))
        calls.append((len(values), into.data_ptr()))
        total = values[0] * float(weights[0])
        for value, weight in zip(values[1:], weights[1:]):
            total.add_(value, alpha=float(weight))
        into.copy_(total)

    monkeypatch.setattr(fused, "launcher", lambda: launch)
    monkeypatch.setattr(fused, "unusable", lambda device: None)
    return calls


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_one_kernel_over_its_terms_and_increments(name: str, launched: list[Any]) -> None:
    made = plan(name)
    one, chain = runs(made, states((4, 16), torch.float64))
    rows = [op for step in made.steps for op in step.operations if isinstance(op, Row)]
    assert [count for count, _ in launched] == [len(row.terms) + len(row.noise) for row in rows]
    assert len({place for _, place in launched}) == len(set(made.slots.values()))
    assert torch.equal(one, chain)


def test_the_table_is_made_once_a_plan_and_states_may_have_any_strides(launched: list[Any]) -> None:
    made = plan()
    one, chain = runs(made, states((5, 3)).t())
    assert torch.equal(one, chain)
    table = dict(made.placed)
    runs(made, states((3, 5)))
    assert all(made.placed[key] is value for key, value in table.items())
    assert len(made.placed) == 1


def test_what_a_callback_is_given_is_never_written_over(launched: list[Any]) -> None:
    seen: list[torch.Tensor] = []
    copies: list[torch.Tensor] = []

    def callback(info: Any) -> None:
        seen.append(info.x)
        copies.append(info.x.clone())

    sample(plan(), model, states((3, 5)), callback=callback, backend="fused")
    assert launched
    assert all(torch.equal(a, b) for a, b in zip(seen, copies, strict=True))


def launches(made: Plan, monkeypatch: pytest.MonkeyPatch, device: str, backend: Any, alone: bool) -> int:
    """How many kernels a run on a device launches, nothing being computed."""
    calls: list[str] = []

    def launch(values: Any, weights: torch.Tensor, into: torch.Tensor) -> None:
        assert {weights.device.type, into.device.type, *(v.device.type for v in values)} == {device}
        calls.append(device)

    monkeypatch.setattr(fused, "launcher", lambda: launch)
    callback = None if alone else lambda info: None
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(3, 5, device=device)
        found = sample(made, model, x, backend=backend, callback=callback, check="off")
    assert found.nfe == made.nfe
    return len(calls)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("backend", "on_cuda", "alone", "expected"),
    [
        ("auto", True, True, True),
        ("auto", False, True, False),
        ("auto", True, False, False),
        ("torch", True, True, False),
        ("fused", False, False, True),
    ],
)
def test_the_device_chooses_and_a_word_forces(
    backend: Any, on_cuda: bool, alone: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tensors without data: every row by a kernel or none.  A run that a callback follows is not alone."""
    monkeypatch.setattr(sampler, "refusal", lambda plan, like: None)
    made = plan()
    rows = [op for step in made.steps for op in step.operations if isinstance(op, Row)]
    found = launches(made, monkeypatch, "cuda" if on_cuda else "cpu", backend, alone)
    assert found == (len(rows) if expected else 0)


@pytest.mark.filterwarnings("ignore")
def test_the_device_chooses_the_chain_where_no_kernel_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "refusal", lambda plan, like: "a reason")
    assert launches(plan(), monkeypatch, "cuda", "auto", True) == 0


# --- what is refused, with Triton or without ---


def refused(made: Plan, x: Any, **options: Any) -> str:
    with pytest.raises(
        ValueError, match="backend must be 'auto' or 'torch', got 'fused', which needs"
    ) as found:
        sample(made, lambda x, t: x * 0.5, x, backend="fused", **options)
    auto, chain = (
        sample(made, lambda x, t: x * 0.5, x, backend=b, **options).x.detach() for b in ("auto", "torch")
    )
    torch.testing.assert_close(auto, chain, rtol=1e-5, atol=1e-6)  # float32: sums in another order
    return str(found.value)


def test_without_triton_it_is_refused_and_everything_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    if find_spec("triton") is not None:
        monkeypatch.setattr(fused, "find_spec", lambda name: None)
    assert "triton, which is not installed" in refused(plan(), states((4, 16)))
    forget()


def test_what_no_kernel_does_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = states((3, 5))
    assert "a run that autograd does not follow" in refused(plan(), x.clone().requires_grad_())
    assert "a run that autograd does not follow" in refused(plan(), x, gradients=True)
    elementwise = compile_plan(
        multistep(2, statistics=gaussian(np.linspace(0.5, 1, 5))), VP, steps=4, t_start=0.5, t_end=0.1
    )
    assert "a plan whose coefficients are numbers" in refused(elementwise, x)
    with pytest.raises(ValueError, match="a torch tensor, got ndarray"):
        sample(plan(), lambda x, t: x, x.numpy(), backend="fused")
    with pytest.raises(ValueError, match="backend must be one of"):
        sample(plan(), model, x, backend="triton")  # type: ignore[arg-type]
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(fused, "find_spec", lambda name: name)
    forget()
    assert "a state on a CUDA device" in refused(plan(), x)
    forget()


def test_a_kernel_that_does_not_compile_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def launcher() -> Any:
        raise RuntimeError("no C compiler\nat all")

    forget()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(fused, "find_spec", lambda name: name)
    with monkeypatch.context() as within:
        within.setattr(fused, "launcher", launcher)
        assert refused(plan(), states((3, 5))).endswith("got RuntimeError: no C compiler")
    forget()


def test_torch_adds_few_numbers_in_the_order_of_the_terms() -> None:
    x = states((4, 16))
    assert torch.equal(sample(plan(), model, x, backend="torch").x, sample(plan(), model, x, reuse=False).x)


# --- the kernel ---


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    forget()
    yield
    forget()


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_kernels_is_the_run_of_chains(name: str, dtype: torch.dtype) -> None:
    """To the bit where torch's chain rounds a multiplication and an addition once; else to the rounding of
    both, which later steps enlarge.
    """
    for shape in SHAPES if name == "dpm-solver++-2m" else SHAPES[2:4]:
        one, chain = runs(plan(name), states(shape, dtype))
        assert one.dtype == dtype
        if CONTRACTED:
            assert torch.equal(one, chain)
        else:
            tolerance = 2**10 * torch.finfo(dtype).eps
            torch.testing.assert_close(one, chain, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("terms", [1, 2, 3, 4, 9])
def test_the_first_product_is_rounded_and_each_further_term_once(terms: int) -> None:
    """Of exact rationals, each rounded to float64 by Python."""
    values = tuple(states((terms, 7), torch.float64).unbind())
    weights = torch.linspace(-1.3, 0.7, 12, dtype=torch.float64)
    into = torch.empty(7, dtype=torch.float64)
    fused.launcher()(values, weights, into)
    for i, found in enumerate(into.tolist()):
        total = float(values[0][i]) * float(weights[0])
        for value, weight in zip(values[1:], weights[1:]):
            total = float(Fraction(float(value[i])) * Fraction(float(weight)) + Fraction(total))
        assert found == total


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_in_half_precision_are_widened_as_they_are_read(dtype: torch.dtype) -> None:
    values = tuple(states((3, 33), dtype).unbind())
    weights, into = torch.tensor([0.9, -0.3, 1.7, 0.0]), torch.empty(33)
    fused.launcher()(values, weights, into)
    wide = torch.empty(33)
    fused.launcher()(tuple(v.float() for v in values), weights, wide)
    assert torch.equal(into, wide)


@pytest.mark.parametrize(("kind", "into"), [("fp64", "fp64"), ("fp32", "fp32"), ("bf16", "fp32")])
def test_compiled_for_a_gpu_it_reads_each_value_once_and_adds_with_one_rounding(kind: str, into: str) -> None:
    """Compiled without one, for an H100 or H200: per number one product, n - 1 fused ones and no other sum.

    Loads and stores are of 16 bytes a thread.
    """
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    forget()
    from semilinear.integrators.run.kernels import combine

    source = ASTSource(
        combine,
        signature={
            "values": (f"*{into}", f"*{kind}", f"*{kind}"),
            "weights": f"*{into}",
            "into": f"*{into}",
            "count": "i32",
            "BLOCK": "constexpr",
        },
        constexprs={(4,): fused.BLOCK},
        attrs={place: [["tt.divisibility", 16]] for place in ((0, 0), (0, 1), (0, 2), (1,), (2,), (3,))},
    )
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False}).asm
    each = fused.BLOCK // (4 * 32)  # numbers to a thread
    sums = Counter(re.findall(r"\b(fma|mul|add|sub)\.[\w.]*(?:f32|f64)\b", code["ptx"]))
    assert sums == {"mul": each, "fma": 2 * each}
    moved = Counter(re.findall(r"\b(ld|st)\.global[\w.:]*?\.(v[24])\.b(?:32|64)\b", code["ptx"]))
    size = {"fp64": 8, "fp32": 4, "bf16": 2}
    expected = each * (size[into] + 2 * size[kind]) // 16, each * size[into] // 16
    assert (
        sum(n for (what, _), n in moved.items() if what == "ld"),
        moved["st", f"v{16 // size[into]}"],
    ) == expected
    assert code["cubin"]
