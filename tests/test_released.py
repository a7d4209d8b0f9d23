"""Tables of released code: each has the order that is stated here, by the trees and by runs without them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from semilinear.analysis.orders.expansion import unweighted
from semilinear.analysis.orders.runge_kutta import plain
from semilinear.integrators.tableaux.catalogue.released import RELEASES, RES4LYF, SKRAMPLE, Butcher, Released
from semilinear.integrators.tableaux.catalogue.released.table import (
    collect,
    collocation,
    number,
    parse,
    shu_osher,
)
from semilinear.integrators.tableaux.tableau import Tableau
from semilinear.verification.audit.released_tables import (
    Audit,
    AuditTask,
    TableProof,
    audit_tasks,
    measure,
    releases_json,
)
from semilinear.verification.campaign.prove import failures
from semilinear.verification.reporting import released as released_report
from sympy import Rational, sqrt

from tests.roundings import MANY_ULP

TABLES = {f"{name}/{key}": t for name, r in RELEASES.items() for key, t in r.tables.items()}
SHORT = {
    "RES4LYF/ssprk4_4s": 3,
    "RES4LYF/rk5_7s": 1,
    "RES4LYF/bogacki-shampine_4s": 3,
    "RES4LYF/verner_robust_16s": 4,
    "RES4LYF/radau_ia_3s": 1,
    "RES4LYF/gauss-legendre_4s": 1,
    "RES4LYF/gauss-legendre_4s_alternating_a": 1,
    "RES4LYF/gauss-legendre_4s_ascending_a": 1,
    "RES4LYF/gauss-legendre_4s_alt": 1,
    "RES4LYF/gauss-legendre_5s": 2,
    "RES4LYF/gauss-legendre_5s_ascending": 2,
    "RES4LYF/gauss-legendre_diag_8s": 1,
    "RES4LYF/res_3s_non-monotonic": 2,
    "RES4LYF/res_3s_sunstar": 2,
    "RES4LYF/res_4s_friedli": 2,
    "RES4LYF/res_4s_munthe-kaas": 2,
    "RES4LYF/res_4s_krogstad_alt": 2,
    "RES4LYF/res_4s_minchev": 2,
    "RES4LYF/res_4s_strehmel_weiner_alt": 2,
    "RES4LYF/res_5s_hochbruck-ostermann": 2,
    "RES4LYF/res_8s_alt": 2,
    "RES4LYF/res_16s": 1,
    "RES4LYF/etdrk4_4s": 2,
    "RES4LYF/etdrk4_4s_alt": 0,
    "RES4LYF/dpmpp_3s": 2,
    "RES4LYF/res_3m": 2,
    "RES4LYF/dpmpp_3m": 2,
    "RES4LYF/abnorsett_4m": 1,
    "RES4LYF/pec423_2h2s": 1,
    "RES4LYF/pec433_2h3s": 1,
    "RES4LYF/lawson42-gen-mod_1h4s": 2,
    "RES4LYF/lawson43-gen-mod_2h4s": 2,
    "RES4LYF/lawson44-gen-mod_3h4s": 1,
    "RES4LYF/lawson45-gen-mod_4h4s": 1,
    "skrample/Shanks1965.RK5_5": 4,
    "skrample/Shanks1965.RK6_6": 5,
    "skrample/Shanks1965.RK7_7": 5,
    "skrample/Shanks1965.RK8_10": 7,
}
SILENT = {"RES4LYF/res_3s_strehmel_weiner": 2, "RES4LYF/kraaijevanger_spijker_2s": 1}
LONG = re.compile(
    r"verner|gauss-legendre_(4s|5s|diag)|_16s|_8s|lawson4[2345]-|pec4|RK6_6|RK7_7|RK8_10|abnorsett|dpmpp_3m|ia_3s"
)
"""Names whose proofs take a second."""
QUICK = [name for name in SHORT if not LONG.search(name)] + [*SILENT]
QUICK += ["RES4LYF/dormand-prince_6s", "RES4LYF/rk6_7s", "RES4LYF/tsi_7s", "RES4LYF/lobatto_iiic_4s"]
QUICK += ["RES4LYF/crouzeix_3s", "RES4LYF/res_3s", "RES4LYF/res_4s_cfree4"]
QUICK += ["RES4LYF/lawson41-gen-mod_4s", "RES4LYF/res_2m", "skrample/SSP.RK5_10", "skrample/WSO.RK_9_5_5"]
THOROUGH = [pytest.param(name, marks=pytest.mark.slow) for name in TABLES if name not in QUICK]


def stated(name: str) -> int:
    claimed = TABLES[name].claimed
    if name in SHORT:
        return SHORT[name]
    return SILENT[name] if claimed is None else min(claimed, 8)


@pytest.mark.parametrize("name", [*QUICK, *THOROUGH])
def test_a_table_has_the_order_that_is_stated_and_its_repair_the_one_claimed(name: str) -> None:
    audit = Audit(TABLES[name])
    assert audit.proof.order == stated(name)
    assert audit.holds is (None if name in SILENT else name not in SHORT)
    if audit.repaired is not None:
        assert TABLES[name].claimed is not None
        assert audit.repaired.order == min(TABLES[name].claimed or 0, 8)


def test_what_falls_short_says_why_and_is_repaired() -> None:
    for name, table in TABLES.items():
        assert bool(table.defect) is (name in SHORT), name
        assert (table.repair is not None) is (name in SHORT), name
        assert (table.claimed is None) is (name in SILENT), name
        assert bool(table.claim) is (name not in SILENT), name


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda r: r.repository)
def test_a_release_names_its_commit_and_what_is_absent(release: Any) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", release.commit)
    assert release.absent
    assert not set(release.tables) & set(release.absent)


# --- by other means ---


def slope(table: Butcher, steps: tuple[int, int]) -> float:
    """The observed order on y' = -2 t y^2 + sin(y - s)(1 + y), s = 1/(1 + t^2) the solution, in float64.

    Stage equations by fixed-point iteration, which is exact after s sweeps where the table is explicit.
    """
    a, b, c = (np.array(v, dtype=object).astype(float) for v in (table.a, table.b, table.c))

    def f(t: Any, y: Any) -> Any:
        return -2 * t * y * y + np.sin(y - 1 / (1 + t * t)) * (1 + y)

    errors = []
    for n in steps:
        h, y = 1 / n, 1.0
        for i in range(n):
            stages = np.full(len(c), f(i * h, y))
            for _ in range(len(c) if table.explicit else 40):
                stages = f((i + c) * h, y + h * a @ stages)
            y += h * float(b @ stages)
        errors.append(abs(y - 0.5))
    return math.log(errors[0] / errors[1]) / math.log(steps[1] / steps[0])


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("ssprk4_4s", (40, 80)),
        ("rk5_7s", (100, 200)),
        ("bogacki-shampine_4s", (40, 80)),
        ("radau_ia_3s", (100, 200)),
        ("gauss-legendre_4s", (100, 200)),
        ("gauss-legendre_4s_alt", (200, 400)),
        ("gauss-legendre_5s_ascending", (40, 80)),
    ],
)
def test_a_run_without_any_of_the_toolkit_shows_the_proved_order(name: str, steps: tuple[int, int]) -> None:
    """0.3: the next order is told apart, with room for the second term of the error."""
    table = RES4LYF.tables[name].table
    assert isinstance(table, Butcher)
    assert slope(table, steps) == pytest.approx(SHORT[f"RES4LYF/{name}"], abs=0.3)  # see above


@pytest.mark.parametrize("name", ["ssprk4_4s", "radau_ia_3s", "gauss-legendre_4s"])
def test_a_repaired_table_is_of_higher_order_in_such_a_run(name: str) -> None:
    released = RES4LYF.tables[name]
    assert released.repair is not None
    table = released.repair.build()
    assert isinstance(table, Butcher)
    assert slope(table, (4, 8)) > SHORT[f"RES4LYF/{name}"] + 0.7


@pytest.mark.parametrize(
    "name", ["res_4s_friedli", "res_4s_munthe-kaas", "etdrk4_4s_alt", "dpmpp_3m", "abnorsett_4m", "rk4_4s"]
)
def test_a_table_is_measured_as_proved(name: str) -> None:
    audit = Audit(RES4LYF.tables[name])
    estimate = measure(audit.released.table, audit.proof.order)
    assert estimate is not None
    assert estimate.verdict(audit.proof.order) == "consistent"


@pytest.mark.parametrize("name", ["rk4_4s", "rk38_4s", "bogacki-shampine_7s", "ssprk4_4s", "rk5_7s"])
def test_the_conditions_are_those_of_the_explicit_prover(name: str) -> None:
    table = RES4LYF.tables[name].table
    assert isinstance(table, Butcher)
    ours, theirs = plain(table), unweighted(table.tableau, 6)
    for q in range(1, 7):
        assert ours.errors(q) == theirs.errors(q)


def test_a_change_in_any_coefficient_of_an_implicit_table_is_seen() -> None:
    table = RES4LYF.tables["radau_iia_2s"].table
    assert isinstance(table, Butcher)
    for i in range(2):
        for j in range(2):
            a = [list(row) for row in table.a]
            a[i][j] += Rational(1, 1000)
            changed = replace(table, a=tuple(map(tuple, a)))
            assert TableProof(changed).order < TableProof(table).order == 3


def test_rounding_is_told_from_a_wrong_digit() -> None:
    table = RES4LYF.tables["tsi_7s"].table
    assert isinstance(table, Butcher)
    proof = TableProof(table, 15, 6)
    assert (proof.exact, proof.order) == (0, 5)
    assert 0 < proof.residual < MANY_ULP
    b = (table.b[0] + Rational(1, 10**9), *table.b[1:])
    assert TableProof(replace(table, b=b), 15, 6).order == 0


def test_a_digit_behind_the_last_but_one_is_told_from_rounding() -> None:
    """What a rounding moves a condition by is counted, not guessed: RK3_5 sums to 1 within 13 half units."""
    released = SKRAMPLE.tables["SSP.RK3_5"]
    table = released.table
    assert isinstance(table, Butcher)
    assert TableProof(table, released.digits, 3).order == 3
    b = (table.b[0] + Rational(1, 10**13), *table.b[1:])
    assert TableProof(replace(table, b=b), released.digits, 3).order == 0


def test_digits_are_those_of_plain_tables() -> None:
    with pytest.raises(ValueError, match="digits must be None for a tableau with z, got 15"):
        TableProof(RES4LYF.tables["dpmpp_2m"].table, 15)


def test_methods_with_memory_are_proved_on_equal_steps() -> None:
    table = RES4LYF.tables["dpmpp_2m"].table
    assert isinstance(table, Tableau)
    assert TableProof(table, through=3).order == 2


# --- the notation ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3/4", Rational(3, 4)),
        ("-0.125", Rational(-1, 8)),
        ("1/2-1/10r15", Rational(1, 2) - sqrt(15) / 10),
        ("-2r2", -2 * sqrt(2)),
    ],
)
def test_a_number_is_read_exactly(text: str, value: Any) -> None:
    assert sympy.expand(number(text) - value) == 0


@pytest.mark.parametrize("text", ["", "x", "1/2*3", "sqrt(2)", "1e5", "1/2 3"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a number must read like"):
        number(text)


def test_a_table_of_another_shape_is_refused() -> None:
    one = Rational(1)
    with pytest.raises(ValueError, match="s x s"):
        Butcher((one,), ((one, one),), (one,))
    with pytest.raises(ValueError, match="s x s"):
        parse(["1/2: 1/2", "1: 0 1", "1: 0 0 1", "1"])


def test_explicit_tables_leave_out_their_first_stage_and_implicit_ones_do_not() -> None:
    explicit, implicit = parse(["1: 1", "1/2 1/2"]), parse(["0: 0 0", "1: 1/2 1/2", "1/2 1/2"])
    assert explicit.explicit
    assert not implicit.explicit
    with pytest.raises(ValueError, match="strictly lower triangular"):
        _ = implicit.tableau


def test_a_name_stands_once() -> None:
    table = Released("x", lambda: parse(["1"]), 1, "name")
    with pytest.raises(ValueError, match="name of its own"):
        collect([table, table])


def test_collocation_on_the_gauss_nodes_is_the_released_gauss_table() -> None:
    nodes = [Rational(1, 2) - sqrt(3) / 6, Rational(1, 2) + sqrt(3) / 6]
    table, released = collocation(nodes), RES4LYF.tables["gauss-legendre_2s"].table
    assert isinstance(released, Butcher)
    pairs = zip((*table.a, table.b), (*released.a, released.b), strict=True)
    assert all(
        sympy.simplify(x - y) == 0 for ours, theirs in pairs for x, y in zip(ours, theirs, strict=True)
    )


def test_the_third_order_method_of_shu_and_osher_in_its_own_form() -> None:
    table = shu_osher(["1", "3/4 1/4", "1/3 0 2/3"], ["1", "0 1/4", "0 0 2/3"])
    assert table == SKRAMPLE.tables["SSP.RK3_3"].table


# --- the report ---


@pytest.fixture(scope="module")
def data() -> Any:
    names = ("res_4s_friedli", "rk4_4s", "kraaijevanger_spijker_2s", "ssprk4_4s")
    rows = [AuditTask("RES4LYF", name).run() for name in names]
    return {"released": json.loads(json.dumps(rows, allow_nan=False)), "releases": releases_json()}


def test_the_report_tells_what_falls_short(data: Any) -> None:
    text = released_report.section(data)
    assert "4 tables; 1 have the order claimed, 2 fall short, 1 claim none" in text
    line = next(line for line in text.splitlines() if line.startswith("| res_4s_friedli"))
    assert "| 4: name, Friedli 1978 | 2 |" in line
    assert "1/4 = 0.25" in line
    assert "4: Friedli 1978" in line
    assert released_report.section({}) == ""


def test_an_audit_that_is_not_as_expected_is_a_failure(data: Any) -> None:
    rest: dict[str, Any] = {
        key: [] for key in ("solvers", "catalogue", "constants", "effects", "mutations", "stability")
    }
    assert failures(rest | data) == []
    changed = json.loads(json.dumps(data))
    changed["released"][0]["as_expected"] = False
    assert len(failures(rest | changed)) == 1


def test_every_table_has_its_task() -> None:
    assert len(audit_tasks()) == len(TABLES)


def test_the_weights_of_verners_table_lose_their_order_by_one_place_of_the_point() -> None:
    released = RES4LYF.tables["verner_robust_16s"]
    table = released.table
    assert isinstance(table, Butcher)
    assert released.repair is not None
    row = [Fraction(str(v)) for v in table.a[5]]
    assert float(sum(row) - Fraction(str(table.c[5]))) == pytest.approx(0.00632, abs=5e-6)  # three digits
    assert float(9 * row[4] / 10) == pytest.approx(0.00632, abs=5e-6)  # three digits
