"""The section of proofs.md on tables of released code, from its JSON data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .estimates import interval

Data = Mapping[str, Any]

INTRO = """## Tables of released code

Typed from the files below and proved as they run: plain Runge-Kutta tables for y' = N(tau, y), implicit ones too, by the same conditions (as solutions of their stage equations); exponential ones for u' = L u + N(u), those with memory on equal steps. **claimed**: what a table's name or a comment says. **proved**: the order within the rounding of the decimals (looked for up to 8, so 8 means at least 8). **measured**: on three coupled equations, from exact starting values; a dash: implicit, or too few of the errors tell.

"""


def section(data: Data) -> str:
    """The section; empty where nothing was audited."""
    rows = data.get("released", [])
    if not rows:
        return ""
    releases, parts = data["releases"], [INTRO]
    for name, release in releases.items():
        parts.append(_counts(name, release, [row for row in rows if row["release"] == name]))
    parts += ["\nThese fall short:\n\n", _short([row for row in rows if row["holds"] is False])]
    parts += ["\nThese do not:\n\n", _others([row for row in rows if row["holds"] is not False])]
    parts.append("\nNot covered:\n\n")
    parts += [
        f"- {name}, {what}: {why}.\n"
        for name, release in releases.items()
        for what, why in release["absent"].items()
    ]
    return "".join(parts)


def _counts(name: str, release: Data, rows: Sequence[Data]) -> str:
    holding = sum(row["holds"] is True for row in rows)
    short = sum(row["holds"] is False for row in rows)
    where = f"{release['repository']}, {release['file']}, commit {release['commit'][:10]}"
    return (
        f"- {name} ({where}): {len(rows)} tables; {holding} have the order claimed, {short} fall short, "
        f"{len(rows) - holding - short} claim none.\n"
    )


def _short(rows: Sequence[Data]) -> str:
    lines = [
        "| table | claimed | proved | measured | condition that fails | what is wrong | repaired |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wrong = row["defect"] + (f" ({row['hidden']})" if row["hidden"] else "")
        repaired = "–" if row["repaired"] is None else f"{row['repaired']}: {row['repair_source']}"
        lines.append(
            f"| {row['name']} | {row['claimed']}: {row['claim']} | {row['order']} | {_measured(row)} "
            f"| `{row['condition']}`, {residual(row)} | {wrong} | {repaired} |"
        )
    return "\n".join(lines) + "\n"


def _others(rows: Sequence[Data]) -> str:
    lines = ["| table | claimed | proved | rounding | measured |", "|---|---|---|---|---|"]
    for row in rows:
        claimed = "–" if row["claimed"] is None else f"{row['claimed']}: {row['claim']}"
        rounding = f"{row['residual']:.1e}" if row["residual"] else ""
        lines.append(f"| {row['name']} | {claimed} | {row['order']} | {rounding} | {_measured(row)} |")
    return "\n".join(lines) + "\n"


def _measured(row: Data) -> str:

    return interval(row["measured"], 2)


def residual(row: Data) -> str:
    """The error coefficient of the condition that fails: exact where that is short, and as a decimal."""
    exact, value = row["condition_residual"], f"{row['condition_value']:.3g}"
    return value if exact is None or exact == value else f"{exact} = {value}"
