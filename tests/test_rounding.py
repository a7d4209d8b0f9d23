"""Coefficients are rounded once: whatever cancels in their formulas."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.orders.plan_check import check_against_plan, worst
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import FormOf, data_in_lambda, noise_in_lambda
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.numerics.phi import phi
from semilinear.integrators.plans.rounding import BITS, LARGEST, Exact, phis
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import adams, nested_collocation

from tests.slow import MANY_TERMS, slow

VP = vp_linear()
MP = multiprecision(140)


@settings(max_examples=40, deadline=None)
@given(st.floats(-LARGEST, LARGEST), st.integers(0, 12))
def test_phi_in_integers_agrees_with_multiprecision(z: float, most: int) -> None:
    x = Fraction(z)
    for k, value in enumerate(v.fraction for v in phis(most, Exact(*z.as_integer_ratio()))):
        exact = phi(k, MP.number(x))
        assert abs(MP.number(value) - exact) <= MP.number(2) ** (8 - BITS) * max(1, abs(exact))


@settings(max_examples=60, deadline=None)
@given(st.fractions(), st.fractions(), st.integers(-3, 3), st.floats(-1e9, 1e9))
def test_what_is_not_reduced_computes_as_fractions_do(a: Fraction, b: Fraction, n: int, x: float) -> None:
    p, q = (Exact(-3 * v.numerator, -3 * v.denominator) for v in (a, b))
    assert (p + q).fraction == a + b
    assert (p * q).fraction == a * b
    assert float(p + q) == float(a + b)
    assert p + x == float(a) + x == x + p
    assert p * x == float(a) * x == x * p
    for value, power in ((p, Fraction(1, 2)), (q, Fraction(n))):
        try:
            wanted = value.fraction**power
        except ZeroDivisionError:
            with pytest.raises(ZeroDivisionError):
                value ** Exact(power.numerator, power.denominator)
        else:
            found = value ** Exact(2 * power.numerator, 2 * power.denominator)
            assert (found.fraction if isinstance(found, Exact) else found) == wanted


@pytest.mark.parametrize("form", [data_in_lambda, noise_in_lambda])
@pytest.mark.parametrize("name", slow(CATALOGUE, lambda name: name in MANY_TERMS))
def test_coefficients_of_the_whole_catalogue_are_within_2_ulp(name: str, form: FormOf) -> None:
    """phi_1(z/2)/2 - phi_2(z/2), of Krogstad's method, is 1466 ulp off at h = 0.01 when added in float64."""
    tableau = CATALOGUE[name].tableau
    for t0, t1 in ((0.7, 0.65), (0.2, 0.01), (0.5, 0.5 - 1e-9)):
        past = [t0 + 0.9 * (0.99 - t0) * j / tableau.past for j in range(1, tableau.past + 1)]
        found = worst(check_against_plan(tableau, VP, t0, t1, past=past, form=form))
        assert found.ulp <= 2, found


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_coefficients_of_adams_methods_are_within_2_ulp(k: int) -> None:
    for past in ([0.75, 0.8, 0.85, 0.9], [0.7001, 0.71, 0.9, 0.95]):
        assert worst(check_against_plan(adams(k), VP, 0.7, 0.65, past=past)).ulp <= 2


def test_coefficients_of_nested_collocation_are_within_2_ulp() -> None:
    assert worst(check_against_plan(nested_collocation(5), VP, 0.7, 0.65)).ulp <= 2
