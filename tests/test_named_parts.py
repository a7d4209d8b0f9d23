"""Schedules, grids and solvers by text: what the constructors make, and nothing else."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.analysis.lookup import equation_of, prove, solver_of, tableau_of
from semilinear.analysis.programs import is_program
from semilinear.analysis.text.named_parts import (
    GRIDS,
    SCHEDULES,
    described,
    grid_of,
    schedule_of,
    solver_parameters,
    value_of,
)
from semilinear.analysis.text.spelling import check_value
from semilinear.integrators.common.names import UnknownTableau
from semilinear.integrators.diffusion.discrete import (
    cosine_betas,
    discrete,
    discrete_alpha_squared,
    linear_betas,
    scaled_linear_betas,
)
from semilinear.integrators.diffusion.grids import Grid, alternating, karras, nsr, uniform_lambda, uniform_t
from semilinear.integrators.diffusion.schedule import Schedule, edm, ve, vp_cosine, vp_linear
from semilinear.integrators.forms.form import noise_in_lambda
from semilinear.integrators.forms.noise_scale import NOISE_SCALES
from semilinear.integrators.solvers import SOLVERS, er_sde, make
from semilinear.integrators.solvers.scire_snapshots import LIMIT
from semilinear.integrators.statistics.files import save
from semilinear.integrators.statistics.smooth import ABSENT
from semilinear.integrators.statistics.table import Tabulated
from semilinear.verification.studies.measure import measure
from semilinear.verification.studies.setting import Setting
from sympy import Rational

STOCHASTIC_SCALES = [scale for scale in NOISE_SCALES if not scale.deterministic]


def typed(build: Any) -> str:
    """Every parameter that has a default, with it."""
    defaults = described(build)["parameters"]
    return ",".join(f"{key}={text}" for key, text in defaults.items() if text is not None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("2", 2),
        ("-2", -2),
        ("1e3", 1000),
        ("1/3", Rational(1, 3)),
        ("0.5", Rational(1, 2)),
        ("2.0", Rational(2)),
        ("1e-6", Rational(1, 10**6)),
        ("grid", "grid"),
        ("1/0", "1/0"),
        ("1e30000", "1e30000"),
        ("a/b.npz", "a/b.npz"),
    ],
)
def test_a_value_is_exact(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value) or isinstance(found, Rational)


@pytest.mark.parametrize("name", [name for name, build in SCHEDULES.items() if "betas" not in typed(build)])
def test_a_schedule_with_its_defaults_typed_out_is_the_schedule(name: str) -> None:
    needed = "betas=linear" if name.startswith("discrete") else ""
    defaults = typed(SCHEDULES[name])
    full = ",".join(part for part in (needed, defaults) if part)
    assert schedule_of(f"{name}:{full}" if full else name) == schedule_of(
        f"{name}:{needed}" if needed else name
    )


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_with_its_defaults_typed_out_is_the_grid(name: str) -> None:
    defaults = typed(GRIDS[name])
    assert grid_of(f"{name}:{defaults}" if defaults else name) == grid_of(name)


def numbers(noising: Any) -> dict[str, float]:
    return {} if noising is None else {key: float(value) for key, value in vars(noising).items()}


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_with_its_defaults_typed_out_is_the_solver(name: str) -> None:
    """So that every parameter of every solver is reachable, and every default that is shown can be typed."""
    defaults = typed(SOLVERS[name])
    made = solver_of(f"{name}:{defaults}" if defaults else name)
    listed = make(name)
    assert (made.name, made.claimed, made.source) == (listed.name, listed.claimed, listed.source)
    assert made.sequence.tableaux == listed.sequence.tableaux
    assert numbers(made.noising) == numbers(listed.noising)  # a decimal is exact, a default its float
    assert float(made.noise_scale) == float(listed.noise_scale)
    assert made.form(vp_linear()).name == listed.form(vp_linear()).name


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("vp-linear:beta_0=0.2,beta_1=12", vp_linear(0.2, 12)),
        ("vp-cosine:offset=0.02,normalized=false", vp_cosine(0.02, normalized=False)),
        ("ve:sigma_max=1e2", ve(sigma_max=100)),
        ("edm:sigma_max=161/2", edm(80.5)),
        ("discrete:betas=linear,n=50", discrete(linear_betas(n=50))),
        (
            "discrete:beta_end=0.01,betas=scaled-linear,n=50",
            discrete(scaled_linear_betas(beta_end=0.01, n=50)),
        ),
        (
            "discrete:betas=cosine,n=50,max_beta=0.99,clip_lambda=none",
            discrete(cosine_betas(50, max_beta=0.99), clip_lambda=None),
        ),
        ("discrete:betas=cosine,n=50,clip_lambda=-3", discrete(cosine_betas(50), clip_lambda=-3)),
        (
            "discrete-alpha-squared:betas=linear,n=50,clip=1e-5",
            discrete_alpha_squared(linear_betas(n=50), clip=1e-5),
        ),
    ],
)
def test_a_schedule_is_what_its_constructor_makes(text: str, schedule: Schedule) -> None:
    assert schedule_of(text) == schedule


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("t:power=2", uniform_t(2)),
        ("t-quadratic", uniform_t(2)),
        ("karras:power=5", karras(5)),
        ("karras:rho=5", karras(5)),
        ("rho:power=5", karras(5)),
        ("nsr:k=1/2", nsr(0.5)),
        ("alternating", alternating(uniform_lambda())),
        ("alternating:ratio=3", alternating(uniform_lambda(), 3)),
        ("alternating:base=karras,power=5,ratio=3", alternating(karras(5), 3)),
    ],
)
def test_a_grid_is_what_its_constructor_makes(text: str, grid: Grid) -> None:
    assert grid_of(text) == grid


@pytest.mark.parametrize("scale", STOCHASTIC_SCALES, ids=lambda scale: scale.name)
def test_every_noise_scale_has_its_name(scale: Any) -> None:
    assert solver_of(f"er-sde-2-corrected:scale={scale.name}").name == er_sde.er_sde(2, scale).name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch:r1=1", "expected a listed solver.* got 'nosuch:r1=1'"),
        ("dpm-solver2:r1=1", "the nearest are dpm-solver-2"),
        ("dpm-solver-2:r3=1", "does not take r3; its parameters are: r1=none, r2=none"),
        ("dpm-solver-2:r1=2", r"dpm-solver-2:r1=2: r1 must be a number in \(0, 1\] or none, got 2"),
        ("er-sde-1-released:points=x", "points must be an integer"),
        ("er-sde-2-corrected:scale=3", "scale must be one of ode, .*, got 3"),
        (
            "er-sde-ode-2-released:scale=sde-1",
            "does not take scale; its parameters are: points=100, clip=1e-06",
        ),
        ("lawson4:form=noise", "form must be one of data-in-lambda, noise-in-lambda"),
    ],
)
def test_a_solver_that_cannot_be_made_is_refused_by_every_command(text: str, message: str) -> None:
    for ask in (solver_of, prove, tableau_of, equation_of):
        with pytest.raises(UnknownTableau, match=message):
            ask(text)


def test_words_stand_for_what_is_listed() -> None:
    assert solver_parameters("lawson4:form=noise-in-lambda") == ("lawson4", {"form": noise_in_lambda})
    assert solver_parameters("scire-v1-2-released:phi=limit")[1] == {"phi": LIMIT}
    assert solver_parameters("scire-v1-2-released", ["phi=2/3"])[1] == {"phi": Rational(2, 3)}
    assert solver_parameters("edm-heun-churn:s_tmax=inf")[1] == {"s_tmax": float("inf")}
    assert solver_parameters("dpm-solver-v3-2m:corrector=none")[1] == {
        "corrector": "none"
    }  # a word of its own
    assert solver_parameters("dpm-solver-v3-2m:corrector=true")[1] == {"corrector": "true"}  # and no flag
    assert solver_parameters("dpm-solver-2:r1=none")[1] == {"r1": None}


def test_statistics_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    nodes = np.array([[0.5], [0.4], [0.3], [0.2]])
    save(Tabulated(-2.0, 3.0, nodes, nodes, nodes), path)
    made: Any = [solver_of(f"dpm-solver-v3-2m{end}") for end in (f":statistics={path}", "")]
    with_file, without = made
    assert with_file.sequence.statistics.at(1.0).l == pytest.approx(
        0.32, abs=1e-12
    )  # the line through the nodes
    assert without.sequence.statistics is ABSENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vp", r"schedule must be one of vp-linear, .*, got 'vp'; the nearest are"),
        ("vp-linear:", "a parameter must be KEY=VALUE, got ''"),
        ("vp-linear:beta_0", "a parameter must be KEY=VALUE, got 'beta_0'"),
        ("vp-linear:beta_0=1,beta_0=2", "a parameter once, got beta_0 again"),
        (
            "vp-linear:beta0=1",
            "does not take beta0; its parameters are: beta_0=0.1, beta_1=20.0; the nearest",
        ),
        ("rectified-flow:shift=3", "does not take shift; its parameters are: none"),
        ("vp-linear:beta_0=-1", "vp-linear:beta_0=-1: beta_0 must be a non-negative number, got -1"),
        ("vp-linear:beta_1=large", "beta_1 must be a positive number, got 'large'"),
        ("vp-linear:beta_1=1e999", "vp-linear:beta_1=1e999: "),
        ("vp-linear:beta_1=true", "beta_1 must be a positive number, got 'true'"),
        ("edm:sigma_max=none", "sigma_max must be a positive number, got 'none'"),
        ("discrete", "betas must be one of linear, scaled-linear, cosine, and has no default"),
        ("discrete:betas=quadratic", "betas must be one of linear, scaled-linear, cosine, got 'quadratic'"),
        ("discrete:betas=linear,max_beta=0.9", "does not take max_beta; .* beta_start=0.0001"),
        (
            "vp-linear:betas=linear",
            "does not take betas; its parameters are: beta_0=0.1, beta_1=20.0",
        ),
        ("discrete:betas=linear,n=1.5", "n must be an integer"),
        ("discrete:betas=linear,betas=cosine", "a parameter once, got betas again"),
    ],
)
def test_a_refusal_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule_of(text)


def edges(allowed: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Texts at a parameter's bounds that it takes, and others beside them that it does not."""
    taken, refused = list(allowed["words"]), ["no-such-word"]
    bounds = allowed.get("number")
    if bounds is None:
        return taken, refused
    for key, bound in bounds.items():
        outside = -1 if key in ("least", "above") else 1
        if key in ("least", "most"):
            taken.append(f"{bound:g}")
            refused.append(f"{bound + outside:g}")
        elif key in ("above", "below"):
            taken.append(f"{bound - outside * 2**-4:g}")
            refused.append(f"{bound:g}")
    if "integer" in bounds:
        refused.append("2.5")
    return taken, refused


KINDS: dict[str, Any] = {"schedule": SCHEDULES, "grid": GRIDS, "solver": SOLVERS}
MAKE: dict[str, Any] = {"schedule": schedule_of, "grid": grid_of, "solver": solver_of}
EDGES = [
    (kind, name, key, *edges(allowed))
    for kind, table in KINDS.items()
    for name, build in table.items()
    for key, allowed in described(build)["values"].items()
]


@pytest.mark.parametrize(("kind", "name", "key", "taken", "refused"), EDGES)
def test_an_annotation_says_what_the_constructor_takes(
    kind: str, name: str, key: str, taken: list[str], refused: list[str]
) -> None:
    """What annotations say is refused from its text alone; the constructors refuse the same, and no more."""
    build, allowed = KINDS[kind][name], described(KINDS[kind][name])["values"][key]
    parts = {"betas": linear_betas()} if "betas" in described(build)["parts"] else {}
    for text in refused:
        with pytest.raises(ValueError, match=f"^{key} must be .*, got '?{text}"):
            check_value(key, text, allowed)
        with pytest.raises((ValueError, TypeError), match="must"):
            build(**parts, **{key: value_of(text)})
    for text in taken:
        made = f"{name}:{'betas=linear,' if parts else ''}{key}={text}"
        check_value(key, text, allowed)
        try:
            said = repr(MAKE[kind](made))
        except ValueError as error:  # what it is to the others
            said = str(error)
        assert not re.search(f"{key} must be (an?|one of) ", said), made


@given(
    st.sampled_from(["ve", "discrete", "vp-linear", ""]),
    st.lists(
        st.tuples(
            st.sampled_from(["sigma_min", "betas", "beta_0", "clip_lambda", "", "x"]), st.text(max_size=5)
        ),
        max_size=3,
    ),
)
def test_any_text_is_a_schedule_or_refused(name: str, given_texts: list[tuple[str, str]]) -> None:
    text = f"{name}:{','.join('='.join(pair) for pair in given_texts)}"
    try:
        result: Any = schedule_of(text)
    except ValueError as error:
        result = str(error)
    assert isinstance(result, Schedule) or result.startswith("schedule ")


def test_a_setting_with_texts_travels_and_builds_what_they_name() -> None:
    setting = Setting("x", "gaussian", "vp-linear:beta_1=12", "alternating:base=rho,power=5")
    sent = pickle.dumps(setting)
    assert len(sent) < 2000  # texts, not a schedule's functions
    assert pickle.loads(sent) == setting
    built = setting.build()
    assert (built.schedule, built.grid) == (vp_linear(beta_1=12), alternating(karras(5)))
    with pytest.raises(ValueError, match="grid must be one of"):
        Setting("x", "gaussian", "vp-linear", "uniform").build()


def test_the_colon_of_a_python_file_is_no_parameter(tmp_path: Path) -> None:
    folder = tmp_path / "a:b=c"
    folder.mkdir()
    path = folder / "mine.py"
    path.write_text(
        "from semilinear.integrators.solvers import make\n\ndef mine(r=1):\n    return make('ddim')\n"
    )
    assert is_program(f"{path}:mine")
    assert solver_of(f"{path}:mine", r=2).name == "ddim"
    assert not is_program("dpm-solver-v3-2m:statistics=a.py:b")


def test_python_takes_the_same_texts() -> None:
    """r2 = 0.8 makes DPM-Solver-3 second order."""
    proof: Any = prove("dpm-solver-3:r1=2/5,r2=4/5")
    study: Any = measure("dpm-solver-3:r1=2/5,r2=4/5")
    assert proof.formula("equal") == 2
    assert study.estimate.order == pytest.approx(2, abs=0.05)  # its interval is narrower
