"""Model statistics: series, closed forms, tables, files."""

from __future__ import annotations

import io
import itertools
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion.schedule import edm, vp_linear
from semilinear.integrators.numerics.arithmetic import FLOAT64, multiprecision
from semilinear.integrators.numerics.series import Series, interpolate
from semilinear.integrators.statistics.files import StatisticsError, load, load_release, save
from semilinear.integrators.statistics.smooth import Smooth, constant, from_functions, from_series, gaussian
from semilinear.integrators.statistics.table import Tabulated, smooth
from semilinear.verification.replay.golden import DATA, read
from semilinear.verification.replay.releases.dpm_solver_v3 import table

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP
from tests.slow import slow

LOW, HIGH = -2.0, 3.0
GOLDEN = read(DATA / "dpm-solver-v3.json")
VP = vp_linear()


def wave(lam: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(lam), np.exp(lam / 4)])


def l_of(lam: np.ndarray) -> np.ndarray:
    return 0.5 + 0.4 * np.stack([np.sin(lam), np.cos(2 * lam)])


def s_of(lam: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(lam) - 0.5, 0.3 * lam])


def b_of(lam: np.ndarray) -> np.ndarray:
    return np.stack([1 / (2 + np.sin(lam)), np.cos(lam + 1)])


SMOOTH = from_functions(l_of, s_of, b_of, LOW, HIGH, 60)


def tabulate(intervals: int) -> Tabulated:
    nodes = np.linspace(LOW, HIGH, intervals + 1)
    return Tabulated(LOW, HIGH, *(f(nodes).T for f in (l_of, s_of, b_of)))


CASES = {
    "constant": (constant([0.3, 0.2], [0.0, -0.5], [0.1, 0.2]), None),
    "gaussian": (gaussian([0.4, 0.09], [1.0, -0.5]), None),
    "spline": (smooth(tabulate(20)), None),
    "smooth": (SMOOTH, (l_of, s_of, b_of)),
}


# --- series ---


@pytest.mark.parametrize("knots", [[LOW, HIGH], [LOW, -1.0, 0.5, HIGH]])
def test_a_series_through_a_smooth_function_is_the_function(knots: list[float]) -> None:
    series, x = interpolate(wave, np.array(knots), 30), np.linspace(LOW, HIGH, 50)
    np.testing.assert_allclose(series(x), wave(x), rtol=0, atol=MANY_ULP)
    np.testing.assert_allclose(series(0.3), wave(np.array([0.3]))[:, 0], rtol=SOME_ULP, atol=SOME_ULP)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(LOW, HIGH))
def test_the_slope_of_the_integral_is_the_series(coefficients: list[float], x: float) -> None:
    values = np.array([coefficients, coefficients[::-1], coefficients]).T
    series = Series(np.array([LOW, -1.5, 1.0, HIGH]), values)
    assert series.integral().slope(x) == pytest.approx(float(series(x)), abs=SOME_ULP)


def test_the_integral_is_continuous_and_starts_at_zero() -> None:
    knots = np.array([LOW, -1.0, 0.5, HIGH])
    integral = Series(knots, np.random.default_rng(0).standard_normal((5, 3, 2))).integral()
    np.testing.assert_allclose(integral(LOW), 0, rtol=0)  # an empty integral
    for knot in (-1.0, 0.5):
        np.testing.assert_allclose(integral(knot - 1e-13), integral(knot), rtol=0, atol=AMPLIFIED)


def test_a_series_in_multiprecision_is_the_same_polynomial() -> None:
    series, xp = interpolate(wave, np.array([LOW, HIGH]), 20), multiprecision(40)
    for x in (-1.9, 0.3, 2.99):
        np.testing.assert_allclose(series(xp.number(x)).astype(float), series(x), rtol=SOME_ULP)
        near = xp.number(x) + xp.number(10) ** -15
        slope = (series(near) - series(xp.number(x))) * 10**15
        np.testing.assert_allclose(
            series.slope(xp.number(x)).astype(float), slope.astype(float), rtol=0, atol=SOME_ULP
        )


# --- potentials and moments ---


@pytest.mark.parametrize("name", CASES)
def test_potentials_are_the_integrals_of_l_s_b(name: str) -> None:
    """L' = l, and for given functions S' = s and e^S B' = b."""
    statistics, functions = CASES[name]
    xp = multiprecision(40)
    small = xp.number(10) ** -15
    for lam in (-1.3, 0.2, 1.7):
        here, there = statistics.at(xp.number(lam)), statistics.at(xp.number(lam) + small)
        slopes = [(np.asarray(b) - np.asarray(a)) / small for a, b in zip(here[1:], there[1:], strict=True)]
        np.testing.assert_allclose(slopes[0].astype(float), np.asarray(here.l).astype(float), rtol=SOME_ULP)
        if functions is not None:
            l, s, b = (f(np.array([lam]))[:, 0] for f in functions)
            np.testing.assert_allclose(statistics.at(lam).l, l, rtol=MANY_ULP)
            np.testing.assert_allclose(slopes[1].astype(float), s, rtol=MANY_ULP)
            grown = xp.exp(np.asarray(here.S)) * slopes[2]
            np.testing.assert_allclose(grown.astype(float), b, rtol=MANY_ULP, atol=MANY_ULP)


def test_those_of_a_gaussian_are_the_closed_forms_of_the_release_data() -> None:
    """Golden `gauss-diagonal`: l = v/(c + v), s = 0, b = -l' m, rounded to nine digits there."""
    entry, problem = GOLDEN["ems"]["gauss-diagonal"], GOLDEN["problems"]["gauss-2d-diagonal"]
    statistics = gaussian(np.diag(problem["covariances"][0]), problem["means"][0])
    given = table(entry)
    for i in (0, 60, 100, 200):
        lam = float(given.nodes[i])
        np.testing.assert_allclose(statistics.at(lam).l, given.l[i], rtol=5e-9)  # half of the ninth digit
        step = 1e-4
        slope = (statistics.at(lam + step).B - statistics.at(lam - step).B) / (2 * step)
        np.testing.assert_allclose(slope, given.b[i], rtol=1e-7)  # h^2 and ulp/h


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ends", [(-1.3, 0.4), (0.4, -1.3)])
def test_moments_are_those_of_the_definition(name: str, ends: tuple[float, float]) -> None:
    """Forwards and backwards."""
    statistics, (a, b) = CASES[name][0], ends
    first, last = statistics.at(a), statistics.at(b)

    def rows(x: float) -> np.ndarray:
        at = statistics.at(x)
        weight = np.exp((at.L - last.L) + (at.S - first.S))
        forced = weight * np.exp(first.S) * (at.B - first.B)
        return np.stack([*(weight * ((x - a) / (b - a)) ** k / math.factorial(k) for k in range(4)), forced])

    inner = [k for k in statistics.kinks if min(ends) < k < max(ends)]
    expected, _ = scipy.integrate.quad_vec(
        rows, min(ends), max(ends), epsabs=1e-15, epsrel=1e-14, points=inner or None
    )
    found = statistics.moments(a, b, 4)
    np.testing.assert_allclose(found, expected * np.sign(b - a), rtol=MANY_ULP)


def test_numbers_beside_arrays_stand_for_every_component() -> None:
    for few, many in (
        (gaussian(0.5, [1.0, -0.5]), gaussian([0.5, 0.5], [1.0, -0.5])),
        (constant(l=1.0, b=[0.1, 0.2]), constant([1.0, 1.0], [0.0, 0.0], [0.1, 0.2])),
    ):
        assert few.shape == many.shape == (2,)
        np.testing.assert_array_equal(few.moments(-1.0, 0.5, 3), many.moments(-1.0, 0.5, 3))


def test_the_spline_of_a_table_keeps_its_values_and_converges() -> None:
    for degree, order in ((1, 2), (3, 4), (5, 6)):
        errors = []
        for intervals in (40, 80):
            spline = smooth(tabulate(intervals), degree)
            nodes = np.linspace(LOW, HIGH, intervals + 1)[1:-1:7]
            kept = np.stack([spline.at(float(lam)).l for lam in nodes], -1)
            np.testing.assert_allclose(kept, l_of(nodes), rtol=SOME_ULP)
            difference = spline.moments(-1.51, 1.23, 3) - SMOOTH.moments(-1.51, 1.23, 3)
            errors.append(float(np.max(np.abs(difference))))
        # nearer to its order than to any other
        assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


def test_a_short_table_has_splines_of_the_degree_that_it_allows() -> None:
    """Each of them is exact for linear statistics."""
    for intervals in (1, 2, 3, 4):
        nodes = np.linspace(LOW, HIGH, intervals + 1)
        spline = smooth(Tabulated(LOW, HIGH, 0.5 + 0.2 * nodes, 0 * nodes, 0 * nodes))
        assert spline.at(0.3).l == pytest.approx(0.56, rel=SOME_ULP, abs=0)
        assert spline.at(-1.7).l == pytest.approx(0.16, rel=SOME_ULP, abs=0)


# --- tables ---


def test_cumulative_integrals_are_those_of_the_release() -> None:
    block = GOLDEN["precomputed_integrals"]
    cumulative = table(GOLDEN["ems"][block["ems"]]).integrals(FLOAT64)
    for name in ("L", "S", "I", "B", "C"):
        np.testing.assert_allclose(
            getattr(cumulative, name)[block["nodes"]], block[name], rtol=MANY_ULP, atol=MANY_ULP
        )


def test_trapezoidal_moments_tend_to_the_exact_ones_as_the_grid_squared() -> None:
    errors = []
    for intervals in (100, 200, 400):
        lam = tabulate(intervals).nodes
        ends = float(lam[intervals // 10]), float(lam[intervals // 2])
        difference = tabulate(intervals).moments(*ends, 3) - SMOOTH.moments(*ends, 3)
        errors.append(np.max(np.abs(difference), axis=1))
    # h^2 (1 + O(h^2)): 3e-4 at 400 intervals
    np.testing.assert_allclose(np.log2(errors[1] / errors[2]), 2, rtol=0, atol=0.002)


def test_moments_backwards_on_a_table_are_those_of_the_definition() -> None:
    """The backward step's are the forward step's from the other end, up to the factors of the bases."""
    t = tabulate(50)
    low, high = float(t.nodes[10]), float(t.nodes[30])
    forward, back = t.moments(low, high, 2), t.moments(high, low, 2)
    a, b = t.at(low), t.at(high)
    bases = np.exp((b.L - a.L) + (a.S - b.S))
    np.testing.assert_allclose(back[0], -forward[0] * bases, rtol=SOME_ULP)
    np.testing.assert_allclose(back[1], -(forward[0] - forward[1]) * bases, rtol=SOME_ULP)


def test_times_are_moved_to_the_nearest_nodes() -> None:
    t = tabulate(50)
    times = tuple(float(VP.t_of_lam(v)) for v in (-2.0, -0.87, 0.33, 3.0))
    placed = [float(VP.lam(v)) for v in t.place(VP, times)]
    np.testing.assert_allclose(placed, [-2.0, -0.9, 0.3, 3.0], rtol=SOME_ULP)
    assert SMOOTH.place(VP, times) == times


def test_two_times_on_one_node_are_refused() -> None:
    t = tabulate(5)
    times = tuple(float(VP.t_of_lam(v)) for v in (-2.0, 0.1, 0.2, 3.0))
    with pytest.raises(ValueError, match=r"times\[1\] and times\[2\] both fall on node 2 of 5"):
        t.place(VP, times)


def test_statistics_are_not_stretched() -> None:
    """The release would: a range of lambda that the statistics do not cover is refused."""
    with pytest.raises(ValueError, match=r"known for lambda in \[-2, 3\], got 3.5"):
        tabulate(50).place(VP, (0.5, float(VP.t_of_lam(3.5))))
    with pytest.raises(ValueError, match=r"known for lambda in \[-2, 3\], got -2.1"):
        SMOOTH.at(-2.1)
    with pytest.raises(ValueError, match="not known at lambda = inf"):
        gaussian().at(float("inf"))


def test_a_lambda_between_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="between the nodes 25 and 26"):
        tabulate(50).at(0.53)
    tabulate(50).at(0.5 + 1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l": np.ones((1, 2))}, "l must have shape"),
        ({"l": np.float64(1)}, "l must have shape"),
        ({"s": np.ones((3, 3))}, "s must have the shape of l"),
        ({"b": np.array([[0, 1], [np.nan, 0], [0, 0]])}, "b must be finite, got 1 values"),
        ({"b": np.array([[0, 1], [1j, 0], [0, 0]])}, "b must be an array of real numbers"),
        ({"s": np.array([["a", "b"]] * 3)}, "s must be an array of real numbers"),
        ({"lam_start": 3.0}, "lam_start and lam_end must be finite and increasing"),
        ({"lam_end": float("inf")}, "lam_start and lam_end must be finite"),
    ],
)
def test_bad_tables_are_named(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"lam_start": LOW, "lam_end": HIGH} | {k: np.ones((3, 2)) for k in "lsb"}
    with pytest.raises(ValueError, match=message):
        Tabulated(**(fields | changes))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gaussian(variance=0.0), "variance must be positive"),
        (lambda: gaussian(mean=float("nan")), "mean must be finite"),
        (lambda: gaussian(mean="x"), "mean must be a number"),
        (
            lambda: gaussian([1.0, 2.0], [0.0, 1.0, 2.0]),
            r"must have shapes that broadcast, got \(2,\), \(3,\)",
        ),
        (lambda: constant(l=float("inf")), "l must be finite"),
        (lambda: from_functions(l_of, s_of, b_of, 3.0, 3.0), "low and high must be finite and increasing"),
        (lambda: from_functions(l_of, s_of, b_of, LOW, HIGH, 0), "degree must be an integer >= 1"),
        (lambda: smooth(tabulate(10), 2), "degree must be one of 1, 3, 5"),
        (
            lambda: from_series(*(interpolate(wave, np.array([0.0, h]), 4) for h in (1.0, 2.0, 1.0))),
            "s must have the knots",
        ),
    ],
)
def test_bad_arguments_are_named(build: Callable[[], Smooth], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_tables_do_not_share_memory_with_their_arguments() -> None:
    l = np.ones((3, 2))
    made = Tabulated(LOW, HIGH, l, l, l)
    l[0, 0] = 7.0
    assert made.l[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        made.l[0, 0] = 7.0


# --- files ---


def test_files_hold_the_same_numbers(tmp_path: Path) -> None:
    made = tabulate(17)
    save(made, tmp_path / "statistics.npz")
    read_back = load(tmp_path / "statistics.npz")
    assert (read_back.lam_start, read_back.lam_end) == (LOW, HIGH)
    for name in ("l", "s", "b"):
        assert np.array_equal(getattr(read_back, name), getattr(made, name))


def test_the_release_layout_is_read(tmp_path: Path) -> None:
    """l.npz and sb.npz, float32, of shape (M + 1, channels, height, width)."""
    l, s, b = np.random.default_rng(0).standard_normal((3, 5, 3, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "l.npz", l=l)
    np.savez(tmp_path / "sb.npz", s=s, b=b)
    made = load_release(tmp_path, VP.lam(1.0), VP.lam(1e-3))
    assert made.shape == (3, 4, 4)
    assert made.intervals == 4
    for name, value in (("l", l), ("s", s), ("b", b)):
        assert np.array_equal(getattr(made, name), value.astype(np.float64))


def archive(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


GOOD: dict[str, Any] = {
    "schema": "semilinear-statistics/1",
    "lam": np.array([0.0, 1.0]),
    "l": np.ones(3),
    "s": np.ones(3),
    "b": np.ones(3),
}


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npz archive"),
        (b"hello", "not an .npz archive"),
        (archive(**GOOD)[:300], "not an .npz archive"),
        (pickle.dumps(Bomb()), "not an .npz archive"),
        (archive(**(GOOD | {"l": np.array([Bomb()], dtype=object)})), "not an .npz archive of numbers"),
        (archive(**{k: v for k, v in GOOD.items() if k != "s"}), "not s"),
        (archive(**(GOOD | {"schema": "other"})), "schema must be"),
        (archive(**(GOOD | {"lam": np.ones(3)})), "lam must hold two numbers"),
        (archive(**(GOOD | {"lam": np.ones(2)})), "lam_start and lam_end"),
        (archive(**(GOOD | {"b": np.array([0, np.inf, 0])})), "b must be finite"),
    ],
    ids=["empty", "text", "cut", "pickle", "object", "missing", "schema", "lam", "range", "infinite"],
)
def test_other_files_are_refused_and_nothing_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "statistics.npz"
    path.write_bytes(content)
    with pytest.raises(StatisticsError, match=message):
        load(path)
    assert capsys.readouterr().out == ""


def test_an_array_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "l.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(StatisticsError, match=r"not an \.npz archive"):
        load(tmp_path / "l.npz")
    with pytest.raises(OSError, match=r"missing"):
        load(tmp_path / "missing.npz")


def test_statistics_depend_on_lambda_alone() -> None:
    """The same table places times of any schedule."""
    t = tabulate(50)
    for schedule in (VP, edm()):
        times = tuple(float(schedule.t_of_lam(v)) for v in (-1.0, 0.5, 2.0))
        np.testing.assert_allclose(t.place(schedule, times), times, rtol=SOME_ULP)


@pytest.mark.parametrize("degree", [1, 3])
def test_splines_of_constant_statistics_are_constant(degree: int) -> None:
    table = Tabulated(-5, 5, np.ones(11), np.zeros(11), np.zeros(11))
    at = smooth(table, degree).at(0.3)
    assert (at.l, at.L, at.S, at.B) == pytest.approx((1.0, 5.3, 0.0, 0.0), rel=1e-14, abs=1e-14)  # some ulp


ENDS = ((-4.0, -3.99), (0.3, 0.31), (-1.0, 3.0), (2.0, 1.5))
QUICK = (*itertools.product(["gaussian"], ENDS), ("series", ENDS[1]))


@pytest.mark.parametrize(
    ("kind", "ends"),
    slow(
        itertools.product(("gaussian", "series"), ENDS),
        lambda case: case[0] == "series" and case[1] != ENDS[1],
    ),
)
def test_moments_by_shared_series_are_exact_to_rounding(kind: str, ends: tuple[float, float]) -> None:
    """Against quadrature in 30 digits, and whatever was asked for before."""
    if kind == "gaussian":
        statistics = gaussian(np.array([0.05, 0.7, 3.0]), np.array([1.0, -0.5, 0.0]))
    else:
        f = lambda lam: np.stack([np.sin(lam * k / 3 + k) / 2 for k in (1, 2, 3)])  # noqa: E731
        statistics = from_functions(f, f, f, -6, 6)
    xp = multiprecision(30)
    start, end = ends
    found = statistics.moments(start, end, 3)
    exact = statistics.moments(xp.number(start), xp.number(end), 3)
    errors = np.array(abs((found - exact) / abs(exact[0]).max()), dtype=np.float64)
    assert errors.max() < SOME_ULP
    statistics.moments(-2.2, 4.4, 3)
    assert np.array_equal(statistics.moments(start, end, 3), found)


@pytest.mark.parametrize("law", [gaussian([0.4, 0.09], [1.0, -0.5]), constant([0.3, 0.2], [0.0, -0.5], 0.1)])
def test_the_exponentials_of_a_node_are_those_of_its_potentials(law: Smooth) -> None:
    at = law.at(0.3)
    assert at.decay == pytest.approx(np.exp(-at.L), rel=SOME_ULP, abs=0)
    assert at.growth == pytest.approx(np.exp(at.S), rel=SOME_ULP, abs=0)
    assert at.damping == pytest.approx(np.exp(-at.S), rel=SOME_ULP, abs=0)
    assert law.at(0.3) is at  # the steps that meet there ask for the same
