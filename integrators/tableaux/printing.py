"""Tableaux as their papers print them: Butcher arrays in phi-functions, as plain text and as LaTeX.

           | N_1  N_2  ..  P_1  ..    N_1 is N(0), at the step's start; N_i is N(i - 1), P_j is P(j)
    -------+----------------------
    c_2    | weights of stage 2
    ..
    -------+----------------------
           | weights of the output row
    low    | weights of the lower-order row

What a tableau holds besides is said in notes below.  Nothing is simplified or cut.  Plain weights are in the
language of formulas, phi(k, c) for phi_k(c z), so that they can be read again; a table wider than `MAX_WIDTH`
is written as one formula per row,  U_2 = exp(c*z) u_n + h (weight) N_1 + ..,  whose exp(c*z) u_n is
Phi_c/Phi_0 x_n where the form's weight is not exponential.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import sympy
from sympy import Expr, Integer, Symbol
from sympy.printing.latex import LatexPrinter
from sympy.printing.printer import Printer
from sympy.printing.str import StrPrinter

from .tableau import Tableau, Weights, phi, ratio_of, z

MAX_WIDTH = 160
"""Columns of text that a table may take."""


@dataclass(frozen=True)
class Heading:
    """What is said of a method before its tableau.

    title: its name.  equation: what it is a formula for, as a form writes it in plain text; empty where that
    is not known.  facts: what more there is to say, by its subject.
    """

    title: str
    equation: str
    facts: tuple[tuple[str, str], ...]


def text(tableau: Tableau, heading: Heading | None = None) -> str:
    """The tableau as plain text, at most `MAX_WIDTH` columns wide or row by row; its heading first."""
    table = _table(tableau)
    if max(map(len, table)) > MAX_WIDTH:
        table = list(_formulas(tableau))
    above = [] if heading is None else [*_heading_text(heading), ""]
    return "\n".join([*above, *table, *_notes(tableau)])


def latex(tableau: Tableau, order: str | None = None) -> str:
    """The tableau as a LaTeX array.

    order: of the terms of a sum, by sympy's name; None for ascending phi-functions, as papers write them.
    """
    head, *rows = _cells(tableau, _Latex({"order": order}).doprint, r"\mathrm{low}")
    stages, outputs = rows[: len(tableau.stages)], rows[len(tableau.stages) :]
    lines = [
        " & ".join(head) + r" \\ \hline",
        *(" & ".join(row) + r" \\" for row in stages),
        r"\hline " + " \\\\\n".join(" & ".join(row) for row in outputs),
    ]
    return "\n".join([rf"\begin{{array}}{{c|{'c' * (len(head) - 1)}}}", *lines, r"\end{array}"])


def display(tableau: Tableau, heading: Heading | None = None) -> str:
    """The tableau as displayed LaTeX with its notes, for notebooks; its heading first."""
    above = [] if heading is None else _heading_latex(heading)
    lines = [*above, latex(tableau), *map(_words, _notes(tableau))]
    if len(lines) == 1:
        return f"$${lines[0]}$$"
    return "$$\\begin{array}{l}\n" + " \\\\\n".join(lines) + "\n\\end{array}$$"


# --- the array ---


def html(tableau: Tableau, heading: Heading | None = None) -> str:
    """What `display` shows, for a page that typesets the mathematics in its text (notebooks, MathJax)."""
    return f"<div>{escape(display(tableau, heading))}</div>"


def _cells(tableau: Tableau, show: Callable[[Expr], Any], low: str) -> list[list[str]]:
    """The array's rows of texts: evaluations, stages, output, and the lower-order row where there is one."""
    keys = [*range(len(tableau.stages) + 1), *(-j for j in range(1, tableau.past + 1))]

    def row(label: str, weights: Weights, available: int) -> list[str]:
        return [label, *("" if k >= available else str(show(weights.get(k, Integer(0)))) for k in keys)]

    *stages, (_, _, output) = tableau.rows()
    size = len(stages) + 1
    return [
        ["", *(str(show(_evaluation(k))) for k in keys)],
        *(row(str(show(c)), weights, i) for i, (_, c, weights) in enumerate(stages, 1)),
        row("", output, size),
        *([] if tableau.b_low is None else [row(low, tableau.b_low, size)]),
    ]


def _evaluation(key: int) -> Symbol:
    """N_i of stage i, the first at the step's start; P_j of j steps ago."""
    return Symbol(f"N_{key + 1}" if key >= 0 else f"P_{-key}")


def _table(tableau: Tableau) -> list[str]:
    """The lines of the array in aligned columns, ruled off below the evaluations and below the stages."""
    cells = _cells(tableau, _Text().doprint, "low")
    label, *widths = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = [
        f"{name:<{label}} │ {'  '.join(f'{e:<{w}}' for e, w in zip(row, widths, strict=True))}".rstrip()
        for name, *row in cells
    ]
    rule = "─" * (label + 1) + "┼" + "─" * (max(map(len, lines)) - label - 2)
    head, stages, outputs = lines[:1], lines[1 : len(tableau.c) + 1], lines[len(tableau.c) + 1 :]
    return [*head, rule, *([*stages, rule] if stages else []), *outputs]


def _formulas(tableau: Tableau) -> Iterator[str]:
    """The lines of one formula per row, a line for each evaluation."""
    show = _Text().doprint
    names = [*(f"U_{i}" for i in range(2, len(tableau.c) + 2)), "u_{n+1}"]
    rows = [(name, c, row) for name, (_, c, row) in zip(names, tableau.rows(), strict=True)]
    rows += [] if tableau.b_low is None else [("low", Integer(1), tableau.b_low)]
    for name, c, row in rows:
        yield f"{name} = {show(sympy.exp(c * z))} u_n" if c != 0 else f"{name} = u_n"
        for key in sorted(row, key=lambda k: (k < 0, abs(k))):
            yield f"    + h ({show(row[key])}) {_evaluation(key)}"


def _notes(tableau: Tableau) -> Iterator[str]:
    """What a tableau holds besides its weights."""
    if tableau.carry is not None:
        yield f"carry: {_evaluation(tableau.carry)} is the next step's {_evaluation(0)}"
    if tableau.stage_noise:
        alone = tableau.stage_noise == "independent"
        yield f"noise of the stages: {'drawn for each alone' if alone else 'that of the path up to them'}"
    if tableau.parameters:
        yield f"parameters: {', '.join(sorted(map(str, tableau.parameters)))}"


# --- headings ---


def _heading_text(heading: Heading) -> Iterator[str]:
    yield heading.title
    facts = [*([("equation", heading.equation)] if heading.equation else []), *heading.facts]
    width = max((len(subject) for subject, _ in facts), default=0)
    for subject, said in facts:
        yield f"  {subject:<{width}}  {said}"


def _heading_latex(heading: Heading) -> list[str]:
    equation = [_equation(heading.equation)] if heading.equation else []
    facts = (_words(f"{subject}: {said}") for subject, said in heading.facts)
    return [_words(heading.title), *equation, *facts]


_SPECIAL = {c: rf"\{c}" for c in "_&%#${}"} | {"~": r"\sim ", "^": r"\wedge ", "\\": r"\backslash "}
"""Characters that mean something in LaTeX, as mathematics: MathJax reads no commands inside of \\text."""


def _words(said: str) -> str:
    """A line of text as LaTeX."""
    parts = re.split(r"(\b[NP]_\d+|[_&%#${}~^\\])", said)
    made = (_SPECIAL.get(p, p) if i % 2 else rf"\text{{{p}}}" for i, p in enumerate(parts) if p)
    return "".join(made)


def _equation(written: str) -> str:
    """An equation such as  d(x/sigma) = e^lambda x_0 dlambda  as LaTeX."""
    powers = re.sub(r"\^(?:\(([^()]*)\)|(-?\w+))", lambda m: f"^{{{m[1] or m[2]}}}", written)
    greek = re.sub(r"(?<![a-z])(d?)(alpha|sigma|lambda|rho|tau|phi)(?![a-z])", r"\1\\\2", powers)
    return re.sub(r"\bnoise\b", r"\\text{noise}", re.sub(r"\beps\b", r"\\varepsilon", greek))


# --- expressions ---


class _InOrder(Printer):  # type: ignore[misc]
    """Terms by their last phi-function, phi_1 first, unless an order of sympy's is asked for."""

    def _as_ordered_terms(self, expr: Expr, order: str | None = None) -> Iterable[Expr]:
        terms = super()._as_ordered_terms(expr, order=order)
        return terms if order or self.order else sorted(terms, key=_last_phi)


def _last_phi(term: Expr) -> tuple[int, Any]:
    """k and c of a term's last phi(k, c), as they sort; before all others where there is none."""
    found = ((int(k), sympy.default_sort_key(c)) for k, c in (p.args for p in term.atoms(phi)))
    return max(found, default=(0, ()))


class _Text(_InOrder, StrPrinter):  # type: ignore[misc]
    """sympy's text."""


class _Latex(_InOrder, LatexPrinter):  # type: ignore[misc]
    """sympy's LaTeX with phi_k(c z), omega_j and b_{1,2}."""

    def _print_phi(self, e: Any, exp: Any = None) -> str:
        k, c = e.args
        argument = self._print(c * z)
        power = f"^{{{exp}}}" if exp else ""
        return rf"\varphi_{{{k}}}{power}\left({argument}\right)"

    def _print_Symbol(self, e: Symbol, style: str = "plain") -> str:
        if (j := ratio_of(e)) is not None:
            return rf"\omega_{{{j}}}"
        name, *marks = e.name.split("_")
        return f"{name}_{{{','.join(marks)}}}" if marks else str(super()._print_Symbol(e, style))
