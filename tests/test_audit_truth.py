"""Samplers of which the truth is known: the audit says it, and nothing else."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
import torch
from semilinear.verification.audit.subject import Subject
from semilinear.verification.commands.cli import main
from semilinear.verification.targets.named import Target, target
from semilinear.verification.tracing.compare import compare
from semilinear.verification.tracing.trace import NotLinearError, trace

EDM = sl.schedules.edm()
TIMES = [2.0, 1.4, 1.0, 0.7, 0.5, 0.3]
PLAIN = """
import torch


def euler(model, x, times, scale=1.0):
    for t, s in zip(times, times[1:]):
        x = x + scale * (s - t) * model(x, t)
    return x


def heun(model, x, times):
    for t, s in zip(times, times[1:]):
        d = model(x, t)
        x = x + (s - t) * (d + model(x + (s - t) * d, s)) / 2
    return x


def loud(model, x, times):
    print("{sampling}")
    return euler(model, x, times)


def turning(model, x, times):
    for t, s in zip(times, times[1:]):
        x = x + (s - t) * model(x, t) * (1 + 0.1j)
    return x


class Object:
    def __init__(self, scale=1.0):
        self.scale = scale

    def sample(self, model, x, times):
        return euler(model, x, times, self.scale)


made = Object()
print("{loaded}")
"""


def euler(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * model(x, t)
    return x


def heun(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        d = model(x, t)
        x = x + (s - t) * (d + model(x + (s - t) * d, s)) / 2
    return x


def found(function: Any, *checks: str, claimed: float | None = None, convention: str = "plain") -> list[str]:
    """Findings of some checks, as text."""
    audit = sl.audit(target(function, convention=convention), claimed, only=checks)
    return [f"{f.check} {f.verdict}: {f.message}" for f in audit.findings]


@pytest.fixture
def samplers(tmp_path: Path) -> str:
    """A file of samplers, which prints."""
    path = tmp_path / "samplers.py"
    path.write_text(PLAIN)
    return str(path)


# --- what is no sampler of real states ---


def turned(model: Any, x: Any, times: list[float]) -> Any:
    return euler(lambda y, t: model(y, t) * (1 + 0.1j), x, times)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda m, x, t: euler(m, x, t) * (1 + 0.1j), "must return real states of shape"),
        (turned, "the model must be asked at real states, got complex128 of (3, 1, 2, 3)"),
        (lambda m, x, t: euler(m, x, t).int(), "must return real states of shape"),
        (lambda m, x, t: {"x": euler(m, x, t)}, "got a dict of 1"),
        (lambda m, x, t: (y for y in [x]), "got a generator"),
    ],
)
def test_states_that_are_not_real_fail_once_and_are_no_solver(function: Any, says: str) -> None:
    audit = sl.audit(target(function, convention="plain"), 1, only=["linear", "repeat", "nfe", "identity"])
    (finding,) = audit.findings
    assert finding.verdict == "failed"
    assert says in finding.message
    assert "\n" not in finding.message
    assert audit.identified is None
    assert audit.as_run is None or audit.as_run.verdict != "consistent"


def test_numbers_in_a_list_are_not_rounded() -> None:
    """They were taken for float32, and the sampler said to cast to it."""

    def listed(model: Any, x: Any, times: list[float]) -> Any:
        return euler(model, x, times).tolist()

    assert found(listed, "linear") == []
    assert "dtype noted: float64 states become float32" not in found(listed, "dtype")


# --- memory ---


def test_outputs_of_another_run_are_seen_in_the_rows() -> None:
    """A sampler that starts with the last output of the run before: its row held outputs yet to come."""
    kept: list[Any] = []

    def remembers(model: Any, x: Any, times: list[float]) -> Any:
        for t, s in itertools.pairwise(times):
            d = model(x, t)
            same = [before for before in kept if before.shape == d.shape]
            x = x + (s - t) * (1.5 * d - 0.5 * same[-1] if same else d)
            kept[:] = [d]
        return x

    subject = Subject(target(remembers, convention="plain"))
    subject.read(14)
    with pytest.raises(NotLinearError, match=r"state 1 of 15 holds what .* of another run"):
        subject.read(15)
    assert found(remembers, "orders", "diagnosis", claimed=2)  # no traceback, and no order either


# --- states as images ---


def by_axes(model: Any, x: Any, sigmas: Any) -> Any:
    """Noise levels as a column beside images, as samplers of image models have them."""
    column = x.new_ones([len(x)])
    for a, b in itertools.pairwise(sigmas):
        data = model(x, a * column)
        x = data + (x - data) * (b * column).view(-1, 1, 1, 1) / (a * column).view(-1, 1, 1, 1)
    return x


def test_orders_are_measured_on_images() -> None:
    audit = sl.audit(target(by_axes, convention="k-diffusion"), 1, only=["orders"])
    assert audit.as_run is not None
    assert audit.as_run.verdict == "consistent"
    assert audit.holds


# --- refusals ---


def test_a_refusal_of_few_steps_or_of_a_dtype_is_no_failure() -> None:
    def careful(model: Any, x: Any, times: list[float]) -> Any:
        if len(times) < 6:
            raise ValueError("needs 5 steps")
        if x.dtype == torch.bfloat16:
            raise TypeError("no bfloat16")
        return euler(model, x, times)

    audit = sl.audit(target(careful, convention="plain"), only=["finite", "dtype", "half"])
    assert {f.verdict for f in audit.findings} == {"noted"}
    assert audit.holds
    text = "\n".join(f.message for f in audit.findings)
    assert "refuses float16 states in 4 steps: ValueError: needs 5 steps" in text
    assert "refuses bfloat16 states: TypeError: no bfloat16" in text
    assert "in 1 to 4 steps: ValueError: needs 5 steps" in text  # the number that all of them say


# --- the command line ---


@pytest.mark.parametrize("command", [["audit", "{}:loud", "--only", "nfe"], ["same", "{}:loud", "{}:euler"]])
def test_what_a_sampler_prints_is_not_in_the_json(capsys: Any, samplers: str, command: list[str]) -> None:
    arguments = [word.format(samplers) for word in command]
    assert main([*arguments, "--as", "plain", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "{sampling}" in err
    assert "{loaded}" in err


def test_two_samplers_that_differ_in_what_is_imaginary_are_not_one(capsys: Any, samplers: str) -> None:
    assert main(["same", f"{samplers}:euler", f"{samplers}:turning", "--as", "plain"]) == 2
    assert "must be asked at real states" in capsys.readouterr().err


def test_settings_of_plain_functions_and_objects(samplers: str) -> None:
    def end(text: str) -> float:
        made = target(text, convention="plain")
        return float(trace(made.sampler, EDM, TIMES).rows[-1, 1])

    one = end(f"{samplers}:euler")
    assert end(f"{samplers}:made") == end(f"{samplers}:Object") == one
    assert end(f"{samplers}:euler:scale=2") == end(f"{samplers}:Object:scale=2") == 2 * one
    for text, says in (
        (f"{samplers}:euler:size=2", "function euler does not take size; its parameters are: scale=1.0"),
        (f"{samplers}:Object:size=2", "class Object does not take size; its parameters are: scale=1.0"),
    ):
        with pytest.raises(ValueError, match=says):
            target(text, convention="plain")
    with pytest.raises(ValueError, match="made has a method sample, which --as plain calls"):
        target(f"{samplers}:made")


def test_a_class_may_take_any_settings_and_what_it_raises_is_told() -> None:
    class Any_:
        def __init__(self, **settings: float) -> None:
            if settings.pop("end", None):
                raise SystemExit(3)
            self.sample = heun

    made = target(Any_, convention="plain", settings={"eta": 1.0})
    assert trace(made.sampler, EDM, TIMES).nfe == trace(plainly(heun), EDM, TIMES).nfe
    with pytest.raises(ValueError, match="class Any_ raised SystemExit: 3"):
        target(Any_, convention="plain", settings={"end": 1})


def test_an_object_that_samples_is_a_target() -> None:
    class Sampler:
        def sample(self, model: Any, x: Any, times: list[float]) -> Any:
            return heun(model, x, times)

    made: Target = target(Sampler(), convention="plain")
    assert np.allclose(trace(made.sampler, EDM, TIMES).rows, trace(plainly(heun), EDM, TIMES).rows, rtol=0)
    with pytest.raises(TypeError, match="is told by its convention, plain"):
        target(Sampler())


def plainly(function: Any) -> Callable[[Any], Any]:
    return target(function, convention="plain").sampler


# --- what a maintainer would want to know ---


def em(model: Any, x: Any, times: list[float]) -> Any:
    """Euler-Maruyama of the reverse SDE."""
    for t, s in itertools.pairwise(times):
        x = x + 2 * (s - t) * model(x, t) + math.sqrt(t * t - s * s) * torch.randn_like(x)
    return x


def seeded(model: Any, x: Any, times: list[float]) -> Any:
    torch.manual_seed(0)
    return em(model, x, times)


def overwriting(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        x += (s - t) * model(x, t)
    return x


def overwriting_too(model: Any, x: Any, sigmas: Any) -> Any:
    for t, s in itertools.pairwise(sigmas):
        x += (s - t) / t * (x - model(x, t))
    return x


def consistency(model: Any, x: Any, times: list[float]) -> Any:
    """Data, noised again: its first step knows its time through the model alone."""
    for t, s in itertools.pairwise(times):
        x = x - t * model(x, t) + s * torch.randn_like(x)
    return x


def twice(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * (model(x, t) + model(x, t)) / 2
    return x


@pytest.mark.parametrize(
    ("function", "check", "says", "convention"),
    [
        (
            lambda m, x, t: euler(m, x, t[:-1]),
            "times",
            ["failed: .* do not depend on the last time of the grid", "not asked at 1 of the 20 times"],
            "plain",
        ),
        (
            lambda m, x, t: euler(m, x, t[1:]),
            "times",
            ["failed: .* do not depend on the first time of the grid", "not asked at 1 of the 20 times"],
            "plain",
        ),
        (euler, "times", [], "plain"),
        (consistency, "times", [], "plain"),
        (seeded, "repeat", ["noted: its noise is the same whatever seed torch has"], "plain"),
        (em, "repeat", [], "plain"),
        (lambda m, x, t: heun(m, x, t) + 0 * torch.randn_like(x), "repeat", [], "plain"),
        (overwriting, "repeat", ["noted: it writes into the states that it is given"], "plain"),
        (overwriting_too, "repeat", ["noted: it writes into the states that it is given"], "k-diffusion"),
        (heun, "repeat", [], "plain"),
        (twice, "nfe", ["noted: 20 of 40 evaluations in 20 steps repeat one before"], "plain"),
        (heun, "nfe", [], "plain"),
    ],
)
def test_a_fault_that_costs_no_order_is_found(
    function: Any, check: str, says: list[str], convention: str
) -> None:
    messages = found(function, check, convention=convention)
    assert len(messages) == len(says)
    for message, pattern in zip(messages, says, strict=True):
        assert re.search(pattern, message)


def shifted(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * (model(x, t) + 1e-3)
    return x


def normalised(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        d = model(x, t)
        x = x + (s - t) * d / d.flatten(1).std(1).reshape(-1, 1, 1, 1)
    return x


def clipping(model: Any, x: Any, times: list[float]) -> Any:
    """Data, clipped: of t = 2 on the unit vectors that a sampler is read off on are."""
    for t, s in itertools.pairwise(times):
        data = (x - t * model(x, t)).clamp(-1, 1)
        x = data + s / t * (x - data)
    return x


def test_clipping_is_the_reason_where_coefficients_are_clipped_too() -> None:
    (message,) = found(clipping, "linear")
    assert "values are clipped or thresholded" in message


@pytest.mark.parametrize("function", [shifted, normalised])
def test_what_is_added_besides_start_outputs_and_noise_is_the_reason(function: Any) -> None:
    (message,) = found(function, "linear")
    assert "it adds what is neither start, output nor noise, or scales these itself" in message


def test_a_quotient_near_one_is_not_said_to_be_one() -> None:
    def nearly(model: Any, x: Any, times: list[float]) -> Any:
        return heun(lambda y, t: (1 - 1e-5) * model(y, t), x, times)

    audit = sl.audit(target(nearly, convention="plain"), 2, only=["diagnosis"])
    assert "moment 0 1-1.0e-05 of the exact one" in str(audit.diagnosis)
    assert [f.verdict for f in audit.findings] == ["failed"]


def test_noise_of_one_variance_and_other_covariances_differs_in_these() -> None:
    """The stage's noise is in the end of the step, or another of as much."""

    def stages(shared: bool) -> Callable[[Any], Any]:
        def sampler(run: Any) -> Any:
            x = run.x
            for t, s in itertools.pairwise(run.times):
                first, second = run.noise(x), run.noise(x)
                y = x + first
                x = x + (s - t) * run.model(y, t) + (first if shared else second)
            return x

        return sampler

    a, b = (trace(stages(shared), EDM, TIMES) for shared in (True, False))
    difference = compare(a, b)
    assert difference.first is not None
    assert difference.what.startswith("covariance of the noise with that of evaluation ")
    one, other = difference.what.rpartition(": ")[2].split(" against ")
    assert one != other


# --- assertions ---


@pytest.mark.parametrize(
    ("asserted", "error", "says"),
    [
        (lambda a: a.assert_finite(20), TypeError, "steps must be step counts, got 20"),
        (lambda a: a.assert_checks(), ValueError, "names must be some of linear, .*, got none"),
        (
            lambda a: a.assert_float32(1e-12),
            AssertionError,
            "at t = 0.15 against 0.150000006",
        ),
    ],
)
def test_assertions_say_what_they_cannot_take(asserted: Any, error: type[Exception], says: str) -> None:
    def single(model: Any, x: Any, times: list[float]) -> Any:
        return heun(model, x, [float(np.float32(t)) for t in times])

    with pytest.raises(error, match=says):
        asserted(sl.audit(target(single, convention="plain")))


def test_a_program_s_mistake_is_told_before_its_states(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import json, sys\n"
        "x = json.loads(sys.stdin.readline())['run']['x']\n"
        "print(json.dumps({'evaluate': {'x': x, 't': 'late'}}), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    audit = sl.audit(f"process:{sys.executable} {path}", only=["nfe"])
    (finding,) = audit.findings
    assert "asked for what is none: could not convert string to float: 'late'" in finding.message
