"""Tableaux as files: {"c": [..], "a": [[..], ..], "b": [..]}, for methods with explicit stages.

    U_i = e^(c_i z) u_n + h sum_j a_ij(z) N_j,   u_(n+1) = e^z u_n + h sum_j b_j(z) N_j,   N_1 at u_n, c_1 = 0

Entries are texts of `grammar.py` or whole numbers.  A row of `a` is written whole or up to the diagonal.
Besides, a file may hold

    form        whose equation the table is for: "lambda" (the one above), "rho" (y' = N(tau, y): a plain
                Runge-Kutta or multistep table), "t" (y' = w(tau) N(tau, y): phi(k, c) is a moment of w)
    low         a second output row; "b_low" is read too
    past        how many earlier evaluations the rows use; a_past (a row for each of c, [] for none), b_past
                and low_past hold their weights, the latest first.  omega1, omega2, .. are the step ratios
                (tau_n - tau_(n-j))/h
    steps       "equal" for omega_j = j, "any" for every step ratio, which is the default
    parameters  names that entries may use; a proof is one for all values of them
    rounding    within how much every coefficient is known that is no short fraction, as "5e-19"; by default
                what the digits show (`typed.py`)
    linearised  true where L is the Jacobian at u_n
    claimed     the order that is claimed;  name, source: whose table it is

A list of one tableau is read as that tableau, and so is a result of `derive --output json`.  What a proof
cannot hold is refused by its key: rows whose weight of u_n is not e^(c z), general linear methods, conditions
between parameters.  Indices in messages count from 0, as in the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from semilinear.integrators.common import checks
from semilinear.integrators.common.files import parse_json, read_json, write_json
from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Expr, Symbol

from ..orders.expansion import FORMS, FormName
from ..orders.proof import Proof, equal_steps, prove
from ..orders.typed import COARSEST, Typed
from ..orders.within_rounding import WithinRounding, within_rounding
from .tableau_entries import JSONFloat, fail, row_data, typed_tableau
from .tableau_entries import TableauFileError as TableauFileError

MAX_BYTES = 2_000_000
MAX_CLAIM = 64
REQUIRED = ("c", "a", "b")
OPTIONAL = (
    *("low", "past", "a_past", "b_past", "low_past", "form", "steps", "parameters", "nonzero", "zero"),
    *("rounding", "linearised", "claimed", "name", "source"),
)
STEPS = ("any", "equal")
_U = "a row's weight of u_n is e^(c z), and one value is carried from step to step: rows with another weight "
REFUSED = dict.fromkeys(("u", "v", "U", "V"), f"{_U}of u_n and general linear methods cannot be held")
"""Keys of methods that no proof is known for here, with the reason."""
_NUMBER = re.compile(r"\d{1,5}(\.\d{1,100})?([eE][-+]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class Document:
    """What a file says: a tableau, whether it is of Rosenbrock type, and whose it is.

    form, equal_steps: the equation and the steps that it is for.  claimed: its order, None where nothing is.
    typed: the tableau as it was typed, rounding: what is said of its coefficients; None where nothing is.
    """

    tableau: Tableau
    linearised: bool = False
    name: str = ""
    source: str = ""
    form: FormName = "lambda"
    equal_steps: bool = False
    claimed: int | None = None
    typed: Typed | None = None
    rounding: Fraction | None = None

    @property
    def at(self) -> dict[Symbol, Expr]:
        """The values of the step ratios, where they have any."""
        return equal_steps(self.tableau) if self.equal_steps else {}

    def prove(self) -> Proof:
        """The proof of what the file says (`proof.prove`)."""
        return prove(self.tableau, linearised=self.linearised, form=self.form, at=self.at)

    def within_rounding(self) -> WithinRounding | None:
        """The orders within the rounding of the table (`within_rounding.within_rounding`)."""
        return within_rounding(self.prove(), self.typed, self.rounding)


def read_tableau(path: str | os.PathLike[str]) -> Document:
    """Read a tableau from a file.

    Raises OSError for a file that cannot be read, TableauFileError for one that is no tableau.
    """
    return read_json(path, TableauFileError, _tableau, MAX_BYTES, **_HOOKS)


def write_tableau(path: str | os.PathLike[str], document: Document) -> None:
    """Write a tableau to a file: `read_tableau` gives the same functions of z again.

    Raises TableauFileError for what a file cannot hold: the carry of an evaluation, stage noise.
    """
    write_json(path, tableau_data(document))


def parse_tableau(text: str) -> Document:
    """Read a tableau from JSON text.

    Raises TableauFileError.
    """
    return _tableau(parse_json(text, TableauFileError, **_HOOKS))


def tableau_data(document: Document) -> dict[str, Any]:
    """The contents of a file, as JSON data.

    Raises TableauFileError for what a file cannot hold.
    """
    tableau = document.tableau
    for what, found in (
        ("the carry of an evaluation", tableau.carry is not None),
        ("noise of stages", tableau.stage_noise is not False),
    ):
        if found:
            raise TableauFileError(f"a file cannot hold {what}, got {found}")
    said = {
        "name": document.name,
        "source": document.source,
        "form": "" if document.form == "lambda" else document.form,
        "steps": "equal" if document.equal_steps else "",
        "linearised": document.linearised,
        "claimed": document.claimed,
        "rounding": "" if document.rounding is None else f"{float(document.rounding):g}",
    }
    data = {key: value for key, value in said.items() if value} | row_data(tableau)
    _document(json.loads(json.dumps(data), parse_int=_Integer))  # what is written can be read
    return data


# --- JSON ---


class _Integer(str):
    """The text of a whole number in JSON, which the grammar reads too."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        fail(f"{twice!r} stands there twice")
    return data


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _pairs,
    "parse_float": JSONFloat,
    "parse_int": _Integer,
    "parse_constant": lambda name: fail(f"{name} is no number"),
}


def _tableau(data: Any) -> Document:
    return _document(_unwrapped(data))


def _unwrapped(data: Any) -> Any:
    """The tableau in a list of one, and in a result of `derive`: its pair where it is one."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if isinstance(data, dict) and isinstance(data.get("tableau"), dict):
        whole = data["pair"] if isinstance(data.get("pair"), dict) else data["tableau"]
        form = {"form": data["form"]} if "form" in data else {}
        return {**form, **whole}
    return data


def _document(data: Any) -> Document:
    if not isinstance(data, dict):
        got = f"a list of {len(data)}" if isinstance(data, list) else type(data).__name__
        fail(f"must be an object with {', '.join(REQUIRED)}, or a list of one such object, got {got}")
    data = _renamed(data)
    _check_keys(data)
    typed = typed_tableau(data)
    form = _one_of(data, "form", FORMS)
    linearised = data.get("linearised", False)
    if linearised and form != "lambda":
        fail(f"linearised: a method whose L is the Jacobian has form lambda, got form {form}")
    return Document(
        typed.exact,
        linearised,
        data.get("name", ""),
        data.get("source", ""),
        form,
        _one_of(data, "steps", STEPS) == "equal",
        _claim(data),
        typed,
        parse_rounding("rounding", data["rounding"]) if "rounding" in data else None,
    )


def _renamed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with `low` for `b_low`."""
    other = {"b_low": "low", "b_low_past": "low_past"}
    for key, name in other.items():
        if key in data and name in data:
            fail(f"{key} and {name} are one row, got both")
    return {other.get(key, key): value for key, value in data.items()}


def _check_keys(data: Mapping[str, Any]) -> None:
    for key in data.keys() & REFUSED.keys():
        fail(f"{key}: {REFUSED[key]}")
    unknown = [key for key in data if key not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        allowed = ", ".join((*REQUIRED, *OPTIONAL))
        fail(f"unknown key {', '.join(map(repr, unknown[:5]))}; the keys are {allowed}")
    for key in REQUIRED:
        if key not in data:
            fail(f"{key} is missing")
    if data.get("zero"):
        fail("zero: conditions between parameters cannot be held; solve them, or put in values")
    if not isinstance(data.get("linearised", False), bool):
        fail(f"linearised must be true or false, got {data['linearised']!r}")
    for key in ("name", "source"):
        if type(data.get(key, "")) is not str:
            fail(f"{key} must be a text, got {data[key]!r}")
        if not data.get(key, "").isprintable():  # a terminal would obey
            fail(f"{key} must hold printable characters alone, got {data[key][:40]!r}")


def _one_of(data: Mapping[str, Any], key: str, allowed: tuple[Any, ...]) -> Any:
    value = data.get(key, allowed[0])
    checks.one_of(key, value, allowed, TableauFileError)
    return value


def _claim(data: Mapping[str, Any]) -> int | None:
    value = data.get("claimed")
    if value is None:
        return None
    if not isinstance(value, _Integer) or not value.isdigit() or not 1 <= int(value[:9]) <= MAX_CLAIM:
        fail(f"claimed must be a whole number from 1 to {MAX_CLAIM}, got {repr(value)[:40]}")
    return int(value)


def parse_rounding(name: str, text: Any) -> Fraction:
    """A rounding such as "5e-19", exactly; `rounding_of` says which are allowed.

    Raises TableauFileError.
    """
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        fail(f'{name} must be a number such as "5e-19", got {repr(text)[:40]}')
    value = Fraction(text)
    if not 0 < value <= COARSEST:
        fail(f"{name} must be positive and at most {float(COARSEST)}, got {text}")
    return value
