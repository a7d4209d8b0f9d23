"""`semilinear prove`: the orders of a tableau, exactly, and every condition that fails.

JSON: name, source, form, equation (that the orders are for), steps ("any", "equal"), linearised; claimed,
order (--order), required (the order that was judged against), judged (the order that was judged: of a solver
that of its own formula, else the classical one), judged_by ("exact", or "rounding" where the exact order is
lower than required and that within the rounding of the table is not), verdict "holds", "fails", or
"undecided" where a solver's claim is not one on the order of its formula and none is asked for; solver: null
for a file or an entry of the catalogue, else as `proofs.solver_proof` has it; classical, scalar, stiff,
weak_stiff, zero_stiff (null but for the first where the form has no L), quadrature_order, stage_order (null
without stages and without L), each looked for up to 8, and at_least: the names of those of which nothing
fails as far as was looked; plain: the order of the table as that of a plain method (--form rho), null for
another form than lambda, and hint, where that is higher; ignored_stages: those that nothing reads, the
step's start being stage 1.  within_rounding: null where every coefficient is exact, else the fields of
`within_rounding.WithinRounding`.  embedded: the first five, at_least and within_rounding of the second output
row, null without one; principal_error_norm (null where it depends on parameters, is no float, or nothing
fails), principal_error, leading_error, parameters; violated: objects with kind ("classical", "stiff"),
order, condition, residual (null beyond order 8) and decimal (the residual at z_i = 1 as a number; null with
parameters).  All numbers are finite.  A listed solver whose coefficients cannot be expanded at all (a pole
at z = 0) has name, verdict "fails" and reason alone.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.markup import escape
from semilinear.integrators.common.kinds import FORMULAS

from .prove_text import ORDERS, print_proof
from .terminal import FAILED, OK, UsageError, add_target, print_json

LARGEST = 8
EQUATIONS = {"lambda": "u' = L u + N(u)", "rho": "y' = N(tau, y)", "t": "y' = w(tau) N(tau, y)"}


def _order(text: str) -> int:
    if text not in map(str, range(1, LARGEST + 1)):
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to {LARGEST}, got {text!r}")
    return int(text)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    prove: argparse.ArgumentParser = commands.add_parser(
        "prove",
        help="prove the orders of a tableau, from a file or by name",
        description="Prove the orders of a tableau exactly, with past values taken as exact; of a solver, "
        "those of its own equation and of its whole run too.  Exit code 0 if the order of the formula is at "
        "least that of --order, or else the claim, or else 1; how it is run does not count.",
    )
    add_target(prove, "tableau", FORMULAS)
    prove.add_argument(
        "--order", type=_order, metavar="N", help="check the conditions of all orders up to N, 1 to 8"
    )
    prove.add_argument(
        "--form",
        choices=("lambda", "rho", "t"),
        help="the equation that the table is for, in place of what its file says: lambda, u' = L u + N(u), "
        "whose rows are exponential ones; rho, y' = N(tau, y), a plain Runge-Kutta or multistep table; t, "
        "y' = w(tau) N(tau, y)",
    )
    prove.add_argument(
        "--rounding",
        metavar="X",
        help="within how much the coefficients are known that are no short fractions, as 5e-19; by default "
        "what their digits show",
    )
    prove.set_defaults(run=run)
    return prove


def run(options: argparse.Namespace) -> int:
    """Prove, print, and judge."""
    from semilinear.analysis.lookup import tableau_of

    found = tableau_of(options.tableau)
    document = document_of(found, options.form, options.rounding)
    screen = Console(stderr=True)
    with screen.status(f"proving {escape(found.name)}") if screen.is_terminal else nullcontext():
        try:
            data = proved(found, options.order, document)
        except UsageError as error:
            if found.solver is None:
                raise
            return _unprovable(found.name, str(error), options.json)
    if options.json:
        print_json(data)
    else:
        print_proof(data)
    return OK if data["verdict"] == "holds" else FAILED


def _unprovable(name: str, reason: str, as_json: bool) -> int:
    """A listed solver without a proof is no bad usage: its release has no order, or not this kind of one."""
    if as_json:
        print_json({"name": name, "verdict": "fails", "reason": reason})
    else:
        print(reason)
    return FAILED


def proved(found: Any, order: int | None, document: Any) -> dict[str, Any]:
    """What is proved of a tableau (`lookup.Found`), as JSON data.

    document: what is to be proved of it (`document_of`).
    Raises UsageError for a tableau whose coefficients are outside the ring of exact proofs, and for a form
    that it cannot have.
    """
    try:
        proof = document.prove()
        classical = proof.classical
        within = document.within_rounding()
        embedded = _embedded(proof, document)
    except ValueError as error:
        raise UsageError(f"{found.name} cannot be proved: {error}") from error
    own = None if found.solver is None else _solver(found.solver)
    stiff = proof.form == "lambda"
    best = max(classical, within.classical or 0) if within is not None else classical
    plain, hint = _plain(document, best) if stiff and own is None else (None, None)
    looked = {
        "quadrature_order": proof.quadrature_order if stiff else None,
        "stage_order": proof.stage_order if stiff and found.tableau.stages else None,
    }
    return {
        "name": found.name,
        "source": found.source,
        "form": proof.form,
        "equation": EQUATIONS[proof.form] + (", L the Jacobian at u_n" if found.linearised else ""),
        "steps": "equal" if document.equal_steps else "any",
        "linearised": found.linearised,
        **_judged(found.claimed, order, proof, within, own),
        "solver": own,
        **dict.fromkeys(ORDERS),
        **proof.orders,
        **looked,
        "at_least": [*proof.at_least, *(key for key, value in looked.items() if value == LARGEST)],
        "within_rounding": _within(within),
        "plain": plain,
        "hint": hint,
        "embedded": embedded,
        **proof.told(order),
    }


def _solver(solver: Any) -> dict[str, Any]:
    from ..campaign.prove import solver_proof  # with all that is measured: no table waits for it

    return solver_proof(solver)


def _judged(
    claimed: int | None, order: int | None, proof: Any, within: Any, own: dict[str, Any] | None
) -> dict[str, Any]:
    """What is required, what of it is proved, and the verdict."""
    required = order or claimed or 1
    judged, by, refused = proof.classical, "exact", own is not None and own["refused"]
    beyond = "classical" in proof.at_least
    if own is not None and not refused:
        judged, beyond = own["formula"]["smooth"], False
    elif own is None and judged < required and within is not None and (within.classical or 0) > judged:
        judged, by, beyond = within.classical, "rounding", within.at_least
    if judged >= required:
        verdict = "holds"
    else:
        verdict = "undecided" if beyond else "fails"
    if refused and not order:  # the claim is of another kind: the tableau does not decide it
        verdict = "undecided"
    said = {"claimed": claimed, "order": order, "required": required}
    return {**said, "judged": judged, "judged_by": by, "verdict": verdict}


def document_of(found: Any, form: str | None, rounding: str | None) -> Any:
    """What is to be proved of a tableau (`tableau_file.Document`): what its file says, with a form and a
    rounding of choice in place of the file's.

    Raises UsageError for a form of a solver, which has its own, and for a rounding that is none.
    """
    from semilinear.analysis.text.tableau_file import Document, TableauFileError, parse_rounding

    if form is not None and found.solver is not None:
        raise UsageError(f"--form is for tables; solver {found.name} has a form of its own")
    document = found.document or Document(found.tableau, found.linearised)
    if form is not None:
        document = replace(document, form=form)
    if rounding is not None:
        try:
            document = replace(document, rounding=parse_rounding("--rounding", rounding))
        except TableauFileError as error:
            raise UsageError(str(error)) from error
    return document


def _embedded(proof: Any, document: Any) -> dict[str, Any] | None:
    low = proof.embedded
    if low is None:
        return None
    within = replace(document, tableau=low.tableau, typed=document.typed and document.typed.embedded)
    return {
        **dict.fromkeys(ORDERS),
        **low.orders,
        "at_least": list(low.at_least),
        "within_rounding": _within(within.within_rounding()),
    }


def _within(found: Any) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _plain(document: Any, classical: int) -> tuple[int, str | None]:
    """The order of a table as that of a plain method, of everything at z = 0; and a hint, where that is
    higher than what is proved of it as an exponential one.
    """
    plain = replace(document, form="rho", linearised=False)
    order = int(plain.prove().classical)
    within = plain.within_rounding()
    best = order if within is None or within.classical is None else int(within.classical)
    if document.linearised or best <= classical:
        return order, None
    known = "" if best == order else " within its rounding"
    return order, (
        f"as a plain Runge-Kutta or multistep table (--form rho) it has order {best}{known}; here its rows "
        "are taken for those of an exponential method, with functions of z"
    )
