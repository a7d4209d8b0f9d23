"""Exact coefficients: proofs of identities, and that a proof fails where there is no identity."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from semilinear.analysis.orders.exact import (
    ALPHA,
    ALPHA_DOT,
    canonical,
    equal_steps,
    exact_steps,
    is_zero,
    node,
)
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import Exponential
from semilinear.integrators.numerics.arithmetic import SYMBOLIC, multiprecision
from semilinear.integrators.numerics.quadrature import GAUSS
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import Evaluation, Row
from semilinear.integrators.solver import Repeat
from semilinear.integrators.solvers import SOLVERS, dpm_solver_v3, make
from semilinear.integrators.statistics.smooth import constant
from semilinear.integrators.tableaux.tableau import N, Tableau, phi1
from semilinear.verification.claims.identities import IDENTITIES, Identity
from sympy import Rational, exp, log

from tests.roundings import MANY_ULP
from tests.slow import MANY_TERMS, slow

L0, L1, L2 = (node(i) for i in range(3))
MP = multiprecision(40)


@pytest.mark.parametrize(
    "identity",
    slow(IDENTITIES, lambda i: i.statement.startswith("dpm-solver-v3-3")),
    ids=lambda i: i.statement,
)
def test_identity(identity: Identity) -> None:
    assert identity.defects() == []


def test_statements_are_unique() -> None:
    assert len({i.statement for i in IDENTITIES}) == len(IDENTITIES)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("dpm-solver++-2m", "dpm-solver-2m"),
        ("dpm-solver-3m-released", "dpm-solver-3m-corrected"),
        ("dpm-solver-3", "dpm-solver-3-taylor"),
        ("dpm-solver++-2s", "dpm-solver++-2s-taylor"),
        ("deis-rhork-2heun", "deis-rhork-2midpoint"),
        ("etdrk4", "krogstad4"),
        ("sde-dpm-solver-1", "sde-dpm-solver++-1"),
    ],
)
def test_different_methods_are_told_apart(a: str, b: str) -> None:
    assert equal_steps(exact_steps(make(a), 3), exact_steps(make(b), 3))


@pytest.mark.parametrize("factor", [-1, Rational(10**6 + 1, 10**6), 2])
def test_a_perturbed_coefficient_breaks_an_identity(factor: Any) -> None:
    ddim = make("ddim")
    euler = Tableau((), phi1 * N(0) * factor)
    wrong = dataclasses.replace(
        ddim,
        sequence=dataclasses.replace(ddim.sequence, tableau=euler, last=euler),  # type: ignore[type-var]
    )
    defects = equal_steps(exact_steps(ddim, 2), exact_steps(wrong, 2))
    assert defects
    assert all("coefficient of m" in d for d in defects)


def closed(name: str) -> bool:
    """Whether a solver's coefficients have closed forms in lambda, and no parameters or times of its own."""
    solver = make(name)
    form = solver.form(vp_linear())
    plain = solver.noising is None and solver.parameters is None
    return isinstance(form.weight, Exponential) and form.name != "velocity_in_time" and plain


CLOSED = [name for name in SOLVERS if closed(name)]


def test_what_has_no_closed_form_is_known() -> None:
    """Steps, stages or weights in t; Riemann sums; SciRE's parameter; noise scales; steps back to noise;
    weights of the whole run, of the times of its grid, and of steps' sizes; statistics.
    """
    weights = r".*-in-t|fireflow|stork-.*|deis-(tab|score-tab).*|deis-rhoab.-released|dpm-solver-v3.*"
    families = rf"{weights}|score-sde.*|er-sde.*|scire.*"
    noised = r"ddim-eta|ddpm|.*-ancestral(-rf)?|.*-churn"
    given = r"f-pndm|heun\+\+-2|dpm\+\+-2m-v2|analytic-dd[ip]m|pfdiff-.*|rx-euler-.*|.*-on-grid"
    rest = [name for name in SOLVERS if not re.fullmatch(f"{families}|{noised}|{given}", name)]
    assert rest == [name for name in CLOSED if not name.startswith("scire")]


@pytest.mark.parametrize(
    "name",
    slow(CLOSED, lambda n: n in MANY_TERMS or n.startswith(("pec", "ab-norsett")) or n not in CLOSED[::3]),
)
def test_exact_coefficients_are_the_numbers_of_the_plan(name: str) -> None:
    """The closed expressions at the nodes of a schedule, against the same steps compiled in 40 digits."""
    schedule, solver = vp_linear(), make(name)
    budget = 1 if isinstance(solver.sequence, Repeat) else 3  # all steps are one formula, or starts differ
    times = [MP.number(t) for t in (0.9, 0.6, 0.35, 0.1)]
    lams = [schedule.lam(t) for t in times]
    compiler, tableaux = StepCompiler(solver, schedule, "eps", MP), solver.sequence.at(budget, "full")
    numeric = [
        compiler.step(tableau, times[i], times[i + 1], i, len(tableaux)) for i, tableau in enumerate(tableaux)
    ]
    steps = zip(exact_steps(solver, budget), numeric, strict=True)
    pairs = [pair for a, b in steps for pair in zip(a.operations, b.operations, strict=True)]
    assert all(type(p) is type(q) and isinstance(p, Row | Evaluation) for p, q in pairs)
    rows = [(p, q) for p, q in pairs if isinstance(p, Row) and isinstance(q, Row)]
    with mpmath.workdps(50):
        for found, (_, q) in zip(numbers([p for p, _ in rows], lams, schedule), rows, strict=True):
            expected = {(str(kind), i): v for kind, i, v in q.terms}
            for key in found | expected:
                value = expected.get(key, 0)
                assert abs(found.get(key, 0) - value) <= 1e-30 * max(1, abs(value))  # 40 digits, 10 cancel


def numbers(rows: Sequence[Row], lams: Sequence[Any], schedule: Any) -> list[dict[tuple[str, int], Any]]:
    """The coefficients of exact rows at nodes lambda_0, lambda_1, .., in the working precision of mpmath."""

    def alpha(lam: Any) -> Any:
        return schedule.alpha(schedule.t_of_lam(lam))

    exact = [[sympy.sympify(v) for *_, v in row.terms] for row in rows]
    nodes = [node(i) for i in range(len(lams))]

    def alpha_dot(lam: Any) -> Any:  # in lambda, the time of the open schedule
        t = schedule.t_of_lam(lam)
        return -schedule.formulas.alpha_dot(t) * schedule.rho(t) / schedule.rho_dot(t)

    of = {str(ALPHA): alpha, str(ALPHA_DOT): alpha_dot}
    at = sympy.lambdify(nodes, exact, modules=[of, "mpmath"], cse=True)
    return [
        {(str(kind), i): v for (kind, i, _), v in zip(row.terms, values, strict=True)}
        for row, values in zip(rows, at(*lams), strict=True)
    ]


@pytest.mark.parametrize(
    "expression",
    [
        exp(L0 / 2 + L1 / 3) - exp(L1 / 3) * exp(L0 / 2),
        exp(-log(exp(-L0))) - exp(L0),
        log(exp(L0) * exp(-2 * L1)) - L0 + 2 * L1,
        (exp(2 * L0) - exp(2 * L1)) / (exp(L0) - exp(L1)) - exp(L0) - exp(L1),
        ALPHA(L0 + (L1 - L0) / 2) - ALPHA(L1 / 2 + L0 / 2),
        (L1 - L0) * exp(L0) * ALPHA(L1) / (L0 - L1) + exp(L0) * ALPHA(L1),
        sympy.sqrt(exp(2 * L0) * exp(-2 * L1)) - exp(L0 - L1),
        log(1 + exp(L0) / 2) - log((2 + exp(L0)) / 2),
    ],
)
def test_what_is_zero_is_seen(expression: Any) -> None:
    assert is_zero(expression)


@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(1, 5), st.integers(-3, 3))
def test_zero_agrees_with_a_value(p: int, q: int, d: int, c: int) -> None:
    """An expression that is zero exactly when its parameters say so."""
    a = exp((p * L0 + q * L1) / d) * (L0 - L1) + c * ALPHA(L0)
    b = exp(Rational(p, d) * L0) * exp(Rational(q, d) * L1) * (L0 - L1) + ALPHA(L0)
    assert is_zero(a - b) == (c == 1)


def test_canonical_form_keeps_the_value() -> None:
    e = exp(L0 / 2 - log(exp(L1))) * (L0 - L2) / (exp(L0) - 1) + log(exp(3 * L2))
    at = {L0: 0.3, L1: -0.7, L2: 1.1}
    back = {sympy.Symbol(f"E_lambda{i}", positive=True): exp(v / 2) for i, v in enumerate(at.values())}
    assert float(canonical(e).subs(back).subs(at)) == pytest.approx(float(e.subs(at)), rel=MANY_ULP, abs=0)


def test_count_must_be_positive() -> None:
    with pytest.raises(ValueError, match="count must be an integer >= 1"):
        exact_steps(make("ddim"), 0)


# --- what a proof must see ---


def changed(steps: Any, change: Any) -> Any:
    """The steps with the last row of the last step changed."""
    last = steps[-1]
    row = last.operations[-1]
    operations = (*last.operations[:-1], change(row))
    return (*steps[:-1], dataclasses.replace(last, operations=operations))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: dataclasses.replace(row, constant=sympy.Integer(1)), "coefficient of constant0"),
        (lambda row: dataclasses.replace(row, noise=()), "covariance of the noise"),
        (lambda row: dataclasses.replace(row, terms=row.terms[:1]), "coefficient of m"),
        (lambda row: dataclasses.replace(row, state=99), "they make other states"),
    ],
)
def test_every_part_of_a_row_is_compared(change: Any, message: str) -> None:
    steps = exact_steps(make("sde-dpm-solver++-1"), 2)
    assert equal_steps(steps, steps) == []
    assert message in equal_steps(steps, changed(steps, change))[0]


def test_the_sign_between_two_noises_of_one_increment_is_compared() -> None:
    steps = exact_steps(make("seeds-2"), 1)
    flip = lambda row: dataclasses.replace(row, noise=tuple((i, -w) for i, w in row.noise))  # noqa: E731
    assert "covariance of the noise" in equal_steps(steps, changed(steps, flip))[0]


def test_steps_that_end_elsewhere_or_are_fewer_are_told_apart() -> None:
    steps = exact_steps(make("ddim"), 2)
    assert equal_steps(steps, steps[:1]) == ["2 steps against 1"]
    moved = (steps[0], dataclasses.replace(steps[1], t1=node(7)))
    assert equal_steps(steps, moved)
    with pytest.raises(ValueError, match="first must be from 0 to 1"):
        equal_steps(steps, steps, first=2)


def test_constants_of_model_statistics_are_no_identity() -> None:
    plain, shifted = (
        exact_steps(dpm_solver_v3.multistep(1, statistics=constant(1, 0, b)), 1) for b in (0, 7)
    )
    assert equal_steps(plain, plain) == []
    assert equal_steps(plain, shifted)


def test_a_root_keeps_its_sign() -> None:
    assert not is_zero(sympy.sqrt(L0**2 - 2 * L0 * L1 + L1**2) - (L0 - L1))
    assert is_zero(sympy.sqrt(exp(2 * L0)) - exp(L0))


def test_integrals_with_cases_are_refused() -> None:
    s, a = sympy.Symbol("u", real=True), sympy.Symbol("a", positive=True)
    cases = lambda v: np.array([sympy.Piecewise((1, v < a), (2, True))])  # noqa: E731
    with pytest.raises(ValueError, match="no closed form in general position"):
        GAUSS.integrate(cases, sympy.Integer(0), s, SYMBOLIC)
