"""What print(solver) and print(tableau) say: the formula as its paper prints it, and all of it."""

from __future__ import annotations

import inspect
import math
import re
from html import unescape

import pytest
import sympy
from semilinear.analysis.text.grammar import Parser
from semilinear.integrators.diffusion.schedule import Schedule, vp_linear
from semilinear.integrators.forms import form as forms
from semilinear.integrators.forms.form import Form, FormOf
from semilinear.integrators.solver import FinalPolicy, Repeat, Solver
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.printing import MAX_WIDTH, latex
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, Weights, phi1, z
from sympy import Expr, Integer

KINDS = (
    *("ddim", "dpm-solver-3", "dpm-solver++-3m-corrected", "dpm-solver-fast-3", "sde-dpm-solver++-2s"),
    *("deis-tab2", "deis-rhork-4rk", "deis-ipndm", "edm-heun-churn", "scire-v1-3m-released", "res-3s"),
    *("er-sde-3-corrected", "dpm-solver-v3-2m-pc3-half", "sa-solver-2-2", "score-sde-em", "lawson4"),
    *("krogstad4", "hochbruck-ostermann4", "genlawson42", "pec322", "seeds-2"),
)
SAMPLE = (*KINDS, *(name for name in SOLVERS if name.startswith("unip")))
EMBEDDED = [name for name, entry in CATALOGUE.items() if entry.tableau.low is not None]


def full(name: str) -> Tableau:
    """The tableau that is printed."""
    return CATALOGUE[name].tableau if name in EMBEDDED else make(name).sequence.tableaux[-1]


# --- reading what was printed ---


def weights_in(text: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a printed tableau: what stands before it, and its weights by their evaluation."""
    return _of_table(text) if "│" in text else _of_formulas(text)


def _of_table(text: str) -> list[tuple[str, dict[str, str]]]:
    lines = [line for line in text.splitlines() if "│" in line]
    names = [(m[0], m.start()) for m in re.finditer(r"[NP]_\d+", lines[0])]
    ends = [at for _, at in names[1:]] + [MAX_WIDTH]
    return [
        (
            line.partition("│")[0].strip(),
            {
                name: line[at:end].strip()
                for (name, at), end in zip(names, ends, strict=True)
                if line[at:end].strip() not in ("", "0")
            },
        )
        for line in lines[1:]
    ]


def _of_formulas(text: str) -> list[tuple[str, dict[str, str]]]:
    rows: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if start := re.fullmatch(r"(?:U_\d+|u_\{n\+1\}|low) = ?(.*) u_n", line):
            rows.append((start[1].strip(), {}))
        elif term := re.fullmatch(r"    \+ h \((.*)\) ([NP]_\d+)", line):
            rows[-1][1][term[2]] = term[1]
    return rows


def rows_of(tableau: Tableau) -> list[tuple[Expr, Weights]]:
    low = [] if tableau.b_low is None else [(Integer(1), tableau.b_low)]
    return [*((c, weights) for _, c, weights in tableau.rows()), *low]


@pytest.mark.parametrize("name", [*SAMPLE, *EMBEDDED])
def test_printed_weights_are_the_weights(name: str) -> None:
    tableau = full(name)
    read = Parser({s.name: s for row in rows_of(tableau) for w in row[1].values() for s in w.free_symbols})
    printed = weights_in(str(tableau))
    assert len(printed) == len(rows_of(tableau))
    for (_, texts), (_, weights) in zip(printed, rows_of(tableau), strict=True):
        found = {key: read(texts.pop(f"N_{key + 1}" if key >= 0 else f"P_{-key}")) for key in weights}
        assert not texts
        assert all(sympy.expand(found[key] - weight) == 0 for key, weight in weights.items())


@pytest.mark.parametrize("name", [*SAMPLE, *EMBEDDED])
def test_every_abscissa_is_printed(name: str) -> None:
    tableau, text = full(name), str(full(name))
    labels = [label for label, _ in weights_in(text)][: len(tableau.c)]
    assert labels == [str(c if "│" in text else sympy.exp(c * z)) for c in tableau.c]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_table_has_a_width_that_can_be_read_or_is_written_row_by_row(name: str) -> None:
    lines = str(full(name)).splitlines()
    assert max(map(len, lines)) <= MAX_WIDTH or all("│" not in line for line in lines)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_solver_says_whose_it_is_and_what_it_claims(name: str) -> None:
    solver = make(name)
    title, _, said = str(solver).partition("\n\n")[0].partition("\n")
    assert title == solver.name == name
    facts = dict(re.findall(r"^  (\w+) +(.*)$", said, re.MULTILINE))
    form = solver.form(vp_linear())
    assert facts["equation"] == form.equation
    assert facts["form"] == form.name
    assert facts["paper"] == solver.paper
    assert facts["source"] == solver.source
    assert facts["claimed"] == f"order {solver.claimed}"
    assert facts["stochastic"] == ("yes" if solver.stochastic else "no")
    assert str(solver).endswith(str(solver.sequence.tableaux[-1]))


# --- two of them, verbatim ---

KROGSTAD = """\
krogstad4
  equation    d(x/sigma) = e^lambda x_0 dlambda
  form        data_in_lambda
  symbols     z = -h
  paper       Krogstad 2005
  source      ETDRK4-B
  claimed     order 4
  stochastic  no
  steps       every step alike
  end         at full order

    │ N_1                                    N_2                        N_3                        N_4
────┼──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
1/2 │ phi(1, 1/2)/2
1/2 │ phi(1, 1/2)/2 - phi(2, 1/2)            phi(2, 1/2)
1   │ phi(1, 1) - 2*phi(2, 1)                0                          2*phi(2, 1)
────┼──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    │ phi(1, 1) - 3*phi(2, 1) + 4*phi(3, 1)  2*phi(2, 1) - 4*phi(3, 1)  2*phi(2, 1) - 4*phi(3, 1)  -phi(2, 1) + 4*phi(3, 1)"""  # noqa: E501

TWO_M = """\
dpm-solver++-2m
  equation    d(x/sigma) = e^lambda x_0 dlambda
  form        data_in_lambda
  symbols     z = -h
  paper       DPM-Solver++ (Lu et al. 2022), arXiv:2211.01095
  source      LuChengTHU/dpm-solver, multistep_dpm_solver_second_update
  claimed     order 2
  stochastic  no
  steps       step 1 from 0 earlier evaluations, then every step alike
  end         down the orders in fewer than 10 steps, else at full order (LuChengTHU/dpm-solver, dpm_solver_pytorch.py, sample: lower_order_final and steps < 10)

 │ N_1                               P_1
─┼────────────────────────────────────────────────────────
 │ phi(1, 1) + phi(1, 1)/(2*omega1)  -phi(1, 1)/(2*omega1)"""  # noqa: E501


@pytest.mark.parametrize(("name", "text"), [("krogstad4", KROGSTAD), ("dpm-solver++-2m", TWO_M)])
def test_a_solver_is_printed_so(name: str, text: str) -> None:
    assert str(make(name)) == text


# --- what is not a weight ---


def test_what_a_tableau_holds_besides_its_weights_is_said() -> None:
    assert "carry: N_2 is the next step's N_1" in str(full("unipc-1-bh2"))
    assert "parameters: phi_1, q" in str(full("scire-v1-2m-released"))
    assert "noise of the stages: that of the path up to them" in str(full("seeds-2"))
    assert "noise of the stages: drawn for each alone" in str(full("sde-dpm-solver++-2s-released"))
    assert not re.search("carry|set at|noise", str(full("krogstad4")))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (FinalPolicy(), "at full order"),
        (FinalPolicy(below=math.inf, source="S"), "down the orders (S)"),
        (
            FinalPolicy(at_zero="last", source="S"),
            "a first-order last step where sigma = 0, else at full order (S)",
        ),
        (
            FinalPolicy(below=15, at_zero="lower", source="S"),
            "down the orders in fewer than 15 steps, down the orders where sigma = 0, else at full order (S)",
        ),
    ],
)
def test_how_a_run_ends_is_said_with_its_source(policy: FinalPolicy, text: str) -> None:
    assert str(policy) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deis-tab2", "steps 1, 2 from 0, 1 earlier evaluations, then every step alike"),
        ("unipc-2-bh2", "step 1 from 0 earlier evaluations, then every step alike, the final one differs"),
        ("dpm-solver-fast-3", "3 tableaux, as many of each as make the evaluations the budget"),
        ("dpm-solver-v3-2s", "every step alike; times moved to nodes of the statistics"),
    ],
)
def test_the_start_is_said_in_a_line(name: str, text: str) -> None:
    assert str(make(name).sequence) == text


def refusing(schedule: Schedule) -> Form:
    raise ValueError("another schedule is needed")


def own(form: FormOf) -> Solver:
    euler = Tableau((), phi1 * N(0))
    return Solver(name="a_b & 50%", form=form, sequence=Repeat(euler, euler), claimed=1, source="none")


def test_a_form_that_refuses_the_schedule_can_be_printed() -> None:
    text = str(own(refusing))
    assert "phi(1, 1)" in text
    assert "equation" not in text


@pytest.mark.parametrize(
    "constructor",
    [
        forms.noise_in_lambda,
        forms.data_in_lambda,
        forms.noise_in_rho,
        forms.data_in_inverse_rho,
        forms.noise_in_time,
    ],
)
def test_the_equation_of_a_form_is_that_of_its_docstring(constructor: FormOf) -> None:
    assert (inspect.getdoc(constructor) or "").startswith(constructor(vp_linear()).equation)


def test_every_listed_solver_has_an_equation_and_a_short_repr() -> None:
    for name in SOLVERS:
        solver = make(name)
        assert solver.form(vp_linear()).equation
        assert "\n" not in repr(solver)
        assert len(repr(solver)) < 200
        assert repr(name) in repr(solver)


# --- LaTeX ---


def is_balanced(text: str) -> bool:
    """Whether braces, left and right delimiters, and environments nest."""
    found: list[str] = []
    for token in re.findall(r"\\begin\{\w+\}|\\end\{\w+\}|\\left\b|\\right\b|(?<!\\)[{}]", text):
        closes = {"}": "{", r"\right": r"\left"}.get(
            token, token.replace("end", "begin") if "end" in token else ""
        )
        if not closes:
            found.append(token)
        elif not found or found.pop() != closes:
            return False
    return not found


@pytest.mark.parametrize("name", [*SAMPLE, *EMBEDDED])
def test_the_latex_array_has_a_cell_for_every_weight(name: str) -> None:
    tableau = full(name)
    text, columns = latex(tableau), 1 + len(tableau.c) + tableau.past
    assert is_balanced(text)
    head, *body = text.split("\n")[1:-1]
    assert text.startswith(rf"\begin{{array}}{{c|{'c' * columns}}}")
    assert len(body) == len(rows_of(tableau))
    assert all(line.count("&") == columns for line in (head, *body))
    assert sum(line.endswith(r"\\") for line in body) == len(body) - 1
    for line, (_, weights) in zip(body, rows_of(tableau), strict=True):
        cells = [cell.removesuffix(r"\\").strip() for cell in line.split("&")[1:]]
        assert sum(cell not in ("", "0") for cell in cells) == len(weights)


@pytest.mark.parametrize("name", SAMPLE)
def test_what_a_notebook_shows_is_one_balanced_display(name: str) -> None:
    solver = make(name)
    for text in (solver._repr_latex_(), solver.sequence.tableaux[-1]._repr_latex_()):
        assert text.startswith("$$")
        assert text.endswith("$$")
        assert "$" not in text[2:-2].replace(r"\$", "")
        assert is_balanced(text)
        assert latex(solver.sequence.tableaux[-1]) in text
    for shown in (solver, solver.sequence.tableaux[-1]):
        assert unescape(shown._repr_html_()) == f"<div>{shown._repr_latex_()}</div>"


def test_characters_that_mean_something_in_latex_are_not_read_as_commands() -> None:
    assert r"\text{a}\_\text{b }\&\text{ 50}\%" in own(refusing)._repr_latex_()


def test_an_equation_is_set_as_mathematics() -> None:
    assert r"d(x/\sigma) = e^{\lambda} x_0 d\lambda" in make("krogstad4")._repr_latex_()
    assert r"d(x/\alpha) = -e^{-\lambda} \varepsilon d\lambda" in make("dpm-solver-2")._repr_latex_()


def test_sums_ascend_in_phi_and_in_sympys_order_where_it_is_asked_for() -> None:
    papers, lex = (
        latex(full("krogstad4"), order).splitlines()[-2].split(" & ")[1] for order in (None, "lex")
    )
    one, two, three = (rf"\varphi_{{{k}}}\left(z\right)" for k in (1, 2, 3))
    assert papers == f"{one} - 3 {two} + 4 {three}"
    assert lex == f"- 3 {two} + {one} + 4 {three}"


def test_an_unused_stage_is_a_column_of_zeros() -> None:
    tableau = Tableau((Stage(Integer(1), phi1 * N(0)),), phi1 * N(0))
    assert str(tableau).splitlines()[-1].split("│")[1].split() == ["phi(1,", "1)", "0"]
