"""A derived family as LaTeX, as JSON and as Python: what its reader goes on with.

The Python text, run, builds a tableau that equals the family's: a function of the free parameters in the
language of `tableau.py`.  The JSON of a method of one step without parameters is a tableau file
(`tableau_file.py`), with the form besides; with parameters it holds their names too, and weights of past
values stand in "a_past" and "b_past", column j - 1 for P(j).
"""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache
from typing import Any

from semilinear.integrators.common.messages import shown
from semilinear.integrators.tableaux import printing
from semilinear.integrators.tableaux.tableau import Tableau, Weights, key_of, ratio_of
from sympy import Expr, Integer, Symbol
from sympy.printing.str import StrPrinter

from ..text.tableau_file import Document, tableau_data
from .family import Family
from .pairs import pair

# --- LaTeX ---


def latex(family: Family) -> str:
    """The tableau as a LaTeX array (`printing.latex`), its coefficients as sympy orders their terms."""
    return printing.latex(family.tableau, order="lex")


# --- JSON ---


def data(family: Family, source: str = "", method: Tableau | None = None) -> dict[str, Any]:
    """The family as JSON data: a tableau file where nothing is free, of the pair with the output row of a
    `method` if the family is an embedded row of it.
    """
    tableau = _whole(family, method)
    head: dict[str, Any] = {"name": "derived"} | ({"source": source} if source else {})
    head |= {"form": family.form} | ({"claimed": family.order} if method is None else {})
    head |= {"linearised": True} if family.linearised else {}
    if not family.parameters and not tableau.past:
        return head | tableau_data(Document(tableau))
    size = len(tableau.stages) + 1
    found = head | {
        "parameters": [s.name for s in family.parameters],
        "nonzero": [str(e) for e in family.nonzero],
        "zero": [str(e) for e in family.implicit],
        "c": ["0", *map(str, tableau.c)],
        "a": [[], *(_texts(row, range(i)) for i, row in enumerate(tableau.a, 1))],
        "b": _texts(tableau.b, range(size)),
    }
    past = range(-1, -tableau.past - 1, -1)
    if past:
        found["past"] = tableau.past
        found["a_past"] = [[], *(_texts(row, past) for row in tableau.a)]
        found["b_past"] = _texts(tableau.b, past)
    if tableau.b_low is not None:
        found["low"] = _texts(tableau.b_low, range(size))
        found |= {"low_past": _texts(tableau.b_low, past)} if past else {}
    return found


def _whole(family: Family, method: Tableau | None) -> Tableau:
    return family.tableau if method is None else pair(method, family)


def _texts(row: Weights, keys: range) -> list[str]:
    return [text(row.get(j, Integer(0))) for j in keys]


@lru_cache(maxsize=256)
def text(weight: Expr) -> str:
    """A weight as sympy writes it, which takes long for a long one: once."""
    return str(weight)


# --- Python ---


class _Python(StrPrinter):  # type: ignore[misc]
    """sympy's text with N(i), P(j), omega(j) as calls, and no number that Python would round."""

    def _print_Symbol(self, e: Symbol) -> str:
        if (j := ratio_of(e)) is not None:
            return f"omega({j})"
        if (key := key_of(e)) is not None:
            return f"N({key})" if key >= 0 else f"P({-key})"
        return str(e.name)

    def _print_Rational(self, e: Any) -> str:
        return f"Rational({e.p}, {e.q})"

    def _print_Half(self, e: Any) -> str:
        return "Rational(1, 2)"


def python(family: Family, name: str = "derived", method: Tableau | None = None) -> str:
    """A function of the free parameters that returns the tableau, as text; the pair with the output row of a
    `method` if the family is an embedded row of it.

    Raises ValueError for a name that is no identifier, or parameters that are none.
    """
    for what in (name, *(s.name for s in family.parameters)):
        if not what.isidentifier():
            raise ValueError(f"name and parameters must be identifiers, got {shown(what)}")
    tableau = _whole(family, method)
    parameters = ", ".join(f'{s.name}=Symbol("{s.name}")' for s in family.parameters)
    stages = [f"        Stage({_code(s.c)}, {_code(s.formula)})," for s in tableau.stages]
    body = [f"    {s.name} = sympify({s.name}, strict=True)" for s in family.parameters]
    body += ["    stages = (", *stages, "    )"] if stages else ["    stages = ()"]
    low = "" if tableau.low is None else f", low={_code(tableau.low)}"
    body += [f"    return Tableau(stages, {_code(tableau.output)}{low})"]
    used = _names(family, "\n".join(body))
    return "\n".join([*used, "", "", f"def {name}({parameters}):", *_docstring(family), *body, ""])


def _code(expression: Expr) -> str:
    return str(_Python().doprint(expression))


def _names(family: Family, text: str) -> list[str]:
    """The imports that a text needs."""
    of_sympy = [n for n in ("Rational", "exp", "sqrt", "sympify") if f"{n}(" in text]
    of_sympy += ["Symbol"] if family.parameters else []
    ours = [n for n in ("N", "P", "Stage", "Tableau", "omega", "phi") if f"{n}(" in text]
    ours += ["z"] if re.search(r"\bz\b", text) else []
    lines = [f"from semilinear.integrators.tableaux.tableau import {', '.join(ours)}"]
    return [
        *lines,
        *([f"from sympy import {', '.join(sorted(of_sympy, key=str.lower))}"] if of_sympy else []),
    ]


def _docstring(family: Family) -> list[str]:
    what = f"Order {family.order}, {family.conditions} conditions, form {family.form}."
    lines = [what]
    if family.nonzero:
        lines.append(f"These must not vanish: {', '.join(map(str, family.nonzero))}.")
    if family.implicit:
        lines.append(f"These must vanish: {', '.join(map(str, family.implicit))}.")
    wrapped = [part for line in lines for part in textwrap.wrap(line, 100)]
    if len(wrapped) == 1:
        return [f'    """{wrapped[0]}"""']
    return [f'    """{wrapped[0]}', "", *(f"    {line}" for line in wrapped[1:]), '    """']
