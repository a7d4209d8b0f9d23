"""Tableaux as files: {"c": [..], "a": [[..], ..], "b": [..]}, for methods of one step and explicit stages.

    U_i = e^(c_i z) u_n + h sum_j a_ij(z) N_j,   u_(n+1) = e^z u_n + h sum_j b_j(z) N_j,   N_1 at u_n, c_1 = 0

Entries are texts of `grammar.py` or whole numbers.  A row of `a` is written whole or up to the diagonal.
Besides, a file may hold "low" (a second output row), "linearised": true (L is the Jacobian at u_n), "name"
and "source".  Indices in messages count from 0, as in the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from semilinear.integrators.files import write_atomically
from semilinear.integrators.tableau import MAX_STAGES, N, Stage, Tableau, Weights, phi, z
from sympy import Expr, Integer

from .grammar import Parser
from .grammar_text import text_of
from .ring import Field, NotInRing, Ring
from .tokens import EntryError

MAX_BYTES = 2_000_000
REQUIRED, OPTIONAL = ("c", "a", "b"), ("low", "linearised", "name", "source")


class TableauFileError(ValueError):
    """A file that is no tableau; the message says where in it, and what is expected."""


@dataclass(frozen=True)
class Document:
    """What a file says: a tableau, whether it is of Rosenbrock type, and whose it is."""

    tableau: Tableau
    linearised: bool = False
    name: str = ""
    source: str = ""


def read_tableau(path: str | os.PathLike[str]) -> Document:
    """Read a tableau from a file.

    Raises OSError for a file that cannot be read, TableauFileError for one that is no tableau.
    """
    if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
        raise TableauFileError(f"{path}: not a regular file")
    with Path(path).open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TableauFileError(f"{path}: at most {MAX_BYTES} bytes are read")
    try:
        return parse_tableau(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise TableauFileError(f"{path}: not text in UTF-8: {error}") from error
    except TableauFileError as error:
        raise TableauFileError(f"{path}: {error}") from error


def write_tableau(path: str | os.PathLike[str], document: Document) -> None:
    """Write a tableau to a file: `read_tableau` gives the same functions of z again.

    Raises TableauFileError for what a file cannot hold: past evaluations, parameters, carry, stage noise.
    """
    write_atomically(path, json.dumps(tableau_data(document), indent=1) + "\n")


def parse_tableau(text: str) -> Document:
    """Read a tableau from JSON text.

    Raises TableauFileError.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=_Float,
            parse_int=_Integer,
            parse_constant=lambda name: _fail(f"{name} is no number"),
        )
    except json.JSONDecodeError as error:
        raise TableauFileError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise TableauFileError("not a tableau: brackets nested too deeply") from error
    return _document(data)


def tableau_data(document: Document) -> dict[str, Any]:
    """The contents of a file, as JSON data.

    Raises TableauFileError for what a file cannot hold.
    """
    tableau = document.tableau
    for what, found in (
        ("past evaluations", tableau.past),
        ("the carry of an evaluation", tableau.carry is not None),
        ("noise of stages", tableau.stage_noise is not False),
        ("parameters", ", ".join(sorted(map(str, tableau.parameters)))),
    ):
        if found:
            raise TableauFileError(f"a file cannot hold {what}, got {found}")
    size = len(tableau.stages) + 1
    data: dict[str, Any] = {
        key: text for key, text in (("name", document.name), ("source", document.source)) if text
    }
    data |= {"linearised": True} if document.linearised else {}
    try:
        data["c"] = ["0", *map(text_of, tableau.c)]
        data["a"] = [[], *(_texts(row, i) for i, row in enumerate(tableau.a, 1))]
        data["b"] = _texts(tableau.b, size)
        if tableau.b_low is not None:
            data["low"] = _texts(tableau.b_low, size)
    except EntryError as error:
        raise TableauFileError(str(error)) from error
    _document(data)  # what is written can be read
    return data


def _texts(row: Weights, size: int) -> list[str]:
    return [text_of(row.get(j, Integer(0))) for j in range(size)]


# --- JSON ---


class _Integer(str):
    """The text of a whole number in JSON, which the grammar reads too."""


class _Float(str):
    """The text of a float in JSON, which is refused where it stands."""


def _fail(message: str) -> NoReturn:
    raise TableauFileError(message)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        _fail(f"{twice!r} stands there twice")
    return data


def _document(data: Any) -> Document:
    if not isinstance(data, dict):
        _fail(f"must be an object with {', '.join(REQUIRED)}, got {type(data).__name__}")
    unknown = [key for key in data if key not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        allowed = ", ".join((*REQUIRED, *OPTIONAL))
        _fail(f"unknown key {', '.join(map(repr, unknown[:5]))}; the keys are {allowed}")
    for key in REQUIRED:
        if key not in data:
            _fail(f"{key} is missing")
    linearised = data.get("linearised", False)
    if not isinstance(linearised, bool):
        _fail(f"linearised must be true or false, got {linearised!r}")
    for key in ("name", "source"):
        if type(data.get(key, "")) is not str:
            _fail(f"{key} must be a text, got {data[key]!r}")
        if not data.get(key, "").isprintable():  # a terminal would obey
            _fail(f"{key} must hold printable characters alone, got {data[key][:40]!r}")
    return Document(_tableau(data), linearised, data.get("name", ""), data.get("source", ""))


def _tableau(data: Mapping[str, Any]) -> Tableau:
    read = Parser()
    size = len(_list(data, "c"))
    if not 1 <= size <= MAX_STAGES:
        _fail(f"c must hold 1 to {MAX_STAGES} abscissae, got {size}")
    entries = {f"c[{i}]": _entry(read, f"c[{i}]", e) for i, e in enumerate(data["c"])}
    for i, row in enumerate(_list(data, "a", size)):
        if not isinstance(row, list) or len(row) not in (i, size):
            got = f"{len(row)} of them" if isinstance(row, list) else repr(row)[:40]
            _fail(f"a[{i}] must be a list of {i} entries, or of all {size}, got {got}")
        entries |= {f"a[{i}][{j}]": _entry(read, f"a[{i}][{j}]", e) for j, e in enumerate(row)}
    rows = [key for key in ("b", "low") if key in data]
    for key in rows:
        row = enumerate(_list(data, key, size))
        entries |= {f"{key}[{j}]": _entry(read, f"{key}[{j}]", e) for j, e in row}
    _check(entries, size)

    def formula(name: str, columns: int) -> Expr:
        return sum((entries[f"{name}[{j}]"] * N(j) for j in range(columns)), Integer(0))

    stages = tuple(Stage(entries[f"c[{i}]"], formula(f"a[{i}]", i)) for i in range(1, size))
    return Tableau(stages, *(formula(key, size) for key in rows))


def _list(data: Mapping[str, Any], key: str, size: int | None = None) -> Sequence[Any]:
    value = data[key]
    if not isinstance(value, list):
        _fail(f"{key} must be a list, got {repr(value)[:40]}")
    if size is not None and len(value) != size:
        _fail(f"{key} must have {size} entries, as many as c, got {len(value)}")
    return value


def _entry(read: Parser, where: str, entry: Any) -> Expr:
    if isinstance(entry, _Float):
        _fail(f'{where}: {entry[:20]} is a float; write a text, "1/3" or "0.25", which is exact')
    if not isinstance(entry, str):
        _fail(f'{where}: expected a text such as "1/2" or "phi(1, 1/2)", got {repr(entry)[:40]}')
    try:
        return read(str(entry))
    except EntryError as error:
        raise TableauFileError(f"{where}: {error}") from error


def _check(entries: Mapping[str, Expr], size: int) -> None:
    """Refuse entries that no explicit method has, by their place."""
    ring = Ring(Field(entries.values()))
    for where, entry in entries.items():
        if where.startswith("c") and entry.has(z, phi):
            _fail(f"{where}: an abscissa must be a number, got {entry}")
        try:
            element = ring(entry)
        except NotInRing as error:
            raise TableauFileError(f"{where}: {error}") from error
        if element.pole:
            _fail(f"{where}: must be finite at z = 0, got a pole of order {element.pole}")
        if where == "c[0]" and element:
            _fail(f"c[0] must be 0, the start of the step, got {entry}")
    for i in range(size):
        for j in range(i, size):
            if entries.get(f"a[{i}][{j}]") and ring(entries[f"a[{i}][{j}]"]):
                _fail(f"a[{i}][{j}] must be 0: stages are explicit, got {entries[f'a[{i}][{j}]']}")
