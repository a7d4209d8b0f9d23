"""What Score-SDE (Song et al. 2021) claims."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import sympy
import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.diffusion.grids import uniform_t
from semilinear.integrators.diffusion.schedule import edm
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.run import black_box
from semilinear.integrators.run.correctors import Langevin, annealed_step
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.score_sde import PAPER

from ...equal_nfe.errors import ratio
from ...inverse import study as inverse
from ...problems.digits_network import Recipe, split, train
from ...problems.named import marginal_samples, problem
from ...problems.network import NetworkProblem
from ..cells import Cell, above, judged
from ..claim import Claim, Decision, proof, rounded, statistic
from ..marginals import distance
from ..orders import WEAK, orders

PREDICTORS = ("em", "reverse-diffusion", "ancestral-small", "ancestral-large")
EPS = {"vp": 1e-3, "ve": 1e-5}
"""Where sampling ends, as in the release."""
CORRECTED = {
    "reverse diffusion": {"vp": "score-sde-reverse-diffusion", "ve": "score-sde-reverse-diffusion"},
    "ancestral": {"vp": "score-sde-ancestral-large", "ve": "score-sde-ancestral-small"},
    "probability flow": {"vp": "score-sde-pf-reverse-diffusion", "ve": "score-sde-pf-reverse-diffusion"},
}
"""The predictors of the paper's table, with the variances of the release."""
SNRS = (0.01, 0.04, 0.08, 0.16, 0.27)
"""Signal-to-noise ratios of the corrector, of which the best counts: no setting of it decides."""
MANY, FEWER = (2000,), (20, 100, 400)
"""Evaluations: those of the table, and less."""


def flow_keeps_marginals() -> Decision:
    """f p - (g^2/2) p' is the probability current of f with diffusion g and of f - (g^2/2) score without."""
    x, f, g = sympy.symbols("x f g")
    p = sympy.Function("p")(x)
    score = p.diff(x) / p
    current = f * p - (g**2 / 2) * p.diff(x)
    zero = sympy.simplify(current - (f - g**2 / 2 * score) * p) == 0
    backward = (f - g**2 * score) * p + (g**2 / 2) * p.diff(x)
    zero = zero and sympy.simplify(backward - current) == 0
    text = "the currents of the SDE, of its reverse and of the flow are one: f p - (g^2/2) p'"
    return Decision("proved" if zero else "refuted", text)


def corrected(which: str, predictor: str, nfe: int) -> Cell:
    """A predictor of `CORRECTED` alone, against half as many steps of it with the corrector at its best."""
    equation = sde.vp() if which == "vp" else sde.ve()
    solver, schedule = make(CORRECTED[predictor][which]), equation.schedule
    half = nfe // 2

    def both(snr: float) -> float:
        def corrector(noise: Any) -> Langevin:
            return Langevin(schedule, annealed_step(snr), noise)

        return distance(solver, schedule, uniform_t(), half, EPS[which], corrector, half)

    alone = distance(solver, schedule, uniform_t(), nfe, EPS[which])
    found = {snr: both(snr) for snr in SNRS}
    snr = min(found, key=found.__getitem__)
    at: dict[str, str | float] = {"sde": which, "predictor": predictor, "nfe": nfe}
    text = (
        f"{which}, {predictor}, {nfe}: {alone:.2g} alone, {found[snr]:.2g} corrected with a ratio of {snr:g}"
    )
    data: dict[str, Any] = at | {"alone": rounded(alone), "corrected": rounded(found[snr]), "snr": snr}
    return Cell(text, "yes" if found[snr] < alone else "no", alone / found[snr], data, at)


def corrector_helps(budgets: Sequence[int]) -> Decision:
    """Predictor alone against predictor and one annealed Langevin step, half as many times: exact laws."""
    return judged([corrected(*cell) for cell in itertools.product(EPS, CORRECTED, budgets)])


AT_BEST = (
    "Gaussian data, exact laws; one annealed Langevin step for each predictor step, at the best of "
    f"{len(SNRS)} signal-to-noise ratios"
)


def _golden(equation: sde.DiffusionSDE, t: float, n: int) -> torch.Tensor:
    return torch.tensor(marginal_samples(problem("golden-mixture"), equation.schedule, t, n, 0))


def likelihood() -> Decision:
    """Log-likelihoods by the flow against exact ones, with the exact terminal density and with the prior."""
    law, table = problem("golden-mixture"), list[dict[str, Any]]()
    for name, equation in (("vp", sde.vp()), ("sub-vp", sde.sub_vp()), ("ve", sde.ve())):
        schedule, start = equation.schedule, 1e-5
        x, end = _golden(equation, start, 32), schedule.t_max

        def density(t: float, at: torch.Tensor, schedule: Any = schedule) -> torch.Tensor:
            found: torch.Tensor = law.log_density(at, float(schedule.alpha(t)), float(schedule.sigma(t)))
            return found

        tight = black_box.Solve(rtol=1e-9, atol=1e-9)
        exact = density(start, x)
        model, row = law.model(schedule), dict[str, Any](sde=name)
        for key, terminal in (("true end", lambda z, end=end, d=density: d(end, z)), ("prior", None)):
            found = black_box.log_likelihood(
                equation, model, x, t_start=start, terminal=terminal, solve=tight
            )
            row |= {key: rounded(float((found.log_density - exact).abs().max()), 2), "nfe": found.nfe}
        table.append(row)
    good = all(row["true end"] < 1e-6 for row in table)
    text = "; ".join(
        f"{r['sde']}: {r['true end']:.0e}, with the prior for p_T {r['prior']:.0e}" for r in table
    )
    return Decision("confirmed" if good else "refuted", f"largest error in nats: {text}", tuple(table))


NETWORKS = (
    Recipe(width=64, features=32, steps=800),
    Recipe(width=96, blocks=1, features=32, steps=800, seed=1),
)
"""Two networks of one data set that share neither size nor seed."""
CODED, FROM = 48, 1e-2
"""Digits that neither has seen, and the time they are encoded from: less noise is not what networks know."""


def _codes(recipe: Recipe, x: torch.Tensor) -> np.ndarray:
    """Of data, by the flow of a network that is trained here."""
    equation, network = sde.vp(), train(recipe).double()
    (trained_on, _), solve = split(recipe), black_box.Solve(rtol=1e-6, atol=1e-6)
    samples = torch.tensor(trained_on.dequantised(recipe.seed))
    law = NetworkProblem(lambda at, t: network(at, t, None), samples, "x0", name="digits", trained=edm())
    model = law.model(equation.schedule)
    found = black_box.flow(equation, model, x, t_start=FROM, t_end=equation.schedule.t_max, solve=solve)
    codes: np.ndarray = found.x.detach().numpy()
    return codes


def encoding() -> Decision:
    """By datum, how far the nearest code of another one lies, over how far two networks' codes of it are."""
    _, held_out = split(NETWORKS[0])
    a, b = (_codes(recipe, torch.tensor(held_out.x[:CODED])) for recipe in NETWORKS)
    others = np.linalg.norm(a[:, None] - a[None], axis=2) + np.diag(np.full(len(a), np.inf))
    apart, nearest = np.linalg.norm(a - b, axis=1), others.min(axis=1)
    where = (
        f"{CODED} held out digits: codes of two networks {rms(apart):.3g} apart, the nearest code of another "
        f"digit {rms(nearest):.3g}"
    )
    return judged([above(where, ratio(nearest, apart))])


def hutchinson() -> Decision:
    """The mean of z^T J z over all sign vectors z of the plane, against the trace."""
    equation = sde.vp()
    x = _golden(equation, 0.3, 16)
    velocity = equation.probability_flow(problem("golden-mixture").model(equation.schedule))

    def field(at: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = velocity(at, 0.3)
        return found

    signs = [
        torch.tensor(s, dtype=torch.float64).expand(16, 2) for s in itertools.product((-1.0, 1.0), repeat=2)
    ]
    mean = black_box.hutchinson(torch.stack(signs))(field, x)[1]
    single = black_box.hutchinson(signs[0][None])(field, x)[1]
    exact = black_box.exact_divergence(field, x)[1]
    error, one = (float((v - exact).abs().max()) for v in (mean, single))
    text = f"over all four sign vectors the mean is off by {error:.0e}; one of them alone by up to {one:.1g}"
    return Decision("confirmed" if error < 1e-10 < one else "refuted", text)


def replacement() -> Decision:
    """Moments of the samples that replacement draws, against the exact posterior's."""
    kept = ("replacement, as released", "exact likelihood (control)")
    rows = [r for r in inverse.study(inverse.PROBLEMS, (200,), 2000) if r.sampler in kept]
    table = tuple(
        {"problem": r.problem, "sampler": r.sampler, "mean": rounded(r.mean), "error": rounded(r.mean_error)}
        | {"mode": rounded(r.mode), "mode_error": rounded(r.mode_error), "biased": r.biased}
        for r in rows
    )
    biased = [r for r in rows if r.sampler == kept[0] and r.biased]
    control = [r for r in rows if r.sampler == kept[1] and r.biased]
    text = "; ".join(
        f"{r.problem}, {r.sampler}: mean off by {r.mean:+.3f} with a standard error of {r.mean_error:.3f}"
        for r in rows
    )
    if control:
        return Decision("inconclusive", f"the control is off too: {text}", table)
    return Decision("confirmed" if biased else "refuted", text, table)


def tolerance() -> Decision:
    """Evaluations and errors of the black-box solver along the flow, by its tolerance."""
    equation, law, table = sde.vp(), problem("rotated-product-2d"), []
    x = marginal_samples(law, equation.schedule, 1.0, 64, 0)
    exact = law.flow(equation.schedule, x, 1.0, 1e-3, 30).astype(float)
    for rtol in (1e-2, 1e-3, 1e-5, 1e-7):
        solve = black_box.Solve(rtol=rtol, atol=rtol)
        found = black_box.flow(
            equation, law.model(equation.schedule), torch.tensor(x), t_start=1.0, t_end=1e-3, solve=solve
        )
        error = rms(found.x.numpy() - exact)
        table.append({"tolerance": rtol, "nfe": found.nfe, "error": rounded(error, 2)})
    good = all(a["nfe"] < b["nfe"] and a["error"] > b["error"] for a, b in itertools.pairwise(table))
    text = "; ".join(f"{r['tolerance']:g}: {r['error']:.0e} in {r['nfe']} evaluations" for r in table)
    return Decision("confirmed" if good else "refuted", text, tuple(table))


CLAIMS = (
    Claim(
        "score-sde-flow-has-the-marginals",
        PAPER,
        "Sec. 4.3, Appendix D.1",
        "The probability flow and the reverse SDE have the marginals of the forward SDE",
        proof(flow_keeps_marginals),
        "proved",
        assumes="the exact score; the statement is of the currents of the Fokker-Planck equation",
    ),
    Claim(
        "score-sde-weak-order",
        PAPER,
        "predictors (no order is stated; as first-order schemes)",
        "Euler-Maruyama, reverse diffusion and ancestral sampling are of weak order 1",
        orders(*(f"score-sde-{name}" for name in PREDICTORS)),
        "confirmed",
        assumes=f"{WEAK}; steps of the grid itself: the released tables stop short of its end",
        quick=False,
    ),
    Claim(
        "score-sde-ancestral-is-ddpm",
        PAPER,
        "Appendix E",
        "Ancestral sampling of DDPM is a discretisation of the reverse SDE, of first order",
        orders("score-sde-ancestral-large", "score-sde-ancestral-small"),
        "confirmed",
        "with the posterior's variance it is exponential Euler in data prediction (er-sde-ode-is-ddim)",
        f"{WEAK}; with either variance",
        quick=False,
    ),
    Claim(
        "score-sde-corrector-helps",
        PAPER,
        "Table 1 (as reported)",
        "At 2000 evaluations 1000 steps of predictor and corrector are more accurate than 2000 of the "
        "predictor",
        statistic(partial(corrector_helps, MANY)),
        "conditional",
        "under VP a Langevin step gives less than the half of the steps that it costs reverse diffusion and "
        "ancestral sampling",
        AT_BEST,
        quick=False,
        condition="for ve",
    ),
    Claim(
        "score-sde-corrector-helps-at-fewer",
        PAPER,
        "Table 1 (of 2000 evaluations; of fewer nothing is stated)",
        "At 20 to 400 evaluations, too, predictor and corrector are more accurate than the predictor alone",
        statistic(partial(corrector_helps, FEWER)),
        "refuted",
        "under VP, and at 20 evaluations, halving the steps costs more than a Langevin step gives; the "
        "probability flow gains from 100 on",
        AT_BEST,
        quick=False,
    ),
    Claim(
        "score-sde-exact-likelihood",
        PAPER,
        "Sec. 4.3",
        "The flow gives exact log-likelihoods",
        statistic(likelihood),
        "confirmed",
        "what is left is the solver's tolerance; with the prior in place of p_T, as released, the "
        "difference of "
        "the two is left as well",
        "exact divergence, tolerance 1e-9",
        quick=False,
    ),
    Claim(
        "score-sde-hutchinson-unbiased",
        PAPER,
        "Sec. 4.3, eq. for the divergence",
        "The Skilling-Hutchinson estimate of the divergence is unbiased",
        statistic(hutchinson),
        "confirmed",
        assumes="signs; in the plane all of them can be summed",
    ),
    Claim(
        "score-sde-unique-encoding",
        PAPER,
        "Sec. 4.3, uniquely identifiable encoding",
        "Two models of one data set encode a datum alike",
        statistic(encoding),
        "confirmed",
        "alike, not equal: the codes differ by what the two scores do",
        "two networks of handwritten digits, of other sizes and seeds, trained shortly; alike: closer "
        "than the code of any other datum",
        quick=False,
    ),
    Claim(
        "score-sde-tolerance-trades",
        PAPER,
        "Sec. 4.3, Fig. 3",
        "A looser tolerance of the black-box solver trades accuracy for evaluations",
        statistic(tolerance),
        "confirmed",
        quick=False,
    ),
    Claim(
        "score-sde-ninety-percent-fewer",
        PAPER,
        "Sec. 4.3, Fig. 3",
        "The evaluations can be cut by over 90 % without a loss of visual quality",
        None,
        "untestable",
        "visual quality needs images of a network; what a tolerance costs is score-sde-tolerance-trades",
    ),
    Claim(
        "score-sde-replacement",
        PAPER,
        "Sec. 5, Appendix I (inpainting, colorization)",
        "Overwriting the known part of the state samples the conditional law approximately, not exactly",
        statistic(replacement),
        "confirmed",
        "what the known part says reaches the rest only through the next score: modes get wrong weights",
        "two linear problems whose posterior is known, 200 steps, 2000 samples",
        quick=False,
    ),
    Claim(
        "score-sde-flow-order",
        PAPER,
        "Sec. 4.3",
        "Euler's method and reverse diffusion for the flow are of order 1",
        orders("score-sde-pf-em", "score-sde-pf-reverse-diffusion"),
        "confirmed",
        quick=False,
    ),
    Claim(
        "score-sde-fid",
        PAPER,
        "Abstract",
        "FID 2.20 and 2.99 bits per dimension on CIFAR-10",
        None,
        "untestable",
        "needs the network and its data set: kept in the table of reported figures",
    ),
)
