"""Proofs against measurements: what `semilinear verify` would fail on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from semilinear.analysis.orders.proof import prove
from semilinear.integrators.solver import Ramp
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import N, Tableau
from semilinear.verification.campaign import prove as proofs
from semilinear.verification.claims.flow import Expectation
from semilinear.verification.systems.orders import KINDS
from semilinear.verification.systems.parabolic import parabolic, stiff_slopes


def agrees(name: str, *, weaker: int = 0) -> bool:
    """Whether the slopes of a catalogue entry allow its proof, its weak stiff order changed by so much."""
    tableau = CATALOGUE[name].tableau
    proof = prove(tableau)
    slopes = [stiff_slopes(tableau, parabolic(kind))[2] for kind in KINDS]
    return proofs.agrees(proof.classical, proof.weak_stiff - weaker, slopes)


@pytest.mark.parametrize("name", ["etdrk3", "krogstad4", "hochbruck-ostermann4", "lawson4", "cfree4"])
def test_a_stiff_order_that_is_proved_too_high_shows(name: str) -> None:
    assert agrees(name)
    assert not agrees(name, weaker=-1)


@pytest.mark.parametrize("name", ["etdrk2", "hochbruck-ostermann3", "hochbruck-ostermann4", "ab-norsett4"])
def test_a_reduction_that_is_not_measured_shows(name: str) -> None:
    """Of methods without order reduction: one that is proved would be seen on one problem at least."""
    assert agrees(name)
    assert not agrees(name, weaker=1)


@pytest.mark.parametrize(
    ("solver", "verdict"),
    [("score-sde-pf-em", None), ("ddim", True)],
)
def test_only_a_discretised_kernel_may_go_without_proof(solver: str, verdict: bool | None) -> None:
    assert proofs.ProofTask(Expectation(solver, 1, 1)).run()["as_expected"] is verdict


def test_a_refused_formula_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    tab = make("deis-tab0")
    bare = replace(tab, sequence=Ramp((Tableau((), N(0)),)))
    monkeypatch.setattr(Expectation, "build", lambda self: bare)
    row = proofs.ProofTask(Expectation("deis-tab0", 1, 1)).run()
    assert "has no moment" in row["refused"]
    assert row["as_expected"] is False
