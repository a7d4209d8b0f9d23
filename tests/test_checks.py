"""Arguments are checked in one way: what is right is returned, what is not is named with what is needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from semilinear.integrators.common import checks

NO_NUMBERS = (True, np.True_, "1", None, 1j, math.nan, mpmath.mpc(1, 1), sympy.I, sympy.Symbol("x"), [1])


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)], ids=lambda v: type(v).__name__)
def test_an_integer_of_any_kind_comes_back_as_an_int(value: Any) -> None:
    found = checks.integer("n", value, 1, 3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, 2.0, sympy.Integer(2), 0, 4])
def test_what_is_no_integer_of_the_range_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^n must be an integer from 1 to 3, got "):
        checks.integer("n", value, 1, 3)


NUMBERS = (1, 0.5, np.float32(0.5), mpmath.MPContext().mpf(1), sympy.Rational(1, 3), sympy.sqrt(2) / 2)


@pytest.mark.parametrize("value", NUMBERS)
def test_a_number_of_any_kind_comes_back_as_it_is(value: Any) -> None:
    assert checks.number("x", value, above=0, most=1) is value


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.inf, -math.inf, sympy.oo])
def test_what_is_no_finite_number_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x must be a finite number, got "):
        checks.number("x", value)


@pytest.mark.parametrize(
    ("bounds", "outside", "needed"),
    [
        ({"above": 0}, (0, -1), "a positive number"),
        ({"least": 0}, (-1e-300,), "a non-negative number"),
        ({"above": 0, "most": 1}, (0, 1.5), r"a number in \(0, 1\]"),
        ({"above": 0, "below": 1}, (0, 1), r"a number in \(0, 1\)"),
        ({"least": 0, "most": 1}, (-0.5, 2), r"a number in \[0, 1\]"),
        ({"least": 0, "below": 1}, (-0.5, 1), r"a number in \[0, 1\)"),
    ],
)
def test_a_bound_is_said_as_it_is_tested(bounds: dict[str, float], outside: Any, needed: str) -> None:
    for value in outside:
        with pytest.raises(ValueError, match=f"^x must be {needed}, got "):
            checks.number("x", value, **bounds)
    for key, bound in bounds.items():
        if key in ("least", "most"):
            assert checks.number("x", bound, **bounds) == bound


def test_an_exact_number_holds_all_digits_of_a_float() -> None:
    assert checks.exact("x", 0.1) == sympy.Rational(0.1) != sympy.Rational(1, 10)
    assert checks.exact("x", sympy.Float(0.1)) == sympy.Rational(0.1)
    assert checks.exact("x", sympy.sqrt(2)) == sympy.sqrt(2)


@pytest.mark.parametrize("value", ["c", 1, None, ["a"], True])
def test_what_is_none_of_the_names_is_told_them(value: Any) -> None:
    checks.one_of("word", "b", ("a", "b"))
    with pytest.raises(ValueError, match=r"^word must be one of a, b, got "):
        checks.one_of("word", value, ("a", "b"))


def test_true_is_not_the_integer_one() -> None:
    checks.one_of("degree", 1, (1, 3))
    with pytest.raises(ValueError, match=r"^degree must be one of 1, 3, got True"):
        checks.one_of("degree", True, (1, 3))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checks.flag("quiet", 1), "quiet must be True or False, got 1"),
        (lambda: checks.instance("x", 1, np.ndarray), "x must be a ndarray, got 1"),
        (lambda: checks.instance("x", 1, ArithmeticError), "x must be an ArithmeticError, got 1"),
    ],
)
def test_a_value_of_another_class_is_a_type_error(check: Callable[[], None], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        check()


def test_a_reader_of_files_has_its_own_error() -> None:
    class FileError(ValueError):
        pass

    with pytest.raises(FileError):
        checks.integer("n", 0, 1, error=FileError)
    with pytest.raises(FileError):
        checks.one_of("n", "b", ("a",), FileError)


class Thing:
    """Of no kind that anything takes."""


@pytest.mark.parametrize("value", [1, 0.5, np.float64(0.5), mpmath.mpf(1), sympy.Symbol("x"), sympy.pi])
def test_a_number_or_an_expression_is_one_of_sympy(value: Any) -> None:
    assert isinstance(checks.expression("c", value), sympy.Expr)


@pytest.mark.parametrize("value", ["1", "x", None, True, [1], b"1", Thing(), {}, np.ones(2)])
def test_text_is_no_expression(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^c must be an expression or a number, got "):
        checks.expression("c", value)


@pytest.mark.parametrize(
    "value", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), iter([1, 2]), {1: 0, 2: 0}.keys()]
)
def test_a_sequence_of_any_kind_comes_back_as_a_tuple(value: Any) -> None:
    assert checks.sequence("a", value, least=2) == (1, 2)


@pytest.mark.parametrize("value", ["12", b"12", {1: 2}, 3, None, True, np.array(3), Thing()])
def test_what_is_no_sequence_is_named(value: Any) -> None:
    for check in (checks.sequence, checks.pair):
        with pytest.raises(TypeError, match=r"^a must be a sequence, got "):
            check("a", value)


def test_a_sequence_may_have_to_hold_something() -> None:
    assert checks.sequence("a", []) == ()
    with pytest.raises(ValueError, match=r"^a must not be empty, got \[\]"):
        checks.sequence("a", [], least=1)
    with pytest.raises(ValueError, match=r"^a must be a pair, got "):
        checks.pair("a", (1, 2, 3))
    assert checks.pair("a", [1, 2]) == (1, 2)


@pytest.mark.parametrize("value", [None, 3, b"x", True, ["x"], Thing()])
def test_what_is_no_text_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^a must be text, got "):
        checks.text("a", value)
    with pytest.raises(ValueError, match=r"^a must not be empty"):
        checks.text("a", "")
    assert checks.text("a", "x") == "x"


@pytest.mark.parametrize("value", [None, 3, "f", Thing()])
def test_what_cannot_be_called_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^a must be a function, got "):
        checks.function("a", value)
    checks.function("a", len)
