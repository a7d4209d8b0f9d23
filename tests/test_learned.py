"""The learned digits: recipe, weights, problem, study; and models that are plain modules, of any dtype."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
import torch
from semilinear.integrators.diffusion.prediction import rescheduled
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, vp_linear
from semilinear.integrators.diffusion.sde import vp
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.black_box import flow, log_likelihood
from semilinear.integrators.run.models import (
    classifier,
    classifier_free,
    classifier_free_network,
    discrete_time,
)
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.integrators.statistics.estimation import Derivatives, Draw, estimate, noised, regress
from semilinear.verification.commands.cli import main
from semilinear.verification.learned import judges, study
from semilinear.verification.learned.report import write
from semilinear.verification.problems.digits_network import (
    BIN,
    DEVIATION,
    TINY,
    DigitsNetwork,
    Recipe,
    levels_of,
    split,
    train,
)
from semilinear.verification.problems.learned_digits import learned_digits, network_of
from semilinear.verification.problems.named import golden_mixture
from semilinear.verification.problems.network import NetworkProblem
from semilinear.verification.problems.weights import NoWeights, load, made, path_of, save
from semilinear.verification.reporting.learned import markdown, sheet
from semilinear.verification.studies.experiment import Experiment
from semilinear.verification.studies.flow import run

from tests.roundings import FLOAT32, SOME_ULP

ROOT = Path(__file__).parents[1]
VP = vp_linear()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: Any) -> Any:
    """A cache folder that holds the tiny network's weights alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        network_of.cache_clear()
        made(TINY)
        yield path_of(TINY).parent
    network_of.cache_clear()


# --- recipe and network ---


def test_every_part_of_the_recipe_is_in_its_hash() -> None:
    changed = {
        f.name: dataclasses.replace(TINY, **{f.name: getattr(TINY, f.name) / 2 + 1 // 2})
        if isinstance(getattr(TINY, f.name), float)
        else dataclasses.replace(TINY, **{f.name: getattr(TINY, f.name) + 1})
        for f in dataclasses.fields(Recipe)
    }
    assert len({TINY.digest, *(r.digest for r in changed.values())}) == 1 + len(changed)
    assert Recipe(**dataclasses.asdict(TINY)).digest == TINY.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer from 1 to 1000000, got 0"),
        ({"width": 2.5}, "width must be an integer"),
        ({"held_out": 1797}, "held_out must be an integer from 1 to 1796"),
        ({"rate": 0}, "rate must be a positive number"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_bad_recipes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_an_untrained_network_is_its_skip_connection() -> None:
    """F = 0 at first: D = s^2/(sigma^2 + s^2) x, the best of a Gaussian of deviation s."""
    x, sigma = torch.randn(3, 64), torch.tensor([[0.1], [1.0], [30.0]])
    expected = x * DEVIATION**2 / (sigma**2 + DEVIATION**2)
    torch.testing.assert_close(DigitsNetwork(TINY)(x, sigma), expected, rtol=FLOAT32, atol=0)


def test_training_is_repeatable_and_leaves_the_generator_alone() -> None:
    recipe = dataclasses.replace(TINY, steps=3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = train(recipe).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second = train(recipe).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = train(dataclasses.replace(recipe, seed=1)).state_dict()
    assert not torch.equal(first["enter.weight"], other["enter.weight"])


def test_training_learns() -> None:
    """More than a denoiser that knows the pixels' deviation alone."""
    x = torch.tensor(split(TINY)[0].x[:200], dtype=torch.float32)
    noisy = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    def loss(network: DigitsNetwork) -> float:
        return float(((network(noisy, 1.0) - x) ** 2).mean().detach())

    assert loss(train(TINY)) < 0.8 * loss(DigitsNetwork(TINY))


def test_no_digit_is_both_trained_on_and_held_out() -> None:
    train_part, held = split(TINY)
    assert len(train_part.levels) + len(held.levels) == 1797
    assert len(held.levels) == TINY.held_out
    spread = held.dequantised(0)
    assert np.abs(spread - held.x).max() <= BIN / 2
    assert np.array_equal(levels_of(spread), held.levels)


# --- weights ---


def test_weights_come_back_as_they_were(cache: Path, tmp_path: Path) -> None:
    network = train(dataclasses.replace(TINY, steps=1))
    save(network, TINY, tmp_path / "w.safetensors")
    again = load(TINY, tmp_path / "w.safetensors")
    own, found = network.state_dict(), again.state_dict()
    assert all(torch.equal(own[k], found[k]) for k in own)
    assert not again.training


def test_weights_that_are_not_there_are_asked_for(cache: Path) -> None:
    with pytest.raises(NoWeights, match="make them with `semilinear train`"):
        load(Recipe(seed=99))
    with pytest.raises(NoWeights):
        learned_digits(Recipe(seed=99)).model(VP)


def test_weights_are_read_before_a_transform_runs(cache: Path) -> None:
    network_of.cache_clear()
    model, x = learned_digits(TINY).model(VP), torch.zeros(2, 64, dtype=torch.float64)
    assert torch.func.jvp(lambda x: model(x, 0.5), (x,), (x + 1,))[1].abs().sum() > 0


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}), b"\xff" * 64])
def test_what_holds_no_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(NoWeights, match="holds no weights"):
        load(TINY, tmp_path / "w.safetensors")


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    wider = dataclasses.replace(TINY, width=24)
    save(DigitsNetwork(wider), wider, tmp_path / "w.safetensors")
    with pytest.raises(NoWeights, match="another network"):
        load(TINY, tmp_path / "w.safetensors")


def test_the_command_trains_once_and_draws(cache: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = ["train", "--steps", "2", "--width", "8", "--json"]
    found = []
    for more in ([], ["--plot", str(tmp_path / "sheet.png")]):
        assert main([*arguments, *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [f["made"] for f in found] == [True, False]
    assert found[0]["recipe"]["steps"] == 2
    assert Path(found[0]["weights"]).parent == cache
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert main(["train", "--steps", "0", "--json"]) == 2
    assert "--steps must be an integer >= 1" in json.loads(capsys.readouterr().err)["error"]


# --- the problem ---


@pytest.mark.parametrize("schedule", [VP, rectified_flow()], ids=lambda s: s.kind)
def test_a_model_is_the_same_under_another_schedule(schedule: Any) -> None:
    """A mixture's own model under either schedule; and its derivative in time."""
    law, trained = golden_mixture(), edm()
    there = rescheduled(law.model(trained), trained, schedule)
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
    for t in (0.1, 0.6):
        torch.testing.assert_close(there(x, t), law.model(schedule)(x, t), rtol=SOME_ULP, atol=0)
    found, expected = (Derivatives(m, schedule).total(x, 0.3)[1] for m in (there, law.model(schedule)))
    torch.testing.assert_close(found, expected, rtol=0, atol=SOME_ULP)


def test_the_problem_is_the_networks_flow(cache: Path) -> None:
    p, t = learned_digits(TINY), 0.4
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    x = torch.tensor(p.data(5, 0))
    clean = network_of(TINY)(x / alpha, sigma / alpha)
    torch.testing.assert_close(p.model(VP)(x, t), (x - alpha * clean) / sigma, rtol=0, atol=SOME_ULP)
    assert p.dimension == 64
    assert not p.exact_flow


def test_orders_show_on_a_learned_score(cache: Path) -> None:
    e = Experiment(learned_digits(TINY), batch=2, ladder=(8, 12, 16, 24, 32, 48, 64), tolerance=1e-11)
    for name in ("ddim", "dpm-solver++-2m"):
        assert sl.measure(name, e).verdict == "consistent"


@pytest.mark.slow
def test_every_order_that_is_proved_shows_on_a_learned_score(cache: Path) -> None:
    rows = study.orders(TINY, study.Size(batch=2, finest=256))["orders"]
    assert {row["solver"]: row["verdict"] for row in rows} == dict.fromkeys(study.ORDERS, "consistent")
    assert any(row["source_claims"] > row["claimed"] for row in rows)


# --- plain modules, float32, gradients ---


class Plain(torch.nn.Module):
    """A module as people write them: float32, parameters that require gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))

    def forward(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        at = torch.as_tensor(t, dtype=x.dtype).expand(len(x), 1)
        found: torch.Tensor = self.net(torch.cat([x, at], 1))
        return found


class Told(Plain):
    """A module that is told a condition."""

    def forward(self, x: torch.Tensor, t: Any, condition: Any = 0.0) -> torch.Tensor:
        return super().forward(x, t) + torch.as_tensor(condition).to(x)[:, None]


class Labelled(Plain):
    """A module of discrete times."""

    def forward(self, x: torch.Tensor, label: Any) -> torch.Tensor:
        found: torch.Tensor = self.net(torch.cat([x, label[:, None] / 1000], 1))
        return found


X = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
PLAN = compile_plan(make("dpm-solver++-2m"), VP, steps=6, t_start=0.9, t_end=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_module_is_called_in_its_own_dtype(dtype: torch.dtype) -> None:
    seen = set()
    module = Plain()
    module.net.register_forward_hook(lambda m, given, out: seen.add(out.dtype))
    found = sample(PLAN, module, X.to(dtype)).x
    assert seen == {torch.float32}
    assert found.dtype == dtype
    exact = sample(PLAN, Plain().double(), X).x
    tolerance = 3e-2 if dtype == torch.bfloat16 else 1e-5  # units of rounding of the states: 4e-3, 6e-8
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)


def test_a_module_is_taken_wherever_a_model_is() -> None:
    module, sde = Plain(), vp()
    assert flow(sde, module, X, t_start=0.5, t_end=0.4).x.dtype == torch.float64
    assert log_likelihood(sde, module, X, t_start=0.4, t_end=0.5).log_density.shape == (4,)
    found, exact = (estimate(m, VP, noised(X, VP, 0), -0.5, 0.5, 4).l for m in (module, Plain().double()))
    assert found == pytest.approx(exact, rel=0, abs=FLOAT32)  # outputs in float32, none beyond 1
    made_of_modules = (
        classifier_free(module, Plain(), 1.5),
        classifier_free_network(Told(), torch.ones(4), torch.zeros(4), 1.5),
        discrete_time(Labelled(), 1000),
        classifier(module, VP, lambda x, t: -(x**2).sum(1)),
    )
    for model in made_of_modules:
        assert sample(PLAN, model, X).x.dtype == torch.float64


def test_nothing_requires_a_gradient_unless_told() -> None:
    module = Plain().double()
    assert not sample(PLAN, module, X).x.requires_grad
    told = sample(PLAN, module, X, gradients=True).x
    told.sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    leaf = X.clone().requires_grad_(True)
    (by_state,) = torch.autograd.grad(sample(PLAN, module, leaf).x.sum(), leaf)
    (with_parameters,) = torch.autograd.grad(sample(PLAN, module, leaf, gradients=True).x.sum(), leaf)
    torch.testing.assert_close(by_state, with_parameters, rtol=SOME_ULP, atol=0)
    with pytest.raises(TypeError, match="gradients must be True or False"):
        sample(PLAN, module, X, gradients=1)  # type: ignore[arg-type]


def test_a_transform_that_asks_for_a_gradient_gets_it() -> None:
    """Of what a model closes over, and of a state within vmap: neither requires a gradient by itself."""

    def total(w: Any) -> torch.Tensor:
        return sample(PLAN, lambda x, t: torch.sin(x) * w, X).x.sum()

    h = 1e-6
    expected = (total(0.3 + h) - total(0.3 - h)) / (2 * h)
    found = torch.func.grad(total)(torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=SOME_ULP, atol=0)

    model = Plain().double()

    def rows(x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(lambda row: sample(PLAN, model, row[None], check="off").x[0])(x).sum()

    leaf = X.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(sample(PLAN, model, leaf).x.sum(), leaf)
    torch.testing.assert_close(torch.func.grad(rows)(X), expected, rtol=SOME_ULP, atol=0)


def test_a_guided_model_needs_no_gradients_of_the_run() -> None:
    """torch.func inside the model, or autograd where the model enables it."""

    def by_autograd(x: torch.Tensor, t: Any) -> torch.Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            return torch.autograd.grad((leaf**4).sum() / 4, leaf)[0]

    expected = sample(PLAN, lambda x, t: x**3, X).x
    torch.testing.assert_close(sample(PLAN, by_autograd, X).x, expected, rtol=SOME_ULP, atol=0)
    by_func = sample(PLAN, lambda x, t: torch.func.grad(lambda y: (y**4).sum() / 4)(x), X).x
    torch.testing.assert_close(by_func, expected, rtol=SOME_ULP, atol=0)


def test_a_plain_module_is_measured() -> None:
    """In float64, whatever its weights are in; or in float32, down to where its rounding ends the ladder."""
    module, ladder = Plain(), (8, 12, 16, 24, 32, 48, 64, 96, 128)
    samples = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    e = Experiment(sl.problem(module, samples), batch=4, ladder=ladder, tolerance=1e-12)
    assert sl.measure("dpm-solver++-2m", e).verdict == "consistent"
    assert next(module.parameters()).dtype == torch.float32  # the caller's own is left alone
    coarse = Experiment(sl.problem(module, samples, dtype=torch.float32), batch=4, ladder=ladder)
    found = run(make("dpm-solver++-2m"), coarse)
    assert found.verdict == "consistent"
    assert min(p.floor for p in found.estimate.points) > 1e-6


def test_a_module_alone_is_no_problem() -> None:
    with pytest.raises(TypeError, match=r"sl\.problem\(model, samples\)"):
        Experiment(Plain())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="samples must be a tensor"):
        sl.problem(Plain())
    with pytest.raises(TypeError, match="samples and options are for models"):
        sl.problem("gaussian", X)
    with pytest.raises(TypeError, match="dtype must be a floating dtype"):
        NetworkProblem(Plain(), X, dtype="float32")  # type: ignore[arg-type]


# --- statistics in parts ---


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_in_parts_are_those_of_the_whole(weighted: bool) -> None:
    law = golden_mixture()
    data = torch.tensor(law.data(41, 0))
    most: list[int] = []

    def model(x: torch.Tensor, t: Any) -> torch.Tensor:
        most.append(len(x))
        found: torch.Tensor = law.model(VP)(x, t)
        return found

    weights = torch.rand(41, generator=torch.Generator().manual_seed(1)).double() if weighted else None
    given = noised(data, VP, 0, probes=3)

    def draws(i: int, t: float) -> Draw:
        return given(i, t)._replace(weights=weights)

    whole = estimate(model, VP, draws, -1.0, 1.0, 2)
    assert max(most) == 41
    most.clear()
    parts = estimate(model, VP, draws, -1.0, 1.0, 2, batch=17)
    assert max(most) == 17
    for name in "lsb":  # the moments' own conditioning, of 41 states, is below 1e3
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=SOME_ULP, atol=SOME_ULP)


def test_a_far_mean_loses_no_digits_in_parts() -> None:
    """Variances are merged, not taken as E f^2 - (E f)^2, which would leave nothing of them here."""
    far = torch.arange(12, dtype=torch.float64)[:, None] / 12 + 1e7
    derivatives = Derivatives(lambda x, t: torch.sin(x - 1e7) + 1e7 + 0 * t, VP, time="difference")
    zero = torch.zeros(1, dtype=torch.float64)
    whole, parts = (regress(derivatives, Draw(far), 0.0, zero, zero, batch=b) for b in (12, 5))
    torch.testing.assert_close(parts.s, whole.s, rtol=1e-7, atol=0)  # of 1e7, in squares


# --- distances and the study ---


def test_the_energy_distance_is_the_known_one_of_two_gaussians() -> None:
    """E|N(m, 2)| = 2/sqrt(pi) exp(-m^2/4) + m erf(m/2); the same law gives 0 within its error."""
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 600, 1))
    shift = 1.5
    between = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    exact = 2 * between - 4 / math.sqrt(math.pi)
    apart, same = judges.energy_distance(x, y + shift), judges.energy_distance(x, z)
    assert abs(apart.value - exact) < 4 * apart.error < 0.6 * exact
    assert abs(same.value) < 4 * same.error


def test_a_share_of_all_has_an_error() -> None:
    known = split(TINY)[0]
    found = judges.agreement(known.x[:20], known.classes[:20], known)
    assert found.value > 0.9
    assert found.error > 0.02


def test_classes_and_halves_are_told_apart(cache: Path) -> None:
    size = study.Size(samples=10, steps=4)
    rows = study.conditional(TINY, size)["conditional"]
    assert [row["scale"] for row in rows] == list(study.SCALES)
    found = study.inpainting(TINY, size)
    nearest = found["inpainting"][-1]
    assert nearest["by"] == "nearest training digit"
    assert 0.2 < nearest["rms"] < 0.8
    truth, half, filled = (np.array(s["images"]) for s in found["filled"])
    assert np.array_equal(half[:, :32], truth[:, :32])
    assert np.array_equal(filled[:, :32], truth[:, :32])
    assert not half[:, 32:].any()


def test_a_sheet_holds_every_image() -> None:
    images = np.arange(12 * 64).reshape(12, 64) % 17
    side = sheet(images.tolist(), 5)
    assert side.shape == (27, 45)
    assert np.array_equal(side[9:17, 9:17].ravel(), images[6])


@pytest.mark.slow
def test_the_study_is_written(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "ORDERS", ("ddim",))
    size = study.Size(batch=2, finest=32, budgets=(5, 10), samples=20, likelihoods=2, steps=4)
    seen: list[tuple[int, int]] = []
    data = study.study(TINY, size, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    write(tmp_path, data)
    assert (
        markdown(json.loads((tmp_path / "learned.json").read_text())) == (tmp_path / "learned.md").read_text()
    )
    kinds = {name: [r["error"] for r in data["sampling"] if r["solver"] == name] for name in study.SAMPLERS}
    assert kinds["dpm-solver++-2m"][1] < kinds["dpm-solver++-2m"][0]
    assert kinds["sde-dpm-solver++-2m"] == [None, None]
    assert all(row["nfe"] <= row["budget"] < 2 * row["nfe"] for row in data["sampling"])


def test_the_committed_report_is_rendered_from_its_data() -> None:
    data = json.loads((ROOT / "reports" / "learned.json").read_text())
    assert markdown(data) == (ROOT / "reports" / "learned.md").read_text()
    assert data["digest"] == Recipe().digest
