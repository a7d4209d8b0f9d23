"""`semilinear sample` and `semilinear likelihood`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
from semilinear.integrators.run.adaptive import Controller
from semilinear.verification.commands.cli import main
from semilinear.verification.equal_nfe.experiment import NoiseToData
from semilinear.verification.equal_nfe.single import draw
from semilinear.verification.equal_nfe.study import work_precision
from semilinear.verification.studies.likelihood import likelihoods

from tests.roundings import SOME_ULP

PLACE = ["--problem", "gaussian", "--batch", "8"]
WHERE = NoiseToData(sl.problem("gaussian"), batch=8)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_the_error_is_that_of_work_precision() -> None:
    found = draw("dpm-solver++-2m", WHERE, steps=6)
    (row,) = work_precision("dpm-solver++-2m", WHERE, nfe=[6]).rows
    assert (found.nfe, found.final) == (row.nfe, row.final)
    assert found.error == pytest.approx(row.error, rel=SOME_ULP, abs=0)


def test_samples_are_printed_and_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    data = ran(capsys, "sample", "ddim", *PLACE, "--steps", "5", "--out", str(path))
    with np.load(path, allow_pickle=False) as kept:
        states, times = kept["states"], kept["times"]
    assert (states.shape, len(times), data["steps"], data["nfe"]) == ((8, 2), 6, 5, 5)
    assert data["mean"] == pytest.approx(states.mean(0), rel=SOME_ULP, abs=0)
    assert data["error"] == pytest.approx(
        draw(
            "ddim", NoiseToData(sl.problem("gaussian"), batch=8, grid=sl.grids.uniform_lambda()), steps=5
        ).error,
        rel=SOME_ULP,
        abs=0,
    )
    assert main(["sample", "ddim", *PLACE, "--steps", "5"]) == 0
    assert "5 NFE, RMS error" in capsys.readouterr().out


def test_stochastic_runs_and_those_that_denoise_have_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    first, again = (ran(capsys, "sample", "ddim-eta:eta=1", *PLACE, "--steps", "4") for _ in range(2))
    assert first == again  # the seed is that of the noise, too
    assert first["error"] is None
    other = ran(capsys, "sample", "ddim-eta:eta=1", *PLACE, "--steps", "4", "--seed", "1")
    assert other["mean"] != first["mean"]
    denoised = ran(capsys, "sample", "ddim", *PLACE, "--steps", "4", "--denoise")
    assert (denoised["error"], denoised["nfe"]) == (None, 5)


def test_the_embedded_error_chooses_the_steps() -> None:
    loose, tight = (
        draw("dpm-solver-2:low=true", WHERE, controller=Controller(rtol=r, atol=r / 6)) for r in (0.1, 0.01)
    )
    assert loose.error is not None
    assert tight.error is not None
    assert tight.error < loose.error
    assert tight.nfe > loose.nfe
    assert tight.attempts is not None
    assert tight.attempts >= len(tight.times) - 1


def test_a_run_that_leaves_the_numbers_is_a_failed_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grow.py"
    path.write_text(
        "import semilinear as sl\nfrom sympy import Integer\n"
        "def grow():\n"
        "    step = sl.Tableau((), 10**200 * sl.N(0))\n"
        "    return sl.Solver(name='grow', form=sl.forms.noise_in_lambda, "
        "sequence=sl.Ramp((step,)), claimed=1, source='s')\n"
    )
    assert main(["sample", f"{path}:grow", *PLACE, "--steps", "9", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["finite"] is False


def test_likelihoods_are_those_of_the_law(capsys: pytest.CaptureFixture[str]) -> None:
    found = likelihoods(sl.problem("gaussian"), sl.schedules.vp_linear(), batch=4)
    assert found.exact is not None
    # the integration's tolerance, 1e-5, over an interval of about 20 decay times
    assert np.allclose(found.log_density, found.exact, rtol=0, atol=1e-2)
    assert found.bits == pytest.approx(-found.log_density / (2 * math.log(2)), rel=SOME_ULP, abs=0)
    data = ran(capsys, "likelihood", "--problem", "gaussian", "--batch", "4")
    assert data == json.loads(json.dumps(found.data))
    assert main(["likelihood", "--problem", "gaussian", "--batch", "1"]) == 0
    assert "bits per dimension" in capsys.readouterr().out


def test_probes_estimate_the_divergence() -> None:
    exact, estimated = (
        likelihoods(sl.problem("gaussian"), sl.schedules.vp_linear(), batch=2, probes=probes)
        for probes in (None, 64)
    )
    # 64 probes of a trace of size about 10: a standard error of a few tenths at most
    assert np.allclose(exact.log_density, estimated.log_density, rtol=0, atol=1.0)
    assert not np.array_equal(exact.log_density, estimated.log_density)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "nope"], "expected a listed solver"),
        (["sample", "ddim", "--steps", "0"], "--steps must be an integer from 1"),
        (["sample", "ddim", "--atol", "1"], "--atol is for steps that --rtol chooses"),
        (["sample", "ddim", "--rtol", "0.1"], "must be a one-step method with a lower-order row"),
        (["sample", "dpm-solver-2:low=true", "--rtol", "0.1", "--denoise"], "controller must be absent"),
        (["sample", "ddim", "--out", "x.txt"], "--out must end in .npz"),
        (["sample", "ddim", "--grid", "karas"], "--grid must be one of"),
        (["likelihood", "--t-start", "2"], "--t-start must lie in"),
        (["likelihood", "--schedule", "rectified-flow"], "--t-end must have alpha > 0"),
        (["likelihood", "--probes", "0"], "--probes must be an integer from 1"),
        (["likelihood", "--problem", "cats"], "--problem must be one of"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
