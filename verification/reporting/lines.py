"""Rows of a verification run as lines of text, for those who wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .orders import interval, verdicts

EXPECTED = {True: "as expected", False: "NOT AS EXPECTED", None: "-"}


def line(part: str, row: Mapping[str, Any]) -> str:
    """One row as a line; empty for parts that speak by their failures alone."""
    if part == "rows":
        exact = "" if row["exact"] is None else f"  exact start {interval(row['exact'])}"
        return (
            f"{row['setting']:<18} {row['solver']:<34} claimed {row['claimed']}  observed "
            f"{interval(row['own'])}{exact}  {verdicts(row)}  {EXPECTED[row['as_expected']]}"
        )
    if part == "stochastic":
        return (
            f"{'stochastic':<18} {row['solver']:<34} claimed {row['claimed']}  weak {interval(row['weak'])}  "
            f"strong {interval(row['strong'])}  {row['weak']['verdict']}  {EXPECTED[row['as_expected']]}"
        )
    if part == "solvers":
        found = row["refused"] or f"formula {row['formula']['smooth']}, as it is run {row['run']}"
        return f"{'proved':<18} {row['solver']:<34} claimed {row['claimed']}  {found}"
    if part == "work_precision":
        return f"{'work-precision':<18} {row['solver']:<34} {len(row['rows'])} rows"
    if part == "replay":
        agree = sum(case["ok"] for case in row["cases"])
        name = row["cases"][0]["file"].rpartition("/")[2] if row["cases"] else ""
        return f"{'released code':<18} {name:<34} {agree} of {len(row['cases'])} cases agree"
    return ""
