"""Names that somebody may have meant, with a slip or as others call them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import semilinear as sl
from semilinear.analysis.lookup import check_name, solver_of
from semilinear.integrators.common.names import UnknownTableau, nearest
from semilinear.integrators.common.other_names import ELSEWHERE, NOT_LISTED, hint
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.verification.targets.named import target

LISTED = ("krogstad4", "lawson4", "dpm-solver-2")


def test_a_name_with_a_slip_is_found() -> None:
    assert nearest("krogstad", LISTED) == "; the nearest are krogstad4"
    assert nearest("dpmsolver2", LISTED) == "; the nearest are dpm-solver-2"


def test_a_name_that_is_like_none_has_no_nearest() -> None:
    assert nearest("nosuch", LISTED) == ""


def test_names_of_others_are_those_of_no_solver_here_and_stand_for_one() -> None:
    others = {*ELSEWHERE, *NOT_LISTED}
    assert not others & {*SOLVERS, *CATALOGUE}
    assert len(others) == len(ELSEWHERE) + len(NOT_LISTED)
    assert {*ELSEWHERE.values()} <= SOLVERS.keys()
    assert all(name == name.lower().replace("_", "-") for name in others)


@pytest.mark.parametrize("find", [sl.make, solver_of, check_name, target])
def test_whoever_refuses_a_name_says_what_it_is_called_here(find: Any) -> None:
    """In one sentence, for solvers, tableaux and targets, however it is spelled."""
    for name, meant in (
        ("RF_Solver", "; here that is rk2-in-t"),
        ("unipc-3", "; here that is unipc-3-bh2"),
        ("gDDIM", "; that is not listed: its linear part is a matrix"),
        ("restart", "; that is a plan, not a solver"),
        ("krogstad", "; the nearest are krogstad4"),
    ):
        with pytest.raises((ValueError, UnknownTableau), match=re.escape(f"got {name!r}{meant}")):
            find(name)


def test_a_name_that_stands_for_nothing_has_the_nearest() -> None:
    assert hint("dpmsolver2", LISTED) == nearest("dpmsolver2", LISTED)
