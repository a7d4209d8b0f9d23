"""The rows of a tableau file: its entries read, checked and put together, and written.

Indices in messages are the file's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from semilinear.integrators.tableaux.tableau import MAX_STAGES, N, P, Stage, Tableau, Weights, omega, phi, z
from sympy import Expr, Integer, Symbol

from ..algebra.ring import Field, NotInRing, Ring
from ..orders.typed import Typed
from .grammar import RESERVED, Parser
from .grammar_text import text_of
from .tokens import EntryError

MAX_PARAMETERS = 32


class TableauFileError(ValueError):
    """A file that is no tableau; the message says where in it, and what is expected."""


class JSONFloat(str):
    """The text of a float in JSON, which is refused where it stands as an entry."""


def fail(message: str) -> NoReturn:
    """Refuse a file."""
    raise TableauFileError(message)


def typed_tableau(data: Mapping[str, Any]) -> Typed:
    """The tableau of a file's rows, as it was typed.

    Raises TableauFileError.
    """
    past = past_of(data)
    read = Parser(_parameters(data, past))
    size = len(_list(data, "c"))
    if not 1 <= size <= MAX_STAGES:
        fail(f"c must hold 1 to {MAX_STAGES} abscissae, got {size}")
    entries = {f"c[{i}]": _entry(read, f"c[{i}]", e) for i, e in enumerate(data["c"])}
    for where, row in _rows(data, size, past):
        entries |= {f"{where}[{j}]": _entry(read, f"{where}[{j}]", e) for j, e in enumerate(row)}
    _check({where: read.exact(e) for where, e in entries.items()}, size)

    def formula(key: str, columns: int, place: str = "") -> Expr:
        own = (entries[f"{key}{place}[{j}]"] * N(j) for j in range(columns))
        old = (entries.get(f"{key}_past{place}[{j - 1}]", 0) * P(j) for j in range(1, past + 1))
        return sum((*own, *old), Integer(0))

    stages = tuple(Stage(entries[f"c[{i}]"], formula("a", i, f"[{i}]")) for i in range(1, size))
    rows = [formula(key, size) for key in ("b", "low") if key in data]
    return Typed(Tableau(stages, *rows), read.decimals)


def past_of(data: Mapping[str, Any]) -> int:
    """How many earlier evaluations a file's rows use: "past", or the length of b_past."""
    found = data.get("past", len(_list(data, "b_past")) if "b_past" in data else 0)
    if isinstance(found, JSONFloat) or not str(found).isdigit() or not 0 <= int(found) < MAX_STAGES:
        fail(f"past must be a whole number from 0 to {MAX_STAGES - 1}, got {str(found)[:20]}")
    return int(found)


def _parameters(data: Mapping[str, Any], past: int) -> dict[str, Symbol]:
    """The symbols that entries may use by name: parameters, and step ratios omega1, omega2, .."""
    names = _list(data, "parameters") if "parameters" in data else []
    ratios = {omega(j).name: omega(j) for j in range(1, past + 1)}
    if len(names) > MAX_PARAMETERS:
        fail(f"parameters must be at most {MAX_PARAMETERS}, got {len(names)}")
    evaluations = {f"{word}{j}" for j in range(MAX_STAGES) for word in ("N", "P", "omega")}
    for name in names:
        if type(name) is not str or not (name.isascii() and name.isidentifier()):
            fail(f"parameters must be names, got {repr(name)[:40]}")
        if name in RESERVED or name in evaluations - set(ratios):
            fail(f"parameters: {name} has a meaning of its own")
    return {name: Symbol(name) for name in names} | ratios


def _rows(data: Mapping[str, Any], size: int, past: int) -> Iterator[tuple[str, Sequence[Any]]]:
    """Every row of weights by its place, of the right length."""
    for key in ("a", "a_past"):
        for i, row in enumerate(_list(data, key, size) if key in data else []):
            lengths = (i, size) if key == "a" else (0, past)
            if not isinstance(row, list) or len(row) not in lengths:
                got = f"{len(row)} of them" if isinstance(row, list) else repr(row)[:40]
                fail(f"{key}[{i}] must be a list of {lengths[0]} entries, or of all {lengths[1]}, got {got}")
            yield f"{key}[{i}]", row
    for key in ("b", "low", "b_past", "low_past"):
        if key in data:
            yield key, _list(data, key, past if key.endswith("past") else size)


def _list(data: Mapping[str, Any], key: str, size: int | None = None) -> Sequence[Any]:
    value = data[key]
    if not isinstance(value, list):
        fail(f"{key} must be a list, got {repr(value)[:40]}")
    if size is not None and len(value) != size:
        why = "as many as earlier evaluations (past)" if key.endswith("past") and key[0] != "a" else ""
        fail(f"{key} must have {size} entries, {why or 'as many as c'}, got {len(value)}")
    return value


def _entry(read: Parser, where: str, entry: Any) -> Expr:
    if isinstance(entry, JSONFloat):
        fail(f'{where}: {entry[:20]} is a float; write a text, "1/3" or "0.25", which is exact')
    if not isinstance(entry, str):
        fail(f'{where}: expected a text such as "1/2" or "phi(1, 1/2)", got {repr(entry)[:40]}')
    try:
        return read.typed(str(entry))
    except EntryError as error:
        raise TableauFileError(f"{where}: {error}") from error


def _check(entries: Mapping[str, Expr], size: int) -> None:
    """Refuse entries that no explicit method has, by their place."""
    ring = Ring(Field(entries.values()))
    for where, entry in entries.items():
        if where.startswith("c") and entry.has(z, phi):
            fail(f"{where}: an abscissa must be a number, got {entry}")
        try:
            element = ring(entry)
        except NotInRing as error:
            raise TableauFileError(f"{where}: {error}") from error
        if element.pole:
            fail(f"{where}: must be finite at z = 0, got a pole of order {element.pole}")
        if where == "c[0]" and element:
            fail(f"c[0] must be 0, the start of the step, got {entry}")
        if where.startswith("a_past[0]") and element:
            fail(f"{where} must be 0: the step's start is no stage, got {entry}")
    for i in range(size):
        for j in range(i, size):
            if entries.get(f"a[{i}][{j}]") and ring(entries[f"a[{i}][{j}]"]):
                fail(f"a[{i}][{j}] must be 0: stages are explicit, got {entries[f'a[{i}][{j}]']}")


def row_data(tableau: Tableau) -> dict[str, Any]:
    """The rows of a tableau as a file holds them.

    Raises TableauFileError for coefficients that the grammar has no words for.
    """
    size = len(tableau.stages) + 1
    old = range(-1, -tableau.past - 1, -1)
    names = sorted(s.name for s in tableau.parameters)
    found: dict[str, Any] = {"parameters": names} if names else {}
    rows = [("b", tableau.b), *([] if tableau.b_low is None else [("low", tableau.b_low)])]
    try:
        found["c"] = ["0", *map(text_of, tableau.c)]
        found["a"] = [[], *(_texts(row, range(i)) for i, row in enumerate(tableau.a, 1))]
        found |= {key: _texts(row, range(size)) for key, row in rows}
        if old:
            found["past"] = len(old)
            found["a_past"] = [[], *(_texts(row, old) for row in tableau.a)]
            found |= {f"{key}_past": _texts(row, old) for key, row in rows}
    except EntryError as error:
        raise TableauFileError(str(error)) from error
    return found


def _texts(row: Weights, keys: range) -> list[str]:
    return [text_of(row.get(j, Integer(0))) for j in keys]
