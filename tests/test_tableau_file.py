from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from semilinear.analysis.algebra.ring import Field, Ring
from semilinear.analysis.orders.expansion import expressions
from semilinear.analysis.orders.proof import prove
from semilinear.analysis.text.grammar import Parser
from semilinear.analysis.text.grammar_text import text_of
from semilinear.analysis.text.tableau_file import (
    Document,
    TableauFileError,
    parse_tableau,
    read_tableau,
    tableau_data,
    write_tableau,
)
from semilinear.analysis.text.tokens import MAX_LENGTH, EntryError
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    nested_collocation,
    omega,
    phi,
    phi1,
    phi2,
    z,
)
from sympy import Expr, Integer, Rational

H = Rational(1, 2)
KROGSTAD: dict[str, list[Any]] = {
    "c": [0, "1/2", "0.5", 1],
    "a": [
        [],
        ["phi(1, 1/2)/2"],
        ["phi(1, 1/2)/2 - phi(2, 1/2)", "phi(2, 1/2)"],
        ["phi(1, 1) - 2*phi(2, 1)", 0, "2*phi(2, 1)"],
    ],
    "b": [
        "phi(1, 1) - 3*phi(2, 1) + 4*phi(3, 1)",
        "2*phi(2, 1) - 4*phi(3, 1)",
        "2*phi(2, 1) - 4*phi(3, 1)",
        "4*phi(3, 1) - phi(2, 1)",
    ],
}


def same(a: Tableau, b: Tableau) -> bool:
    """Whether two tableaux have the same functions of z."""
    ring = Ring(Field([*expressions(a), *expressions(b)]))
    low = zip((a.b_low or {},), (b.b_low or {},))
    rows = [*zip((*a.a, a.b), (*b.a, b.b), strict=True), *low]
    zero = Integer(0)
    return len(a.c) == len(b.c) and not any(
        [ring(x - y) for x, y in zip(a.c, b.c, strict=True)]
        + [ring(x.get(k, zero) - y.get(k, zero)) for x, y in rows for k in {*x, *y}]
    )


# --- the grammar ---

rationals = st.fractions(-20, 20, max_denominator=30).map(lambda f: Rational(f.numerator, f.denominator))
leaves = st.one_of(
    rationals,
    st.just(z),
    st.builds(phi, st.integers(0, 6).map(Integer), rationals),
    rationals.map(lambda c: sympy.exp(c * z)),
    st.sampled_from([sympy.sqrt(6), 1 / sympy.sqrt(15), z**-2, 1 / (1 + sympy.sqrt(6))]),
)
functions = st.recursive(
    leaves,
    lambda e: st.one_of(
        st.builds(lambda a, b: a + b, e, e),
        st.builds(lambda a, b: a * b, e, e),
        st.builds(lambda a: -a, e),
        st.builds(lambda a, n: a**n, e, st.integers(2, 3)),
    ),
    max_leaves=6,
)


@given(functions)
def test_text_is_parsed_to_the_function_that_it_was_written_from(function: Expr) -> None:
    try:
        again = Parser()(text_of(function))
    except EntryError as error:
        assume("expected a smaller expression" not in str(error))
        raise
    assert not Ring(Field([function, again]))(function - again)


digits = st.sampled_from(["1", "2", "7", "0.25", "12", "1.5"])
texts = st.recursive(
    st.one_of(digits, st.just("z"), st.just("phi(2, 1/3)"), st.just("exp(-z/2)")),
    lambda t: st.one_of(
        st.builds(lambda a, o, b: f"{a}{o}{b}", t, st.sampled_from(["+", "-", "*", " - ", " * "]), t),
        st.builds(lambda a, b: f"{a}/{b}", t, digits),
        st.builds(lambda a: f"-{a}", t),
        st.builds(lambda a: f"({a})", t),
        st.builds(lambda a, n: f"({a})**{n}", t, st.integers(0, 3)),
    ),
    max_leaves=8,
)


@given(texts)
def test_operators_bind_as_everywhere(text: str) -> None:
    """The oracle is sympy's parser, which evaluates what it reads: nothing for the texts of strangers."""
    wanted = sympy.sympify(text, locals={"z": z, "phi": phi}, rational=True)
    found = Parser()(text)
    assert not Ring(Field([wanted, found]))(wanted - found)


@given(st.text("0123456789.z()+-*/^, phiexsqrt", max_size=40))
def test_any_text_is_an_expression_or_refused_with_a_place(text: str) -> None:
    try:
        found = Parser()(text)
    except EntryError as refusal:
        found = None
        message = str(refusal)
    assert isinstance(found, Expr) if found is not None else message.startswith("character")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2**2", -4),
        ("2^-1", Rational(1, 2)),
        ("2**(-2)", Rational(1, 4)),
        ("1/2/3", Rational(1, 6)),
        ("1-2-3", -4),
        ("--2", 2),
        ("+0.10", Rational(1, 10)),
        ("sqrt(12)", 2 * sympy.sqrt(3)),
        ("phi(0, 1/2)", sympy.exp(z / 2)),
        ("phi(3, 0)", Rational(1, 6)),
        ("exp(0)", 1),
        ("exp(z)*exp(-z)", 1),
        ("(exp(z) - 1)/z", (sympy.exp(z) - 1) / z),
    ],
)
def test_entries_mean_what_they_say(text: str, value: Any) -> None:
    assert Parser()(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"character 1 .*expected a number.*the end"),
        ("1 +", r"character 4 .*expected a number.*the end"),
        ("2z", r"character 2 .*expected an operator after 2, got 'z'"),
        ("1 2", r"character 3 .*expected an operator or the end, got '2'"),
        ("(1", r"character 3 .*or '\)', got the end"),
        ("x", r"expected a number, z, phi\(k, c\).*got 'x'"),
        ("__import__('os')", r"unexpected"),
        ("phi(1, 1).__class__", r"character 10 .*unexpected '\.'"),
        ("٣", "unexpected"),
        ("1e-3", r"numbers with an exponent \(1e-3\) are not read"),
        ("1e999999", "exponent"),
        ("0x10", "expected an operator"),
        ("1.", "expected an operator"),
        ("phi(1/2, 1)", r"expected ','"),
        ("phi(-1, 1)", r"expected an integer k >= 0"),
        ("phi(33, 1)", r"at most 32, got '33'"),
        ("phi(1, z)", "expected a constant c"),
        ("phi(1, phi(2, 1))", "expected a constant c"),
        ("exp(z**2)", "expected a constant times z"),
        ("exp(phi(1, 1)*z)", "expected a constant times z"),
        ("exp(1)", "expected a constant times z"),
        ("sqrt(-2)", "expected a rational number >= 0"),
        ("sqrt(z)", "expected a rational number >= 0"),
        ("2**(1/2)", r"expected an operator or '\)', got '/'"),
        ("2**z", "expected an integer power"),
        ("2**2**2**2", "expected parentheses around a power"),
        ("z**1000000000", "at most 32"),
        ("1/0", "character 3 .*divisor that is not zero"),
        ("0**-1", "divisor that is not zero"),
        ("1/((1 + sqrt(2))**2 - 3 - 2*sqrt(2))", "divisor that is not zero"),
        ("1/phi(1, 1)", "expected a constant, a power of z or an exponential to divide by"),
        ("sqrt(2) + sqrt(3) + sqrt(5) + sqrt(7)", "at most 3 different square roots"),
        ("9" * 201, "at most 200 digits, got 201"),
        ("(" * 500 + "1" + ")" * 500, "at most 40 signs and parentheses"),
        ("-" * 500 + "1", "at most 40 signs and parentheses"),
        ("((((2**32)**32)**32)**32)**32", "bits in its coefficients"),
        ("(1 + phi(30, 1/7))**32", "terms when multiplied out"),
        ("((z**32)**32)**32", "as the power of z"),
        ("*".join(["phi(32, 1/3)"] * 3), "terms when multiplied out"),
        ("1" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} characters"),
    ],
)
def test_entries_outside_the_grammar_are_refused_at_once(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(EntryError, match=message):
        Parser()(text)
    assert time.process_time() - started < 1


def test_the_size_of_a_file_is_bounded_too() -> None:
    parser = Parser()
    for _ in range(19):
        parser("(1 + z)**10")
    with pytest.raises(EntryError, match="all entries together"):
        parser("(1 + z)**10")


@pytest.mark.parametrize("entry", [sympy.Symbol("r"), sympy.sin(z), sympy.E, sympy.Rational(1, 2) ** z])
def test_what_the_grammar_has_no_words_for_is_not_written(entry: Expr) -> None:
    with pytest.raises(EntryError):
        Parser()(text_of(entry))


# --- files ---


SMALL = [name for name, e in CATALOGUE.items() if not e.tableau.past or len(e.tableau.c) + e.tableau.past < 4]
"""Those of one step, and of the others those that are read in a moment."""


@pytest.mark.parametrize("name", SMALL)
def test_every_tableau_of_the_catalogue_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    tableau = CATALOGUE[name].tableau
    path = tmp_path / "tableau.json"
    linearised = CATALOGUE[name].linearised
    write_tableau(path, Document(tableau, linearised, name, "a paper"))
    document = read_tableau(path)
    assert same(document.tableau, tableau)
    assert (document.name, document.source, document.linearised) == (name, "a paper", linearised)
    if not tableau.past:  # sums over several parameters may be written in another order
        assert tableau_data(document) == json.loads(path.read_text())


@given(
    st.lists(rationals.filter(bool), min_size=1, max_size=3),
    st.data(),
    st.booleans(),
    st.booleans(),
)
def test_any_one_step_tableau_is_read_as_it_was_written(
    c: list[Rational], data: Any, linearised: bool, pair: bool
) -> None:
    entire = st.one_of(rationals, st.builds(phi, st.integers(1, 4).map(Integer), rationals), st.just(z**2))

    def row(columns: int) -> Expr:
        return sum((data.draw(entire) * N(j) for j in range(columns)), Integer(0))

    stages = tuple(Stage(node, row(i)) for i, node in enumerate(c, 1))
    tableau = Tableau(stages, row(len(c) + 1), row(len(c) + 1) if pair else None)
    document = parse_tableau(json.dumps(tableau_data(Document(tableau, linearised))))
    assert document.linearised is linearised
    assert same(document.tableau, tableau)
    assert (document.tableau.low is None) is not pair


def test_a_table_copied_from_a_paper_is_the_tableau() -> None:
    assert same(parse_tableau(json.dumps(KROGSTAD)).tableau, CATALOGUE["krogstad4"].tableau)


def test_rows_may_be_whole() -> None:
    whole = KROGSTAD | {"a": [[*row, *["0"] * (4 - len(row))] for row in KROGSTAD["a"]]}
    assert same(parse_tableau(json.dumps(whole)).tableau, CATALOGUE["krogstad4"].tableau)


def test_a_rosenbrock_type_method_says_so() -> None:
    text = '{"c": [0], "a": [[]], "b": ["phi(1, 1)"], "linearised": true}'
    document = parse_tableau(text)
    assert prove(document.tableau, linearised=document.linearised).classical == 2


def broken(**changes: Any) -> str:
    return json.dumps(KROGSTAD | changes)


def entry(row: int, column: int, value: Any) -> str:
    a = [[*r, *["0"] * (4 - len(r))] for r in KROGSTAD["a"]]
    a[row][column] = value
    return broken(a=a)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1, 2]", r"must be an object with c, a, b, or a list of one such object, got a list of 2"),
        ("[" * 100_000, "nested too deeply"),
        ('{"c": [0], "c": [0], "a": [[]], "b": ["1"]}', "'c' stands there twice"),
        (broken(d=1), "unknown key 'd'; the keys are c, a, b, low"),
        ('{"c": [0], "a": [[]]}', "b is missing"),
        (broken(linearised=1), "linearised must be true or false, got '1'"),
        (broken(name=3), "name must be a text"),
        (broken(c="0"), "c must be a list"),
        (broken(c=[]), "c must hold 1 to 64 abscissae, got 0"),
        (broken(c=[0] * 65), "c must hold 1 to 64 abscissae, got 65"),
        (broken(c=["1/2", "1/2", "1/2", 1]), r"c\[0\] must be 0"),
        (broken(c=[0, "z", "1/2", 1]), r"c\[1\]: an abscissa must be a number, got z"),
        (broken(c=[0, "phi(1, 1)", "1/2", 1]), r"c\[1\]: an abscissa must be a number, got phi"),
        (broken(b=["1"]), "b must have 4 entries, as many as c, got 1"),
        (broken(low=["1"]), "low must have 4 entries"),
        (broken(a=KROGSTAD["a"][:3]), "a must have 4 entries"),
        (broken(a=[[], ["1", "2"], [], []]), r"a\[1\] must be a list of 1 entries, or of all 4, got 2"),
        (broken(a=[[], "1", [], []]), r"a\[1\] must be a list"),
        (entry(2, 1, "phi(2, 1/2"), r"^a\[2\]\[1\]: character 11 of 'phi\(2, 1/2': expected .*the end"),
        (entry(2, 1, 0.5), r'a\[2\]\[1\]: 0.5 is a float; write a text, "1/3" or "0.25"'),
        (entry(2, 1, None), r"a\[2\]\[1\]: expected a text .* got None"),
        (entry(2, 1, True), r"a\[2\]\[1\]: expected a text .* got True"),
        (entry(2, 1, ["1"]), r"a\[2\]\[1\]: expected a text"),
        (entry(2, 2, "1"), r"a\[2\]\[2\] must be 0: stages are explicit, got 1"),
        (entry(0, 3, "phi(1, 1)"), r"a\[0\]\[3\] must be 0"),
        (entry(3, 2, "1/z"), r"a\[3\]\[2\]: must be finite at z = 0, got a pole of order 1"),
        (entry(3, 2, 10**210), r"a\[3\]\[2\]: .*at most 200 digits"),
        ('{"c": [NaN], "a": [[]], "b": ["1"]}', "NaN is no number"),
    ],
)
def test_files_that_are_no_tableau_are_refused_by_place(text: str, message: str) -> None:
    with pytest.raises(TableauFileError, match=message):
        parse_tableau(text)


def test_zeros_may_be_written_in_any_way() -> None:
    assert same(
        parse_tableau(entry(1, 1, "(1 + sqrt(2))**2 - 3 - 2*sqrt(2)")).tableau, CATALOGUE["krogstad4"].tableau
    )


@pytest.mark.parametrize(
    ("tableau", "message"),
    [
        (Tableau((Stage(1, phi1 * N(0)),), phi1 * N(0), carry=1), "cannot hold the carry"),
        (Tableau((Stage(1, phi1 * N(0)),), phi1 * N(0), stage_noise=True), "cannot hold noise"),
        (Tableau((Stage(H, sympy.sin(H) * N(0)),), phi1 * N(1)), "expected numbers"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tableau: Tableau, message: str, tmp_path: Path) -> None:
    with pytest.raises(TableauFileError, match=message):
        write_tableau(tmp_path / "x.json", Document(tableau))
    assert not list(tmp_path.iterdir())


def test_large_files_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b" " * 2_000_001)
    with pytest.raises(TableauFileError, match=r"x.json: at most 2000000 bytes"):
        read_tableau(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TableauFileError, match=r"x.json: not text in UTF-8"):
        read_tableau(path)


def test_a_method_of_sixteen_stages_is_read_at_once() -> None:
    text = json.dumps(tableau_data(Document(nested_collocation(6))))
    started = time.process_time()
    parse_tableau(text)
    assert time.process_time() - started < 2


# --- files that say more ---

X = sympy.Symbol("x")
MULTISTEP = Tableau(
    (Stage(X, phi(1, X) * X * N(0) + X**2 / omega(1) * phi(2, X) * (N(0) - P(1))),),
    phi1 * N(0) + phi2 / X * (N(1) - N(0)),
    phi1 * N(0) + phi2 / omega(1) * (N(0) - P(1)),
)


@pytest.mark.parametrize("tableau", [MULTISTEP, adams(3), Tableau((Stage(X, X * phi1 * N(0)),), phi1 * N(1))])
def test_past_values_and_parameters_are_read_as_they_were_written(tableau: Tableau) -> None:
    document = Document(tableau, form="lambda", claimed=2, equal_steps=True)
    data = tableau_data(document)
    found = parse_tableau(json.dumps(data))
    assert same(found.tableau, tableau)
    assert (found.claimed, found.equal_steps, found.form) == (2, True, "lambda")
    assert prove(found.tableau).orders == prove(tableau).orders


def test_equal_steps_are_an_assumption() -> None:
    """Adams-Bashforth with the weights of equal steps."""
    data = {"c": [0], "a": [[]], "b": ["3/2"], "b_past": ["-1/2"], "form": "rho"}
    for steps, order in (("any", 1), ("equal", 2)):
        document = parse_tableau(json.dumps(data | {"steps": steps}))
        assert document.prove().classical == order
    ratios = parse_tableau(json.dumps(data | {"b": ["1 + 1/2/omega1"], "b_past": ["-1/2/omega1"]}))
    assert ratios.prove().classical == 2


def test_a_result_of_derive_is_read_as_its_pair_or_its_tableau() -> None:
    plain = {"c": [0, 1], "a": [[], [1]], "b": ["1/2", "1/2"]}
    family = {"order": 2, "form": "rho", "tableau": plain, "pair": None}
    for data in ([plain | {"form": "rho"}], [family], family):
        document = parse_tableau(json.dumps(data))
        assert (document.form, document.prove().classical, document.tableau.low) == ("rho", 2, None)
    pair = parse_tableau(json.dumps([family | {"pair": plain | {"b_low": [1, 0]}}]))
    assert pair.prove().embedded.classical == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"u": ["1"]},
            "^u: a row's weight of u_n is e\\^\\(c z\\), .* general linear methods cannot be held",
        ),
        ({"V": [["1"]]}, "^V: .*general linear methods"),
        ({"zero": ["x - 1"], "parameters": ["x"]}, "zero: conditions between parameters cannot be held"),
        ({"form": "x"}, "form must be one of lambda, rho, t, got 'x'"),
        ({"form": "rho", "linearised": True}, "has form lambda, got form rho"),
        ({"steps": "smooth"}, "steps must be one of any, equal"),
        ({"claimed": 0}, "claimed must be a whole number from 1 to 64"),
        ({"claimed": True}, "claimed must be a whole number from 1 to 64"),
        ({"claimed": "4"}, "claimed must be a whole number from 1 to 64"),
        ({"parameters": ["z"]}, "parameters: z has a meaning of its own"),
        ({"parameters": ["omega1"]}, "parameters: omega1 has a meaning of its own"),
        ({"parameters": ["N0"]}, "parameters: N0 has a meaning of its own"),
        ({"parameters": ["x-y"]}, "parameters must be names, got 'x-y'"),
        ({"past": -1}, "past must be a whole number from 0 to 63, got -1"),
        (
            {"past": 2, "b_past": ["1"]},
            r"b_past must have 2 entries, as many as earlier evaluations \(past\)",
        ),
        (
            {"past": 1, "a_past": [["1"], [], [], []]},
            r"a_past\[0\]\[0\] must be 0: the step's start is no stage",
        ),
        (
            {"past": 1, "a_past": [[], ["1", "2"], [], []]},
            r"a_past\[1\] must be a list of 0 entries, or of all 1",
        ),
        ({"low": ["1"] * 4, "b_low": ["1"] * 4}, "b_low and low are one row, got both"),
        ({"rounding": "0"}, "rounding must be positive and at most 0.0001, got 0"),
        ({"rounding": "0.1"}, "rounding must be positive and at most 0.0001, got 0.1"),
        ({"rounding": "1e"}, "rounding must be a number such as"),
        ({"rounding": "1e-99999999"}, "rounding must be a number such as"),
        ({"b": ["omega1", 0, 0, 0]}, "got 'omega1'"),
        ({"b": ["1/(1 - z)", 0, 0, 0]}, "rational functions of z are outside the ring of exact proofs"),
    ],
)
def test_what_a_proof_cannot_hold_is_refused_by_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TableauFileError, match=message):
        parse_tableau(broken(**changes))
