from __future__ import annotations

import inspect
import json
import random
import re
from fractions import Fraction
from typing import Any

import pytest
import sympy
from scipy.integrate._ivp import dop853_coefficients
from semilinear.analysis.orders.proof import prove
from semilinear.analysis.orders.rounded import RoundedField
from semilinear.analysis.orders.typed import COARSEST, half_unit, rounding_of
from semilinear.analysis.orders.within_rounding import WithinRounding, within_rounding
from semilinear.analysis.text.tableau_file import Document, parse_tableau
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, evaluation, nested, phi
from sympy import Expr, Integer, Rational

from .published_tables import EXACT, RK87, ROUNDED, TSITOURAS5


def document(rows: dict[str, Any], **said: Any) -> Document:
    return parse_tableau(json.dumps({"form": "rho"} | rows | said))


def known(rows: dict[str, Any], **said: Any) -> WithinRounding:
    found = document(rows, **said).within_rounding()
    assert found is not None
    return found


# --- known tables ---


@pytest.mark.parametrize("name", EXACT)
def test_published_tables_have_their_orders(name: str) -> None:
    table = EXACT[name]
    read = document(table.rows)
    proof = read.prove()
    assert proof.classical == table.order
    assert (proof.embedded.classical if proof.embedded else None) == table.low
    assert read.within_rounding() is None


def dop853() -> dict[str, Any]:
    """The table in scipy's source, with the digits that stand there."""
    source, size = inspect.getsource(dop853_coefficients), 12

    def text(number: str) -> str:
        mantissa, _, exponent = number.partition("e")
        digits, shift = mantissa.replace("-", "").replace(".", ""), int(exponent or 0)
        places = len(mantissa.partition(".")[2]) - shift
        padded = digits.zfill(places + 1)
        sign = "-" if mantissa.startswith("-") else ""
        return f"{sign}{padded[:-places]}.{padded[-places:]}" if places > 0 else mantissa

    nodes = re.search(r"C = np.array\(\[(.*?)\]\)", source, re.DOTALL)
    assert nodes is not None
    a: list[list[Any]] = [[0] * i for i in range(size + 1)]
    for i, j, value in re.findall(r"^A\[(\d+), (\d+)\] = (\S+)$", source, re.MULTILINE):
        if int(i) <= size:
            a[int(i)][int(j)] = text(value)
    c = [text(n.strip()) for n in nodes[1].split(",")[:size]]
    return {"c": [0, *c[1:]], "a": a[:size], "b": a[size]}


def test_a_table_of_30_digits_has_order_8_within_its_rounding() -> None:
    found = known(dop853())
    assert found.classical == 8
    assert found.residual is not None
    assert found.residual < 1e-28  # sums of 12 numbers in 30 digits
    assert found.next_residual is not None
    assert found.next_residual > 1e-7


@pytest.mark.parametrize(("name", "size"), [("tsitouras5", 1e-13), ("rk8(7)13m", 2e-16)])
def test_rounded_tables_have_order_0_exactly_and_their_own_within_rounding(name: str, size: float) -> None:
    table = ROUNDED[name]
    assert document(table.rows).prove().classical == 0
    found = known(table.rows)
    assert (found.classical, found.stiff, found.at_least, found.reason) == (table.order, None, False, "")
    assert found.residual is not None
    assert found.bound is not None
    assert 0 < found.residual <= found.bound < size
    assert found.next_residual is not None
    assert found.next_bound is not None
    assert found.next_residual > 1e6 * found.next_bound


def test_the_second_row_of_a_rounded_pair_has_its_own_order() -> None:
    found = known({**RK87.rows, "b": RK87.rows["low"]})
    assert found.classical == RK87.low == 7


@pytest.mark.parametrize("name", [*ROUNDED, "dop853"])
def test_a_coefficient_off_by_ten_units_of_the_table_is_not_excused(name: str) -> None:
    rows = dop853() if name == "dop853" else ROUNDED[name].rows
    order = 8 if name == "dop853" else ROUNDED[name].order
    rounding = rounding_of(document(rows).tableau)
    assert rounding is not None
    unit = 2 * max(rounding.halves.values())
    draw = random.Random(name)
    for place in draw.sample(_places(rows), 3):
        key, *index = place
        changed = json.loads(json.dumps(rows))
        row = changed[key] if len(index) == 1 else changed[key][index[0]]
        value = Fraction(str(row[index[-1]])) + draw.choice((10, -10)) * unit
        row[index[-1]] = f"{value.numerator}/{value.denominator}"
        found = document(changed).within_rounding()
        assert found is None or found.classical != order, place


def _places(rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The places of the coefficients that are rounded."""

    def long(entry: Any) -> bool:
        return bool(half_unit(Rational(str(entry))))

    places: list[tuple[Any, ...]] = [
        ("a", i, j) for i, r in enumerate(rows["a"]) for j, e in enumerate(r) if long(e)
    ]
    return places + [("b", j) for j, e in enumerate(rows["b"]) if long(e)]


@pytest.mark.parametrize(
    ("key", "index", "typo"),
    [("a", (4, 2), "64448/6571"), ("b", (2,), "500/1112"), ("a", (3, 0), "44/46"), ("c", (4,), "8/10")],
)
def test_short_fractions_are_exact(key: str, index: tuple[int, ...], typo: str) -> None:
    rows = json.loads(json.dumps(EXACT["dormand-prince5(4)"].rows))
    row = rows[key] if len(index) == 1 else rows[key][index[0]]
    row[index[-1]] = typo
    read = document(rows)
    assert read.within_rounding() is None
    assert read.prove().classical < 5
    mixed = json.loads(json.dumps(rows | {"b": [*rows["b"][:-1], "0.00000000000000000000"]}))
    assert document(mixed).prove().classical < 5


def test_a_wrong_digit_of_a_decimal_is_named_by_its_row() -> None:
    rows = json.loads(json.dumps(TSITOURAS5.rows))
    rows["a"][3][1] = "-6.359448489975175"
    found = known(rows)
    assert found.classical is None
    assert "the row of stage 4 misses its sum by 1.0e-13" in found.reason


def test_a_short_decimal_is_a_fraction() -> None:
    """0.33 is not 1/3 within 0.005."""
    kutta = EXACT["kutta38"].rows | {"c": [0, "0.33", "0.67", 1]}
    assert document(kutta).within_rounding() is None
    assert document(kutta).prove().classical < 3


# --- which numbers are rounded ---


@pytest.mark.parametrize(
    ("number", "half"),
    [
        (Rational(1, 6), 0),
        (Rational(19372, 6561), 0),
        (Rational("0.161"), 0),
        (Rational("0.0009765625"), 0),
        (Rational("0.037109375"), 0),
        (Rational(117162312, 15491840), 0),
        (Rational("0.333333333333333333333"), Fraction(1, 2 * 10**21)),
        (Rational(14005451, 335480064), Fraction(2, 335480064**2)),
        (Rational(0.1), Fraction(Rational(0.1)) / 2**53),
        (sympy.Float(0.1), Fraction(Rational(0.1)) / 2**53),
        (sympy.Float(0.5), 0),
        (Rational("0.1234567890123457"), Fraction(1, 2 * 10**16) + Fraction("0.1234567890123457") / 2**53),
    ],
)
def test_what_is_rounded_is_read_off_a_number(number: Expr, half: Fraction) -> None:
    assert half_unit(number) == half == half_unit(-number)


def test_trailing_zeros_count_in_a_file() -> None:
    rows = {"c": [0], "a": [[]], "b": ["1.0000000000000000010000"]}
    assert known(rows).rounding == 0.5e-22
    assert known(rows).classical is None
    assert known(rows | {"b": ["1.000000000000000000001"]}).rounding == 0.5e-21


def test_a_stated_rounding_replaces_what_the_digits_show() -> None:
    rows = EXACT["kutta38"].rows
    decimals = rows | {"c": [0, "0.33333", "0.66667", 1], "a": [[], ["0.33333"], ["-0.33333", 1], [1, -1, 1]]}
    assert document(decimals).prove().classical < 3
    assert document(decimals).within_rounding() is None
    assert known(decimals, rounding="5e-6").classical == 4
    assert known(decimals, rounding="1e-6").classical != 4


@pytest.mark.parametrize("stated", [Fraction(0), -COARSEST, 2 * COARSEST])
def test_a_stated_rounding_is_small_and_positive(stated: Fraction) -> None:
    with pytest.raises(ValueError, match=r"rounding must be positive and at most 0\.0001"):
        rounding_of(Tableau((), N(0)), stated)


# --- exponential tables ---


def decimal(value: Expr, digits: int) -> Expr:
    if value.is_Rational:
        return value
    return Rational(str(sympy.N(value, digits + 10).round(digits)))


def in_decimals(tableau: Tableau, digits: int = 20) -> Tableau:
    """A tableau with its irrational numbers rounded, those in phi(k, c) too."""

    def weight(w: Expr) -> Expr:
        total: Expr = Integer(0)
        for part in sympy.Add.make_args(sympy.expand(w)):
            (function,) = part.atoms(phi)
            k, c = function.args
            total += decimal(sympy.radsimp(part / function), digits) * phi(k, decimal(c, digits))
        return total

    def row(weights: Any) -> Expr:
        return sum((weight(w) * evaluation(key) for key, w in weights.items()), Integer(0))

    stages = (Stage(decimal(c, digits), row(w)) for c, w in zip(tableau.c, tableau.a, strict=True))
    return Tableau(tuple(stages), row(tableau.b))


R2, R3 = sympy.sqrt(2), sympy.sqrt(3)


@pytest.mark.parametrize("groups", [[[R2 / 2]], [[1 / R3], [R2 / 2, R3 / 2]]])
def test_a_rounded_exponential_table_has_the_orders_of_the_table_that_it_rounds(groups: Any) -> None:
    tableau = nested(groups)
    exact, rounded = prove(tableau), prove(in_decimals(tableau))
    assert (rounded.classical, rounded.stiff) == (1, 1)
    found = within_rounding(rounded)
    assert found is not None
    assert (found.classical, found.stiff, found.weak_stiff) == (
        exact.classical,
        exact.stiff,
        exact.weak_stiff,
    )
    assert found.residual is not None
    assert 0 < found.residual < 1e-19  # the table's 20 digits


@pytest.mark.parametrize("key", [0, 1])
def test_a_wrong_exponential_table_is_not_excused(key: int) -> None:
    good = in_decimals(nested([[R2 / 2]]))
    stage = good.stages[0]
    for off in (Rational(1, 10**18), Rational(1, 10**6), Rational(1, 100)):
        bad = Tableau((stage,), good.output + off * phi(2, 1) * N(key))
        found = within_rounding(prove(bad))
        assert found is not None
        assert found.classical != 2 or found.stiff != 2
        assert found.classical in (None, 0, 1)


def test_past_values_at_equal_steps_are_judged_within_rounding() -> None:
    """Adams-Bashforth: 23/12, -4/3, 5/12."""
    adams3 = {
        "c": [0],
        "a": [[]],
        "b": ["1.9166666666666666666667"],
        "b_past": ["-1.3333333333333333333333", "0.4166666666666666666667"],
    }
    assert document(adams3, steps="equal").prove().classical == 0
    assert known(adams3, steps="equal").classical == 3
    assert known(adams3).reason == "rounding is not followed through parameters"


def test_rounding_is_not_followed_through_parameters() -> None:
    x = sympy.Symbol("x")
    found = within_rounding(
        prove(Tableau((Stage(x, x * N(0)),), Rational("0.12345678901234567890") * N(1)), form="rho")
    )
    assert found is not None
    assert (found.classical, found.reason) == (None, "rounding is not followed through parameters")


def test_a_number_that_could_be_zero_is_not_divided_by() -> None:
    rounding = rounding_of(Tableau((), Rational("0.1234567890123456789012") * N(0)))
    assert rounding is not None
    (symbol,) = rounding.values
    field = RoundedField(rounding, {})
    rest = field(symbol) - field(rounding.values[symbol])
    assert not rest
    with pytest.raises(ValueError, match="too coarse"):
        rest.inverse()
