"""Names that somebody may have meant."""

from __future__ import annotations

from semilinear.integrators.numerics.names import nearest

LISTED = ("krogstad4", "lawson4", "dpm-solver-2")


def test_a_name_with_a_slip_is_found() -> None:
    assert nearest("krogstad", LISTED) == "; the nearest are krogstad4"
    assert nearest("dpmsolver2", LISTED) == "; the nearest are dpm-solver-2"


def test_a_name_that_is_like_none_has_no_nearest() -> None:
    assert nearest("nosuch", LISTED) == ""
