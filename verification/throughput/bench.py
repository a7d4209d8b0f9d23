"""Overhead per step, the model's cost excluded, as multiples of an in-place chain of the same run."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from semilinear.integrators.common import checks, limits

from ..studies.progress import Progress
from ..studies.threads import one_thread
from ..targets.loading import version
from .candidates import CANDIDATES, STEPS, built
from .timing import interleaved, ratio

SCHEMA = "semilinear-throughput/2"
SHAPES = ((4, 16), (64, 3, 32, 32), (16, 4, 64, 64))
ROUNDS = 40
PACKAGES = ("semilinear", "torch", "diffusers", "k-diffusion", "azula")
DEVICES = ("cpu", "cuda")


def key(shape: tuple[int, ...]) -> str:
    """(64, 3, 32, 32) as "64x3x32x32"."""
    return "x".join(map(str, shape))


def bench(
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    device: str = "cpu",
    rounds: int = ROUNDS,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """A record: where it was made, `ratios` (size -> candidate -> multiple of its chain), `microseconds` per
    step likewise, `skipped` (candidate -> reason).

    One thread on a CPU.  Raises ValueError for a device that is not there or fewer than one round.
    """
    checks.one_of("device", device, DEVICES)
    checks.integer("rounds", rounds, 1, limits.ROUNDS)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu, got cuda: torch sees no CUDA device")
    record = circumstances(device) | {"schema": SCHEMA, "steps": STEPS, "rounds": rounds}
    ratios: dict[str, dict[str, float]] = {}
    microseconds: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    with one_thread():
        for k, shape in enumerate(shapes):
            generator = torch.Generator().manual_seed(0)
            x, output = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
            runs, reasons = built(x, output)
            skipped |= reasons
            times = interleaved(runs, rounds, device, _part(progress, k, len(shapes)))
            bounds = {name: times[f"chain of {CANDIDATES[name].operations}"] for name in runs}
            ratios[key(shape)] = {name: ratio(times[name], bounds[name]) for name in runs}
            microseconds[key(shape)] = {
                name: 1e6 * statistics.median(values) / STEPS for name, values in times.items()
            }
    return record | {"ratios": ratios, "microseconds": microseconds, "skipped": skipped}


def _part(progress: Progress, k: int, parts: int) -> Progress:
    """Of one of several equal parts."""
    return lambda done, total: progress(k * total + done, parts * total)


def worse(
    record: Mapping[str, Any], before: Mapping[str, Any], factor: float
) -> list[tuple[str, str, float, float]]:
    """Our own ratios that are more than `factor` times those of another record: size, candidate, before, now.

    Raises ValueError where the two have no ratio in common.
    """
    pairs = [
        (size, name, float(before["ratios"][size][name]), float(now))
        for size, row in record["ratios"].items()
        for name, now in row.items()
        if name.startswith("semilinear") and name in before["ratios"].get(size, {})
    ]
    if not pairs:
        raise ValueError("the record to compare with has none of the ratios that were measured")
    return [(size, name, old, now) for size, name, old, now in pairs if now > factor * old]


class RecordError(ValueError):
    """A file that is no record."""


def record_of(data: Any) -> dict[str, Any]:
    """A record's JSON data, looked at.  Raises RecordError where it has no ratios."""
    ratios = data.get("ratios") if isinstance(data, dict) else None
    rows = list(ratios.values()) if isinstance(ratios, dict) else [None]
    numbers = [v for row in rows for v in (row.values() if isinstance(row, dict) else [None])]
    if not all(v is not None and checks.is_number(v) and v > 0 for v in numbers):
        raise RecordError("no record of `semilinear bench`: ratios must be size -> candidate -> number")
    return dict(data)


def circumstances(device: str) -> dict[str, Any]:
    """Where, when and with what figures are made."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    on = {"name": _processor(), "cores": os.cpu_count(), "driver": None, "cuda": None}
    if device == "cuda":
        on = {
            "name": torch.cuda.get_device_name(0),
            "cores": torch.cuda.get_device_properties(0).multi_processor_count,
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": {"kind": device} | on,
        "load_before": load,
        "python": platform.python_version(),
        "versions": {name: version(name) or None for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _driver() -> str | None:
    import subprocess

    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
