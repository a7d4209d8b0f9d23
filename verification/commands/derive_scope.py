"""What a search for methods may claim: the cases that were looked at or not, and why nothing was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def not_looked_at(search: Any) -> list[str]:
    """What was not looked at, in lines; none where everything was."""
    if search is None or search.complete:
        return []
    lines = [f"not looked at: {'; '.join(search.left)}"]
    if not search.ended:
        return [*lines, "(--special looks there too)"]
    if search.unfinished is None:
        return [*lines, f"{search.ended}: --time SECONDS gives more"]
    case, state, equations = search.unfinished
    names = ", ".join(s.name for s in state.parameters)
    here = (
        f"{len(equations)} equations in {names} were left" if equations else "the equations were being set up"
    )
    done = f"the conditions to order {state.order} were solved" if state.order else "nothing was solved"
    return [*lines, f"{search.ended}, at {case}: {done}; of order {state.order + 1}, {here}"]


def reason(search: Any, embedded: bool, settings: Sequence[str] = ()) -> str:
    """Why nothing was found, with what was set: that there is no such method is said only where every case
    was looked at.
    """
    if search.families:
        own = "the tableau's own output row"
        return f"the only such row is {own}" if search.complete else f"found was only {own}"
    if not search.complete:
        return f"none found; looked at: {'; '.join(search.looked) or 'no case to its end'}"
    words = f"there is no such method: {_weights(search.unknown, embedded)} the conditions"
    words += f", with {', '.join(settings)}" if settings else ""
    return f"{words}, at {search.looked[-1]}" if search.unknown.abscissae else words


def _weights(unknown: Any, embedded: bool) -> str:
    """Of which weights it is said that none satisfy the conditions."""
    words = "no output row" if embedded else "no weights whose rows integrate a constant"
    if unknown.form != "rho":
        indices = sorted({int(f.args[0]) for row in unknown.rows for _, f in row.terms if f.args})
        others = any(f.args and f.args[1] != row.c for row in unknown.rows for _, f in row.terms)
        places = "c_j z for all j <= i" if others else "c_i z"
        words += f", of phi_k({places}) with k = {', '.join(map(str, indices))}," if indices else ""
    steps = " on steps of all ratios" if any(j < 0 for row in unknown.rows for j, _ in row.terms) else ""
    return f"{words}{steps} {'satisfies' if embedded else 'satisfy'}"


def unfinished_json(search: Any) -> dict[str, Any] | None:
    """Where the search ended early: what was solved, and the equations that were left."""
    if search is None or search.unfinished is None:
        return None
    case, state, equations = search.unfinished
    return {
        "ended": search.ended,
        "case": case,
        "order_solved": state.order,
        "parameters": [s.name for s in state.parameters],
        "equations": [str(e.as_expr()) for e in equations],
    }
