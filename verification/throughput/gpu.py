"""Everything that is to be measured on a GPU, in one run of at most four minutes: `semilinear gpu`.

Each part stands alone: what one raises is recorded in its place, and the record is told after every part, so
that a run that is cut short leaves what it found.  A rehearsal runs the same parts small, on any device.
"""

from __future__ import annotations

import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from semilinear.analysis.convergence import estimate_order
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan, Row
from semilinear.integrators.run import fused
from semilinear.integrators.run.models import discrete_time
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import Backend, sample
from semilinear.integrators.solvers import SOLVERS, make
from torch import nn

from ..problems.mixtures import EmpiricalMixture
from ..problems.named import golden_mixture, rotated_product
from ..studies.own_statistics import generic
from .bench import SHAPES, bench, circumstances, key
from .candidates import OURS, STEPS
from .timing import synchronize

SCHEMA = "semilinear-gpu/2"
SECONDS = 240.0
VP = vp_linear()
Part = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """device: "cuda" or "cpu".  small: a rehearsal."""

    device: str
    small: bool

    @property
    def repeats(self) -> int:
        """Of everything that is timed."""
        return 3 if self.small else 20

    def seconds(self, run: Callable[[], Any], calls: int = 1) -> float:
        """Median time of a run, the device's work included; two runs before are not timed.

        calls: repetitions between two looks at the clock.
        """
        times = []
        for _ in range(self.repeats + 2):
            synchronize(self.device)
            began = time.perf_counter()
            for _ in range(calls):
                run()
            synchronize(self.device)
            times.append((time.perf_counter() - began) / calls)
        return statistics.median(times[2:])

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        """Normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.device, dtype)


class NotHere(Exception):
    """A part that this device has not."""


def plan(name: str, steps: int = STEPS, prediction: str = "x0") -> Plan:
    """Of a listed solver on VP, from 1 to 1e-3."""
    return compile_plan(generic(name), VP, steps=steps, t_start=1.0, t_end=1e-3, prediction=prediction)


def rotating(outputs: Sequence[torch.Tensor]) -> Callable[[Any, Any], torch.Tensor]:
    """A model that returns outputs made beforehand, in turn: what was read last is not what is read next."""
    calls = [0]

    def model(x: Any, t: Any) -> torch.Tensor:
        calls[0] += 1
        return outputs[calls[0] % len(outputs)]

    return model


def rows_of(made: Plan) -> list[Row]:
    """All rows of a plan."""
    return [op for step in made.steps for op in step.operations if isinstance(op, Row)]


def backends(made: Plan, like: torch.Tensor) -> tuple[Backend, ...]:
    """What can make its rows here."""
    return ("torch",) if fused.refusal(made, like) else ("torch", "fused")


# --- the loop ---


def loop(s: Setting) -> Part:
    """(a) 20 steps of 2M beside a copy: bytes per second of what the loop moves, over the copy's.

    Per step three operations move 2 + 3 + 3 states, and one kernel 4; `fused` is the time of that bound over
    the chain's.  `kernel`: the same of one kernel a row, and whether its states are the chain's to the bit.
    """
    made, found = plan("dpm-solver++-2m"), {}
    terms = [len(row.terms) for row in rows_of(made)]
    passes = {"torch": sum(2 + 3 * (n - 1) for n in terms), "fused": sum(n + 1 for n in terms)}
    for batch in (2, 4) if s.small else (64, 256, 1024):
        shape = (batch, 4, 8, 8) if s.small else (batch, 4, 128, 128)
        x, *outputs = (s.randn(*shape, seed=k) for k in range(4))
        target = torch.empty_like(x)
        copy = 2 * x.nbytes / s.seconds(partial(target.copy_, x), 10)  # bytes per second
        rates: Part = {}
        finals: list[torch.Tensor] = []
        for backend in backends(made, x):
            run = partial(sample, made, rotating(outputs), x, check="off", backend=backend)
            took = s.seconds(run)
            rates[backend] = {
                "microseconds_per_step": 1e6 * took / STEPS,
                "of_copy": passes[backend] * x.nbytes / took / copy,
            }
            finals.append(sample(made, rotating(outputs), x, check="off", backend=backend).x)
        chain = rates["torch"]
        whole = passes["fused"] * x.nbytes / copy
        found[key(shape)] = {
            "copy_bytes_per_second": copy,
            **chain,
            "fused": 1e6 * whole / STEPS / chain["microseconds_per_step"],
            "kernel": (
                rates["fused"] | {"same_bits": bool(torch.equal(*finals))}
                if "fused" in rates
                else {"skipped": f"it needs {fused.refusal(made, x)}"}
            ),
        }
    return found


def graph(s: Setting) -> Part:
    """(a) Whole runs of 20 steps replayed from one CUDA graph, beside the loop; the same bits."""
    if s.device != "cuda":
        raise NotHere("CUDA graphs need CUDA")
    rows = {}
    for name in ("dpm-solver++-2m", "unipc-2-bh2", "sde-dpm-solver++-2m"):
        made = plan(name)
        for shape in SHAPES:
            x, output = s.randn(*shape), s.randn(*shape, seed=1)
            for backend in backends(made, x):
                rows[f"{name} {key(shape)} {backend}"] = _replayed(s, capturable(made, x, output, backend))
    return rows


def _replayed(s: Setting, run: Callable[[], torch.Tensor]) -> Part:
    with torch.no_grad():
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run(), run()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            replayed = run()
        captured.replay()
        torch.cuda.synchronize()
        return {
            "same_bits": bool(torch.equal(replayed, run())),
            "microseconds_per_step": 1e6 * s.seconds(run) / STEPS,
            "replayed_microseconds_per_step": 1e6 * s.seconds(captured.replay) / STEPS,
        }


def capturable(
    made: Plan, x: torch.Tensor, output: torch.Tensor, backend: Backend = "auto"
) -> Callable[[], torch.Tensor]:
    """A run that a graph can hold: nothing is read back."""
    noise = per_sample(0) if made.stochastic else None

    def run() -> torch.Tensor:
        final: torch.Tensor = sample(
            made, lambda x, t: output, x, noise=noise, check="off", backend=backend
        ).x
        return final

    return run


def noise_cost(s: Setting) -> Part:
    """Noise per sample, drawn on the device, beside torch's generator there: microseconds a draw."""
    rows = {}
    for shape in ((4, 16),) if s.small else (*SHAPES, (512, 3, 32, 32)):
        like, noise = torch.zeros(shape, device=s.device), per_sample(0)
        rows[key(shape)] = {
            "per_sample": 1e6 * s.seconds(partial(noise, 0, like)),
            "torch": 1e6 * s.seconds(partial(torch.randn_like, like)),
        }
    return rows


# --- with a network ---


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm that the time shifts and scales."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.time = nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """x (batch, tokens, width), time (batch, width)."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.time(time)[:, None].chunk(6, -1)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norms[0](x) * (1 + scale) + shift).chunk(3, -1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.out(mixed)
        out: torch.Tensor = x + gate_2 * self.mlp(self.norms[1](x) * (1 + scale_2) + shift_2)
        return out


class Transformer(nn.Module):
    """A small diffusion transformer (Peebles & Xie 2023) over patches of 2 x 2, with random weights."""

    def __init__(self, channels: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, width, 2, 2)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.unpatch = nn.ConvTranspose2d(width, channels, 2, 2)
        self.frequencies: torch.Tensor
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, -9, width // 2)))

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """x (batch, channels, h, w), label (batch,)."""
        angle = label.float()[:, None] * self.frequencies.float()
        time = self.time(torch.cat([angle.cos(), angle.sin()], -1).to(x.dtype))
        tokens = self.patch(x)
        grid = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, time)
        out: torch.Tensor = self.unpatch(tokens.transpose(1, 2).unflatten(2, grid))
        return out


def network(s: Setting) -> Part:
    """(b) Samples per second with a transformer in bfloat16, and the sampler's share of the time."""
    width, depth, size, batch = (32, 2, 8, 2) if s.small else (512, 12, 64, 64)
    torch.manual_seed(0)
    net = Transformer(4, width, depth, max(1, width // 64)).to(s.device, torch.bfloat16).eval()
    model = discrete_time(net, 1000)
    x = s.randn(batch, 4, size, size, dtype=torch.bfloat16)
    rows: Part = {"parameters": sum(p.numel() for p in net.parameters()), "state": list(x.shape)}
    short = Setting(s.device, True)  # three repeats: a run is long
    with torch.no_grad():
        output = model(x, 0.5)
        calls = short.seconds(lambda: model(x, 0.5), 2 if s.small else STEPS)
        for name in ("dpm-solver++-2m", "unipc-2-bh2", "sde-dpm-solver++-2m"):
            made = plan(name, 4 if s.small else STEPS, "eps")
            noise = per_sample(0) if made.stochastic else None
            whole = short.seconds(partial(sample, made, model, x, noise=noise))
            alone = short.seconds(partial(sample, made, lambda x, t: output, x, noise=noise))
            rows[name] = {
                "samples_per_second": batch / whole,
                "seconds_per_run": whole,
                "sampler_alone_share": alone / whole,
                "beyond_the_models_calls_share": 1 - made.nfe * calls / whole,
            }
    return rows


def peers(s: Setting) -> Part:
    """(c) Other libraries beside the loop, in one run; `over_ours`: their time over that of semilinear 2M."""
    shapes = ((4, 16),) if s.small else (*SHAPES, (64, 4, 128, 128))
    record = bench(shapes, s.device, 2 if s.small else 8)
    over = {
        size: {name: value / row["semilinear 2M"] for name, value in row.items() if not name.startswith(OURS)}
        for size, row in record["microseconds"].items()
    }
    return {k: record[k] for k in ("ratios", "microseconds", "skipped")} | {"over_ours": over}


# --- the laws ---


def scores(s: Setting) -> Part:
    """(d) Exact scores of mixtures over data points, beside their two matrix products."""
    rows = {}
    for n, d, batch in ((50, 8, 16),) if s.small else ((1797, 64, 4096), (1797, 3072, 4096)):
        points = np.random.default_rng(0).standard_normal((n, d))
        model = EmpiricalMixture(points, 0.2).model(VP)
        x, p = s.randn(batch, d), torch.tensor(points, dtype=torch.float32, device=s.device)
        took = s.seconds(partial(model, x, 0.5))
        products = s.seconds(partial(_products, x, p))
        rows[f"{n}x{d} at {batch}"] = {"microseconds": 1e6 * took, "over_two_products": took / products}
    return rows


def _products(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return (x @ p.T) @ p


def order(s: Setting) -> Part:
    """(d) Orders measured with states on the device, in float64, against an exact flow."""
    problem, start, end = rotated_product(), 0.5, 0.1
    x = s.randn(4 if s.small else 64, 2, dtype=torch.float64)
    flow = problem.flow(VP, x.cpu().numpy(), start, end, 20).astype(float)
    exact = torch.tensor(flow, device=s.device)
    rows, model = {}, problem.model(VP)
    for name in ("ddim", "dpm-solver++-2m", "dpm-solver-3"):
        ladder, errors = (8, 11, 16, 23, 32, 45, 64), []
        for n in ladder:
            made = compile_plan(make(name), VP, steps=n, t_start=start, t_end=end)
            errors.append(torch.linalg.vector_norm(sample(made, model, x).x - exact, dim=1).cpu().numpy())
        found = estimate_order(ladder, np.array(errors))
        rows[name] = {
            "claimed": make(name).claimed,
            "low": found.low,
            "order": found.order,
            "high": found.high,
        }
    return rows


# --- the same numbers ---


def correctness(s: Setting) -> Part:
    """(e) Every listed solver in float64 beside the CPU, to 1e-12 of the largest component; in half precision
    beside float64, to 16 roundings; noise to the bit.  fused_differs: solvers whose states by one kernel a
    row are not the chain's to the bit.
    """
    model, names = golden_mixture().model(VP), list(SOLVERS)[:: 60 if s.small else 1]
    x = s.randn(16, 2, dtype=torch.float64)
    largest: dict[str, float] = {}
    differing: list[str] = []
    for name in names:
        made = plan(name, 24, "eps")  # Score-SDE's betas need more than 20
        noise = per_sample(5) if made.stochastic else None
        *chain, last = (partial(sample, made, model, noise=noise, backend=b) for b in backends(made, x))
        found, here = last(x).x, sample(made, model, x.cpu(), noise=noise).x
        largest[name] = float((found.cpu() - here).abs().max() / here.abs().max())
        differing += [name for run in chain if not torch.equal(found, run(x).x)]
    halves = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        made = plan("dpm-solver++-2m", prediction="eps")
        smooth = lambda x, t: torch.tanh(x) * 0.5  # noqa: E731
        exact = sample(made, smooth, x).x
        found = sample(made, smooth, x.to(dtype)).x.double()
        halves[str(dtype).removeprefix("torch.")] = {
            "error": float((found - exact).abs().max() / exact.abs().max()),
            "bound": 16 * torch.finfo(dtype).eps,
        }
    like = torch.zeros(33, 3, 7, 5, dtype=torch.float64)
    same = bool(torch.equal(per_sample(9)(4, like.to(s.device)).cpu(), per_sample(9)(4, like)))
    return {
        "solvers": len(names),
        "bound": 1e-12,
        "beyond": {name: value for name, value in largest.items() if not value <= 1e-12},
        "largest": max(largest.values()),
        "precisions": halves,
        "noise_same_bits": same,
        "fused_differs": differing,
    }


PARTS: dict[str, Callable[[Setting], Part]] = {
    "correctness": correctness,
    "loop": loop,
    "graph": graph,
    "noise": noise_cost,
    "network": network,
    "peers": peers,
    "scores": scores,
    "order": order,
}


@contextmanager
def _timed(entry: Part) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        entry["seconds"] = round(time.monotonic() - began, 2)


def measure(
    setting: Setting, tell: Callable[[str, Part], None] | None = None, seconds: float = SECONDS
) -> Part:
    """All parts as one record: part -> `found`, or `skipped` or `error` with the reason, and `seconds`.

    tell: called with the name of every part that is over, and the record so far.  seconds: a part that would
    begin later is skipped.  Raises ValueError for a device that is not there.
    """
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu, got cuda: torch sees no CUDA device")
    began = time.monotonic()
    record: Part = circumstances(setting.device) | {"schema": SCHEMA, "rehearsal": setting.small}
    record["parts"] = {}
    for name, part in PARTS.items():
        entry: Part = {}
        record["parts"][name] = entry
        with _timed(entry):
            if time.monotonic() - began > seconds:
                entry["skipped"] = f"{seconds:g} seconds are over"
            else:
                entry |= _found(part, setting)
        if tell is not None:
            tell(name, record)
    return record


def _found(part: Callable[[Setting], Part], setting: Setting) -> Part:
    try:
        found = {"found": part(setting)}
        json.dumps(found, allow_nan=False)
        return found
    except NotHere as reason:
        return {"skipped": str(reason)}
    except Exception as error:  # one part's failure is no other's
        return {
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc().splitlines()[-12:],
        }
