from __future__ import annotations

import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, sub_vp, ve, vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.verification.problems import constants
from semilinear.verification.problems.mixtures import EmpiricalMixture, GaussianMixture
from semilinear.verification.problems.named import PROBLEMS, digits, golden_mixture, marginal_samples, problem
from semilinear.verification.problems.products import RotatedProduct, rational_rotation
from semilinear.verification.problems.reference import reference
from torch.utils._python_dispatch import TorchDispatchMode

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP, THIRTY_DIGITS, ULP

VP = vp_linear()
SMALL = ("gaussian", "mixture-1d", "rotated-product-2d", "rotated-product-8d", "golden-mixture")


def log_density(p: Any, x: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """The density of alpha x_0 + sigma eps from its definition, as a sum of Gaussians."""
    if isinstance(p, GaussianMixture):
        parts = [(w, m, c) for w, m, c in zip(p.weights, p.means, p.covariances)]
    elif isinstance(p, EmpiricalMixture):
        c = p.bandwidth**2 * np.eye(p.dimension)
        parts = [(1 / len(p.points), m, c) for m in p.points]
    else:
        rotation = np.array([[float(v) for v in row] for row in p.rotation])
        grids = np.meshgrid(*[range(p.weights.shape[1])] * p.dimension)
        parts = []
        for k in zip(*(g.ravel() for g in grids)):
            i = np.arange(p.dimension)
            m, c = rotation @ p.means[i, k], rotation @ np.diag(p.variances[i, k]) @ rotation.T
            parts.append((float(np.prod(p.weights[i, k])), m, c))
    terms = []
    for w, m, c in parts:
        law = torch.distributions.MultivariateNormal(
            torch.tensor(alpha * m), torch.tensor(alpha**2 * c + sigma**2 * np.eye(p.dimension))
        )
        terms.append(law.log_prob(x) + np.log(w))
    return torch.logsumexp(torch.stack(terms), 0)


@pytest.mark.parametrize(
    "name", ["gaussian", "mixture-1d", "rotated-product-2d", "golden-mixture", "digits-0.8"]
)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_the_model_is_the_score_of_the_marginal(name: str, t: float) -> None:
    p = problem(name)
    if name.startswith("digits"):
        p = EmpiricalMixture(p.points[:40], 0.8)
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    x = torch.tensor(marginal_samples(p, VP, t, 5, 0)).requires_grad_(True)
    (score,) = torch.autograd.grad(log_density(p, x, alpha, sigma).sum(), x)
    torch.testing.assert_close(p.model(VP)(x.detach(), t), -sigma * score, rtol=MANY_ULP, atol=MANY_ULP)


@pytest.mark.parametrize("name", SMALL)
def test_numpy_and_multiprecision_models_agree_with_torch(name: str) -> None:
    p, xp = problem(name), multiprecision(40)
    x = marginal_samples(p, VP, 0.3, 4, 1)
    by_torch = p.model(VP)(torch.tensor(x), 0.3).numpy()
    assert np.allclose(p.model(VP)(x, 0.3), by_torch, rtol=0, atol=SOME_ULP)
    exact = p.model(VP)(xp.number(x), xp.number(0.3))
    assert np.allclose(exact.astype(float), by_torch, rtol=0, atol=SOME_ULP)


def test_the_multiprecision_model_has_all_its_digits() -> None:
    """Against a numerical derivative of the log density from its definition, in 80 digits."""
    p, xp = problem("mixture-1d"), multiprecision(60)
    context, t, at = multiprecision(80).context, xp.number(0.3), xp.number(0.4)
    alpha, sigma = context.mpf(VP.alpha(t)), context.mpf(VP.sigma(t))

    def log_p(x: Any) -> Any:
        total = context.mpf(0)
        for w, m, v in zip(p.weights[0], p.means[0], p.variances[0], strict=True):
            variance = context.mpf(v) * alpha**2 + sigma**2
            total += (
                context.mpf(w)
                * context.exp(-((x - alpha * m) ** 2) / (2 * variance))
                / context.sqrt(variance)
            )
        return context.log(total)

    eps = p.model(VP)(np.array([[at]], dtype=object), t)[0, 0]
    assert abs(eps + sigma * context.diff(log_p, context.mpf(at))) < 1e-57  # of 60 digits


def test_far_away_states_do_not_overflow() -> None:
    """eps = sigma (alpha^2 C + sigma^2)^-1 (x - alpha m) there: between 0 and (x - alpha m)/sigma."""
    for name in ("golden-mixture", "mixture-1d", "digits-0.8", "digits-0"):
        p = problem(name)
        x = torch.full((1, p.dimension), 1e4, dtype=torch.float64)
        share = float((p.model(VP)(x, 0.01) * x).sum() / (x * x).sum()) * VP.sigma(0.01)
        assert 0 < share <= 1 + 1e-3  # |m|/|x| is 1e-3 at most


@pytest.mark.parametrize("schedule", [VP, ve(), sub_vp(), rectified_flow()], ids=lambda s: s.kind)
@pytest.mark.parametrize("name", ["gaussian", "mixture-1d", "rotated-product-2d", "rotated-product-8d"])
def test_the_exact_flow_is_what_dop853_finds(schedule: Any, name: str) -> None:
    p = problem(name)
    start, end = (float(schedule.t_of_lam(v)) for v in (-0.7, 1.5))
    x = marginal_samples(p, schedule, start, 4, 2)
    exact = p.flow(schedule, x, start, end, 25).astype(float)
    numeric = reference(_without_flow(p), schedule, x, start, [end])
    assert not numeric.exact
    assert np.abs(numeric.states[end] - exact).max() < MANY_ULP
    assert numeric.bound < AMPLIFIED


def test_the_flow_in_float64_is_that_in_more_digits() -> None:
    p, schedule = problem("rotated-product-2d"), edm()
    for start, end in ((80.0, 0.0), (80.0, 1e-3), (2.0, 0.15)):
        x = start * np.random.default_rng(0).standard_normal((8, 2))
        exact = p.flow(schedule, x, start, end, 25).astype(float)
        assert np.abs(p.flow(schedule, x, start, end, None) - exact).max() < MANY_ULP


def _without_flow(p: Any) -> Any:
    class Plain:
        name, dimension, exact_flow = p.name, p.dimension, False
        model = p.model

    return Plain()


def test_the_exact_flow_composes_and_returns_to_any_digits() -> None:
    p, x = problem("rotated-product-2d"), np.array([[0.3, -0.8]])
    there = p.flow(VP, x, 0.5, 0.05, 60)
    halfway = p.flow(VP, p.flow(VP, x, 0.5, 0.2, 60), 0.2, 0.05, 60)
    back = p.flow(VP, there, 0.05, 0.5, 60)
    # Three of the 60 digits are left to what the flow amplifies.
    assert max(abs(v) for v in (there - halfway).ravel()) < 1e-57
    assert max(abs(v) for v in (back - x).ravel()) < 1e-57


def test_far_quantiles_keep_their_digits() -> None:
    p = problem("mixture-1d")
    x = np.array([[25.0], [-25.0]])
    moved = p.flow(VP, x, 0.5, 0.3, 40)
    back = p.flow(VP, moved, 0.3, 0.5, 40)
    # of 40: at 25 deviations exp(-312) holds 4 digits less
    assert max(abs(v) for v in (back - x).ravel()) < 1e-33


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
def test_rotations_are_exactly_orthogonal(d: int) -> None:
    r = np.array(rational_rotation(d), dtype=object)
    assert np.all(r @ r.T == np.eye(d, dtype=int))
    if d > 1:
        assert np.linalg.det(r.astype(float)) == pytest.approx(1, rel=SOME_ULP, abs=0)
        assert np.count_nonzero(r - np.diag(np.diag(r)))


def test_the_density_is_that_of_its_modes() -> None:
    p = golden_mixture()
    alpha, sigma = VP.alpha(0.3), VP.sigma(0.3)
    x = torch.tensor(marginal_samples(p, VP, 0.3, 6, 0))
    torch.testing.assert_close(
        p.log_density(x, alpha, sigma), log_density(p, x, alpha, sigma), rtol=SOME_ULP, atol=0
    )


@pytest.mark.parametrize("name", ["gaussian", "mixture-1d", "rotated-product-2d", "golden-mixture"])
def test_samples_follow_the_law(name: str) -> None:
    """Mean of the score is zero under the law: four standard errors."""
    p = problem(name)
    x = torch.tensor(marginal_samples(p, VP, 0.2, 20_000, 3))
    eps = p.model(VP)(x, 0.2)
    assert (eps.mean(0).abs() <= 4 * eps.std(0) / len(x) ** 0.5).all()


def test_samples_are_reproducible_and_depend_on_the_seed() -> None:
    p = golden_mixture()
    assert np.array_equal(marginal_samples(p, VP, 0.3, 5, 7), marginal_samples(p, VP, 0.3, 5, 7))
    assert not np.array_equal(marginal_samples(p, VP, 0.3, 5, 7), marginal_samples(p, VP, 0.3, 5, 8))


def test_the_digits_are_the_data_set() -> None:
    p = digits()
    assert p.points.shape == (1797, 64)
    assert (p.points.min(), p.points.max()) == (-1.0, 1.0)


def test_a_reference_in_multiprecision_needs_an_exact_flow() -> None:
    with pytest.raises(ValueError, match="exact flow"):
        reference(golden_mixture(), VP, np.zeros((1, 2)), 0.5, [0.1], digits=30)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaussianMixture([0.5, 0.6], np.zeros((2, 1)), np.ones((2, 1, 1))), "weights"),  # type: ignore[arg-type]
        (lambda: GaussianMixture(np.ones(1), np.zeros((2, 1)), np.ones((1, 1, 1))), "means"),
        (lambda: GaussianMixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 1, 1))), "covariances must have"),
        (lambda: GaussianMixture(np.ones(1), np.zeros((1, 1)), -np.ones((1, 1, 1))), "positive definite"),
        (lambda: GaussianMixture(np.ones(1), np.zeros((1, 2)), np.array([[[1, 0.5], [0, 1]]])), "symmetric"),
        (lambda: RotatedProduct(np.ones((1, 1)), np.zeros((1, 2)), np.ones((1, 1))), "means and variances"),
        (lambda: RotatedProduct(np.ones((1, 1)), np.zeros((1, 1)), -np.ones((1, 1))), "variances"),
        (lambda: RotatedProduct(np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), [[0.5]]), "orthogonal"),  # type: ignore[list-item]
        (lambda: EmpiricalMixture(np.zeros((0, 2)), 0.1), "points"),
        (lambda: EmpiricalMixture(np.zeros((1, 2)), -0.1), "bandwidth"),
        (lambda: problem("golden"), "problem must be one of .*golden-mixture"),
        (lambda: golden_mixture().flow(VP, np.zeros((1, 2)), 0.5, 0.1, 20), "closed form"),
    ],
)
def test_bad_problems_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_every_listed_problem_builds() -> None:
    for name in PROBLEMS:
        assert problem(name).name == name


@pytest.mark.parametrize(
    "name", ["gaussian", "mixture-1d", "rotated-product-2d", "golden-mixture", "digits-0.8"]
)
def test_samples_have_the_variance_of_the_law(name: str) -> None:
    p = problem(name)
    if isinstance(p, GaussianMixture):
        mean = p.weights @ p.means
        law = np.einsum("k,kij->ij", p.weights, p.covariances) + np.einsum(
            "k,ki,kj->ij", p.weights, p.means - mean, p.means - mean
        )
    elif isinstance(p, EmpiricalMixture):
        law = np.cov(p.points.T, bias=True) + p.bandwidth**2 * np.eye(64)
    else:
        r = np.array([[float(v) for v in row] for row in p.rotation])
        m = (p.weights * p.means).sum(1)
        law = r @ np.diag((p.weights * (p.variances + p.means**2)).sum(1) - m**2) @ r.T
    x = p.data(20_000, 3)
    # four standard errors of a (co)variance of 20 000 samples: 0.04 and more
    assert np.abs(np.cov(x.T).reshape(law.shape) - law).max() < 0.04 * np.abs(law).max() + 0.02
    alpha, sigma = VP.alpha(0.2), VP.sigma(0.2)
    noisy = np.cov(marginal_samples(p, VP, 0.2, 20_000, 3).T).reshape(law.shape)
    difference = noisy - alpha**2 * law - sigma**2 * np.eye(len(law))
    assert np.abs(difference).max() < 0.04 * np.abs(law).max() + 0.02  # as above


def test_a_full_covariance_has_all_its_digits() -> None:
    p, low, high = problem("golden-mixture"), multiprecision(30), multiprecision(60)
    x = np.array([[0.3, -0.4]])
    a, b = (p.model(VP)(xp.number(x), xp.number(0.3)) for xp in (low, high))
    assert max(abs(high.number(v) - w) for v, w in zip(a.ravel(), b.ravel())) < THIRTY_DIGITS
    gaussian = problem("gaussian")
    there = gaussian.flow(VP, x, 0.5, 0.05, 50)
    halfway = gaussian.flow(VP, gaussian.flow(VP, x, 0.5, 0.2, 50), 0.2, 0.05, 50)
    assert max(abs(v) for v in (there - halfway).ravel()) < 1e-47  # of 50 digits
    shorter = gaussian.flow(VP, x, 0.5, 0.05, 30)
    assert (
        max(abs(high.number(v) - high.number(w)) for v, w in zip(shorter.ravel(), there.ravel()))
        < THIRTY_DIGITS
    )


def test_the_bound_of_a_reference_is_positive_and_falls_with_the_tolerance() -> None:
    p = golden_mixture()
    x = marginal_samples(p, VP, 0.4, 3, 0)
    best = reference(p, VP, x, 0.4, [0.05])
    for tolerance in (1e-5, 1e-8):
        found = reference(p, VP, x, 0.4, [0.05], tolerance=tolerance)
        true = np.abs(found.states[0.05] - best.states[0.05]).max()
        assert 0 < found.bound < 1e3 * tolerance
        assert true <= found.bound  # of the looser run; the tighter is returned


def test_a_reference_that_fails_is_an_error() -> None:
    class Blowing:
        name, dimension, exact_flow = "blowing", 1, False

        def model(self, schedule: Any) -> Any:
            return lambda x, t: -1e3 * x**3

    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="reference solution failed"):
        reference(Blowing(), VP, np.ones((1, 1)), 0.4, [0.01], tolerance=1e-6)


def test_an_exact_reference_is_rounded_once() -> None:
    p = problem("mixture-1d")
    x = marginal_samples(p, VP, 0.4, 5, 0)
    found = reference(p, VP, x, 0.4, [0.05])
    assert (found.bound, found.exact) == (0.0, True)
    assert np.array_equal(found.states[0.05], p.flow(VP, x, 0.4, 0.05, 60).astype(float))


def test_noise_and_data_are_independent() -> None:
    """x_t = alpha x_0 + sigma eps with eps independent of x_0."""
    p = problem("gaussian")
    data = p.data(20_000, 0)
    eps = (marginal_samples(p, VP, 0.3, 20_000, 0) - VP.alpha(0.3) * data) / VP.sigma(0.3)
    assert np.abs(np.corrcoef(data.T, eps.T)[:2, 2:]).max() < 0.03  # four times 20 000^-1/2


def test_weights_are_normalised() -> None:
    p = GaussianMixture(np.array([0.3333, 0.6666]), np.zeros((2, 1)), np.ones((2, 1, 1)))
    assert p.weights.sum() == pytest.approx(1, abs=4 * ULP)


# --- memory ---


class Live(TorchDispatchMode):
    """Bytes of the tensors that operations made, at most at one time; views have none of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not result._is_view():
            weakref.finalize(result, self.add, -result.nbytes)
            self.add(result.nbytes)
        return result

    def add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


def peak(model: Any, x: np.ndarray) -> int:
    """Bytes that a call of the model takes at most, besides its input: arrays' or tensors'."""
    tracemalloc.start()
    try:
        with Live() as tensors:
            model(x, 0.4)
        return max(tracemalloc.get_traced_memory()[1], tensors.most)
    finally:
        tracemalloc.stop()


def wide() -> list[Any]:
    rng = np.random.default_rng(0)
    points, means = rng.standard_normal((300, 4)), rng.standard_normal((100, 4))
    spread = np.stack([0.3 * np.eye(4)] * 100)
    return [EmpiricalMixture(points, 0.4), GaussianMixture(np.full(100, 0.01), means, spread)]


@pytest.mark.parametrize("law", wide(), ids=lambda law: law.name)
def test_memory_of_a_score_is_bounded_by_blocks(law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the states: a result of eight times the size, and no other array that grows."""
    monkeypatch.setattr(constants, "TOGETHER", 2**16)
    model, x = law.model(VP), np.random.default_rng(1).standard_normal((16384, 4))
    model(x[:1], 0.4)
    few, many = (peak(model, x[:n]) for n in (2048, 16384))
    assert many - few <= 1.1 * (16384 - 2048) * 4 * 8
    monkeypatch.setattr(constants, "TOGETHER", 2**40)
    assert peak(model, x) > 8 * many  # without blocks


@pytest.mark.parametrize("law", wide(), ids=lambda law: law.name)
def test_blocks_change_no_score_and_no_derivative(law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the rounding of matrix products, whose order of sums may depend on the number of rows."""
    model = law.model(VP)
    x = torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    v = torch.ones_like(x)

    def found() -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        value = model(leaf, 0.4)
        (slope,) = torch.autograd.grad(value, leaf, v)
        along = torch.func.jvp(lambda s: model(s, 0.4), (x,), (v,))[1]
        each = torch.func.vmap(lambda s: model(s[None], 0.4)[0])(x)
        return [value.detach(), slope, along, each, torch.as_tensor(model(x.numpy(), 0.4))]

    whole = found()
    monkeypatch.setattr(constants, "TOGETHER", 2**11)  # 6 and 5 rows
    for a, b in zip(whole, found(), strict=True):
        torch.testing.assert_close(a, b, rtol=MANY_ULP, atol=SOME_ULP)


@pytest.mark.parametrize("bandwidth", [0.4, 0.0])
def test_the_density_of_points_is_that_of_the_mixture_of_them(bandwidth: float) -> None:
    rng = np.random.default_rng(3)
    points, x = rng.standard_normal((5, 3)), rng.standard_normal((20, 3))
    alpha, sigma = 0.8, 0.5
    spread = np.tile(((alpha * bandwidth) ** 2 + sigma**2) * np.eye(3), (5, 1, 1))
    mixture = GaussianMixture(np.full(5, 0.2), alpha * points, spread)
    found = EmpiricalMixture(points, bandwidth).log_density(x, alpha, sigma)
    # |x - p| is a root, whose square loses a few digits of the exponent
    np.testing.assert_allclose(found, mixture.log_density(x, 1.0, 0.0), rtol=MANY_ULP, atol=MANY_ULP)
    tensor = EmpiricalMixture(points, bandwidth).log_density(torch.tensor(x), alpha, sigma)
    assert torch.equal(tensor, torch.tensor(found))
