"""What a hostile review found, as laws."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.diffusion.sde import vp
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.forms.reverse import sde_data
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.black_box import draw_probes, flow
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.statistics.estimation import estimate, noised
from semilinear.integrators.statistics.table import Tabulated, smooth
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi1
from semilinear.verification.commands.cli import main
from semilinear.verification.replay.golden import DATA, replay_case

VP = vp_linear()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)


@pytest.mark.parametrize("degree", [1, 3])
def test_splines_of_constant_statistics_are_constant(degree: int) -> None:
    table = Tabulated(-5, 5, np.ones(11), np.zeros(11), np.zeros(11))
    at = smooth(table, degree).at(0.3)
    assert (at.l, at.L, at.S, at.B) == pytest.approx((1.0, 5.3, 0.0, 0.0))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "flow"])
def test_statistics_are_estimated_from_every_prediction(prediction: str) -> None:
    data = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = estimate(
        lambda x, t: torch.sin(x) * t, VP, noised(data, VP, 0), -2.0, 2.0, 3, prediction=prediction
    )
    assert np.isfinite(found.s).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gaussian_has_no_slope_to_estimate_in_any_precision(dtype: torch.dtype) -> None:
    data = (0.3 + 0.5 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))).to(dtype)

    def exact(x: torch.Tensor, t: Any) -> torch.Tensor:
        alpha, sigma = (v(torch.as_tensor(t, dtype=torch.float64)) for v in (VP.alpha, VP.sigma))
        slope = sigma / (0.25 * alpha**2 + sigma**2)
        return slope.to(x.dtype) * (x - (0.3 * alpha).to(x.dtype))

    assert abs(estimate(exact, VP, noised(data, VP, 0), -2.0, 2.0, 8).s).max() < 1e-3


@pytest.mark.parametrize("wrong", [lambda x, t: x[:1], lambda x, t: x[:, :1]])
def test_outputs_of_another_shape_are_refused_by_the_black_box_too(wrong: Any) -> None:
    with pytest.raises(ValueError, match="model must return shape"):
        flow(vp(), wrong, X, t_start=1.0, t_end=1e-3)


def test_probes_are_not_the_noise_of_a_plan_with_the_same_seed() -> None:
    assert not torch.equal(draw_probes("gaussian", 2, X, 7)[1], per_sample(7)(1, X))


def test_stage_noise_beyond_the_step_is_refused() -> None:
    tableau = Tableau((Stage(2, 2 * phi1 * N(0)),), phi1 * N(1), stage_noise=True)
    solver = Solver("s", sde_data(), Repeat(tableau, tableau), 1, "test", stochastic=True)
    with pytest.raises(ValueError, match=r"abscissa in \(0, 1\]"):
        compile_plan(solver, VP, steps=3, t_start=0.3, t_end=0.2)
    ode = Solver("s", data_in_lambda, Repeat(tableau, tableau), 1, "test")
    assert compile_plan(ode, VP, steps=3, t_start=0.3, t_end=0.2).nfe == 6


def test_a_case_of_an_exception_must_not_record_results() -> None:
    data = json.loads((DATA / "score-sde.json").read_text())
    index = next(i for i, c in enumerate(data["cases"]) if c["solver"].startswith("predictor"))
    case = copy.deepcopy(data["cases"][index])
    case["options"]["raises"] = "TypeError"
    result = replay_case(data, index, case)
    assert not result.ok
    assert "cannot record" in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dpm-solver-v3-2m", "--param", "statistics=1"], "semilinear"),
        (["euler-ancestral", "--param", "s_noise=1e400"], "noise_scale must be a finite number"),
        (["score-sde-em-released"], "is not measured: its step is 1/N"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    capsys: Any, arguments: list[str], message: str
) -> None:
    assert main(["order", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
