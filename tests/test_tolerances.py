"""Every tolerance of the tests has its reason beside it: a name that says it, or a comment."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.py"))
CLOSE = {"approx": 1, "allclose": 2, "assert_allclose": 2, "assert_close": 2, "isclose": 2}
"""Comparisons up to a tolerance, and how many arguments stand before it."""
TOLERANCES = ("rel", "abs", "rtol", "atol", "rel_tol", "abs_tol")
SMALL = 0.1
"""What lies below a larger bound is no equality."""


def fractions(node: ast.AST) -> list[float]:
    """The numbers with a point, but zero, in an expression."""
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return [value for value in constants if isinstance(value, float) and value]


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def tolerances(call: ast.Call) -> list[ast.expr]:
    return [k.value for k in call.keywords if k.arg in TOLERANCES] + call.args[CLOSE[called(call)] :]


def bounds(compare: ast.Compare) -> Iterator[ast.expr]:
    """The larger sides of inequalities."""
    for left, op, right in zip([compare.left, *compare.comparators], compare.ops, compare.comparators):
        if isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            yield right if isinstance(op, ast.Lt | ast.LtE) else left


def numbers(statement: ast.stmt) -> Iterator[ast.expr]:
    """Tolerances in a statement (not those in the statements inside it) that are numbers or the default."""
    for node in walk(statement):
        if isinstance(node, ast.Call) and called(node) in CLOSE:
            given = tolerances(node)
            if not given or any(fractions(value) for value in given):
                yield node
        elif isinstance(node, ast.Compare) and isinstance(statement, ast.Assert):
            for side in bounds(node):
                if any(value <= SMALL for value in fractions(side)):
                    yield side


def walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from walk(child)


def unexplained(source: str) -> list[int]:
    """Lines of tolerances without a comment: on the lines of the statement, above it, above the tolerances
    that it follows, or above the block that it stands in.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.line.lstrip().startswith("#") for t in tokens if t.type == tokenize.COMMENT}
    found: list[int] = []

    def look(block: list[ast.stmt], explained: bool) -> None:
        previous = 0  # where the run of tolerances that this statement may continue ends
        run = False
        for statement in block:
            above = comments.get(statement.lineno - 1, False)
            own = list(numbers(statement))
            run = above or (run and previous == statement.lineno - 1)
            inner = [b for f in ("body", "orelse", "finalbody") if (b := getattr(statement, f, None))]
            last = (inner[0][0].lineno - 1) if inner else (statement.end_lineno or 0)
            beside = any(line in comments for line in range(statement.lineno, last + 1))
            if own and not (explained or run or beside):
                found.extend(n.lineno for n in own)
            for b in inner:
                scope = isinstance(statement, ast.FunctionDef | ast.ClassDef)
                look(b, not scope and (explained or run))
            previous = statement.end_lineno or 0
            run = run and bool(own)

    look(ast.parse(source).body, False)
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_tolerance_has_its_reason(path: Path) -> None:
    assert unexplained(path.read_text()) == []


def test_a_tolerance_of_rounding_is_not_below_the_one_that_approx_adds() -> None:
    """`pytest.approx(x, rel=..)` allows an absolute 1e-12 too: more than rounding where x is below 100."""
    silent = [
        f"{path.name}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and called(node) == "approx"
        and {k.arg for k in node.keywords} == {"rel"}
        and any(isinstance(n, ast.Name) and n.id.isupper() for n in ast.walk(node.keywords[0].value))
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("assert x == approx(1)", [1]),
        ("assert x == approx(1, rel=1e-9)", [1]),
        ("assert x == approx(1, rel=1e-9)  # why", []),
        ("assert x == approx(1, rel=SOME_ULP, abs=0)", []),
        ("assert abs(x) < 1e-9 * size", [1]),
        ("assert abs(x) < SOME_ULP * size", []),
        ("assert 1e-9 > x", [1]),
        ("assert x > 1e-9", []),
        ("# why\nassert x < 1e-9\nassert x < 1e-8\n\nassert x < 1e-7", [5]),
        ("# why\nfor x in y:\n    z = x\n    assert z < 1e-9", []),
        ("# why\ndef f():\n    assert z < 1e-9", [3]),
        ("assert_allclose(x, y, 1e-9, 0)", [1]),
    ],
)
def test_the_law_sees_what_it_forbids(source: str, lines: list[int]) -> None:
    assert unexplained(source) == lines
