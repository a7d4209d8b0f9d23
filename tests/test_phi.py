from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.numerics.phi import phi, phi_matrix

from tests.roundings import SOME_ULP
from tests.slow import slow

EXACT = multiprecision(60).context


def exact(k: int, z: Any) -> Any:
    """phi_k from its definition as a series, summed with 100 spare digits: independent of the code under
    test.
    """
    with EXACT.workdps(160):
        z = EXACT.mpc(z) if isinstance(z, complex) else EXACT.mpf(z)
        total, term, j = EXACT.mpf(0), EXACT.mpf(1) / math.factorial(k), 0
        while j < abs(z) or abs(term) > EXACT.mpf(10) ** -150:
            total, j = total + term, j + 1
            term = term * z / (j + k)
        return total


def ulps(k: int, z: Any, value: Any, dtype: Any) -> float:
    true = exact(k, z)
    return float(abs(EXACT.mpmathify(value) - true)) / float(np.spacing(dtype(max(float(abs(true)), 1e-10))))


@pytest.mark.parametrize("k", range(9))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_real_error_is_at_most_5_ulp(k: int, dtype: Any) -> None:
    rng = np.random.default_rng(k)
    z = np.concatenate(
        [np.linspace(-60, 10, 80), rng.uniform(-10, 10, 80), -np.logspace(-8, 1, 20), [k + 1.0, -k - 1.0]]
    )
    z = z.astype(dtype)
    assert max(ulps(k, float(a), float(v), dtype) for a, v in zip(z, phi(k, z))) <= 5


@pytest.mark.parametrize("k", slow(range(9), lambda k: k in (2, 3, 5, 6, 7)))
def test_complex_error_is_at_most_5_ulp_on_the_disc_of_radius_10(k: int) -> None:
    rng = np.random.default_rng(k)
    radius, angle = 10 * np.sqrt(rng.random(60)), 2 * np.pi * rng.random(60)
    rim = 10 * np.exp(2j * np.pi * np.arange(24) / 24) * (1 - 1e-15)
    zeros = [2j * np.pi, 2.0888430156130438 + 7.461489285654254j, 2.6 + 9.0j]
    near = [z0 + 10.0**-d * np.exp(1j * d) for z0 in zeros for d in range(1, 9)]
    z = np.concatenate([radius * np.exp(1j * angle), rim, np.array(near), 1j * np.linspace(-10, 10, 21)])
    assert max(ulps(k, complex(a), complex(v), np.float64) for a, v in zip(z, phi(k, z))) <= 5


@given(st.integers(0, 8), st.floats(-60, 10))
def test_every_kind_of_number_gives_the_same_value(k: int, z: float) -> None:
    scalar = phi(k, z)
    for other in (
        phi(k, np.float64(z)),
        float(phi(k, np.array([z]))[0]),
        phi(k, torch.tensor(z, dtype=torch.float64)).item(),
        float(phi(k, EXACT.mpf(z))),
    ):
        assert other == pytest.approx(scalar, rel=2e-15, abs=0)  # 9 ulp


@pytest.mark.parametrize(
    "z",
    [
        torch.tensor([0.5], dtype=torch.float16),
        torch.tensor([0.5]),
        np.float32(0.5),
        np.array([1 + 1j], np.complex64),
    ],
)
def test_dtype_is_kept(z: Any) -> None:
    assert phi(2, z).dtype == z.dtype


@given(st.integers(0, 7), st.floats(-60, 10))
def test_recurrence_holds(k: int, z: float) -> None:
    assert z * phi(k + 1, z) + 1 / math.factorial(k) == pytest.approx(phi(k, z), rel=SOME_ULP, abs=SOME_ULP)


@pytest.mark.parametrize("k", range(9))
@pytest.mark.parametrize("z", ["1e-8", "-1e-20", "0", "-60", "9.5", "0.99"])
def test_multiprecision_keeps_all_digits(k: int, z: str) -> None:
    context = multiprecision(50).context
    value, true = phi(k, context.mpf(z)), exact(k, context.mpf(z))
    assert abs(EXACT.mpf(value) - true) <= EXACT.mpf(10) ** -49 * abs(true)


def test_gradient_is_exact_at_and_around_zero() -> None:
    z = torch.tensor([0.0, 1e-9, 2.0, 5.0, -30.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(phi(3, z).sum(), z)
    expected = [phi(3, v) - 3 * phi(4, v) for v in z.tolist()]  # phi_k' = phi_k - k phi_{k+1}
    assert gradient.tolist() == pytest.approx(expected, abs=SOME_ULP)


@pytest.mark.parametrize("k", slow(range(5), lambda k: k > 2))
def test_matrices_agree_with_multiprecision(k: int) -> None:
    a = np.random.default_rng(0).standard_normal((12, 12))
    value = phi_matrix(k, EXACT.matrix(a.tolist()))
    true = np.array([[float(value[i, j]) for j in range(12)] for i in range(12)])
    scale = np.abs(true).max()
    for made in (phi_matrix(k, a), phi_matrix(k, torch.tensor(a)).numpy(), phi_matrix(k, a[None])[0]):
        assert np.abs(made - true).max() <= SOME_ULP * scale


def test_a_diagonal_matrix_gives_the_scalar_function() -> None:
    z = np.array([-3.0, 0.0, 0.5])
    assert np.diag(phi_matrix(3, np.diag(z))) == pytest.approx(phi(3, z), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("k", [-1, 33, 1.0, True, "1"])
def test_other_orders_are_refused(k: Any) -> None:
    with pytest.raises(ValueError, match="k must be"):
        phi(k, 0.5)


@pytest.mark.parametrize("z", ["a", None, np.array(["a"]), [1.0]])
def test_other_arguments_are_refused(z: Any) -> None:
    with pytest.raises(TypeError, match="z must be"):
        phi(1, z)


def test_matrices_must_be_square() -> None:
    with pytest.raises(ValueError, match="square"):
        phi_matrix(1, np.ones((2, 3)))


@pytest.mark.parametrize("k", [12, 20, 32])
@pytest.mark.parametrize("z", ["1.5", "-1", "-40", "9.5"])
def test_multiprecision_keeps_all_digits_up_to_the_largest_k(k: int, z: str) -> None:
    context = multiprecision(50).context
    with EXACT.workdps(160):
        at, total, term, j = EXACT.mpf(z), EXACT.mpf(0), EXACT.mpf(1) / math.factorial(k), 0
        while j < 60 or abs(term) > EXACT.mpf(10) ** -150:
            total, j = total + term, j + 1
            term = term * at / (j + k)
        assert abs(EXACT.mpf(phi(k, context.mpf(z))) - total) <= EXACT.mpf(10) ** -49 * abs(total)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_low_precision_tensors_are_the_double_results_rounded(dtype: torch.dtype) -> None:
    z = torch.linspace(-9, 9, 41).to(dtype) * (1 if dtype == torch.float32 else 1 + 0.5j)
    wide = torch.float64 if dtype == torch.float32 else torch.complex128
    for k in range(9):
        assert torch.equal(phi(k, z), phi(k, z.to(wide)).to(dtype))
        assert np.array_equal(phi(k, z).numpy(), phi(k, z.numpy()))


def test_overflow_is_infinity_for_every_kind() -> None:
    for k in (0, 1, 3):
        assert phi(k, 800.0) == float("inf")


def test_an_integer_matrix_becomes_float() -> None:
    from semilinear.integrators.numerics.phi import phi_matrix

    a = [[0, 1], [-1, 0]]
    assert np.array_equal(phi_matrix(1, np.array(a)), phi_matrix(1, np.array(a, float)))


@pytest.mark.parametrize("k", range(1, 6))
def test_a_multiprecision_matrix_has_all_its_digits(k: int) -> None:
    context = multiprecision(50).context
    z = [context.mpf(v) for v in ("-3", "0.25", "1e-9")]
    value = phi_matrix(k, context.diag(z))
    assert all(abs(value[i, i] - phi(k, v)) <= context.mpf(10) ** -48 for i, v in enumerate(z))
