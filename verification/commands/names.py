"""Names, known before anything is imported that they stand for.

What has a name depends on the code alone: it is gathered once for each version of the code and kept beside
the other caches (`problems.cache`), and where nothing is kept, by importing what has the names.  An argument
that takes names says so when it is added (`terminal.add_named`), for refusals and for completion.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from semilinear.analysis.text.spelling import (
    PROGRAM,
    check_file,
    check_name,
    check_part,
    check_solver,
    is_program,
    pairs,
    refuse_unlisted,
    split,
)
from semilinear.integrators.common.kinds import Kind, refuse

from ..problems.cache import kept_names
from ..targets.listed import DISTRIBUTIONS, OURS, check_ours, check_sampler, is_foreign

Named = dict[str, Any]
"""Names of a kind, with what may be set of each (`named_parts.described`) where something may."""


def named(kind: str) -> Named:
    """The names of a kind: one of those that a function of `GATHERED` returns."""
    where = next(name for name, (kinds, _) in GATHERED.items() if kind in kinds)
    found: Named = kept_names(where, GATHERED[where][1])[kind]
    return found


# --- what has a name ---


def _parts() -> dict[str, Named]:
    from semilinear.analysis.text.named_parts import GRIDS, SCHEDULES, described
    from semilinear.integrators.solvers import SOLVERS
    from semilinear.integrators.tableaux.catalogue import CATALOGUE

    parts = {"solvers": SOLVERS, "schedules": SCHEDULES, "grids": GRIDS}
    found = {kind: {name: described(build) for name, build in table.items()} for kind, table in parts.items()}
    return found | {"tableaux": dict.fromkeys(CATALOGUE)}


def _problems() -> dict[str, Named]:
    from ..problems.named import PROBLEMS
    from .system_orders import SYSTEMS

    return {"problems": dict.fromkeys(PROBLEMS), "systems": dict.fromkeys(SYSTEMS)}


def _targets() -> dict[str, Named]:
    """samplers, by package; refused: those of which whoever finds them says why they cannot run."""
    from ..targets.diffusers import REFUSED
    from ..targets.named import CONVENTIONS, samplers

    return {
        "samplers": {package: list(names) for package, names in samplers().items()},
        "refused": {"diffusers": list(REFUSED)},
        "conventions": dict.fromkeys(CONVENTIONS),
    }


def _checks() -> dict[str, Named]:
    from ..audit.audit import ONLY

    return {"checks": dict.fromkeys(ONLY)}


def _claims() -> dict[str, Named]:
    from ..claims.ledger import ledger

    return {"claims": dict.fromkeys(ledger())}


GATHERED: dict[str, tuple[tuple[str, ...], Callable[[], dict[str, Named]]]] = {
    "parts": (("solvers", "tableaux", "schedules", "grids"), _parts),
    "problems": (("problems", "systems"), _problems),
    "targets": (("samplers", "refused", "conventions"), _targets),
    "checks": (("checks",), _checks),
    "claims": (("claims",), _claims),
}
"""Kinds of names that are gathered together, as they need the same imports."""


# --- arguments that take them ---


@dataclass(frozen=True)
class Names:
    """What an argument may name.

    kinds: of the names.  check: refuses another text, by (option, text), with a ValueError.
    """

    kinds: tuple[str, ...]
    check: Callable[[str, str], Any]

    def words(self) -> list[str]:
        """The names, each once."""
        return _words(self.kinds)


def _words(kinds: Collection[str]) -> list[str]:
    return list(dict.fromkeys(name for kind in kinds for name in named(kind)))


def alone(*kinds: str) -> Names:
    """A name of one of the kinds."""
    return Names(kinds, lambda option, text: refuse_unlisted(option, text, _words(kinds)))


def part(kind: str) -> Names:
    """A schedule or a grid, with parameters or without."""
    return Names((f"{kind}s",), lambda option, text: check_part(option, text, named(f"{kind}s")))


def target(takes: Collection[Kind]) -> Names:
    """What runs, of the kinds that are taken (`kinds`)."""

    def check(_: str, text: str) -> None:
        if text in (
            f"{package}:*" for package in (*DISTRIBUTIONS, OURS)
        ):  # all of it, where that can be used
            return
        if is_foreign(text):
            refuse(text, "sampler", takes)
            _check_foreign(text)
            return
        solvers, tableaux = named("solvers"), named("tableaux")
        if "sampler" in takes:
            check_ours(text, solvers, tableaux, partial(named, "samplers"))
        else:
            check_name(text, solvers, tableaux)
        check_file(text, solvers)
        if split(text)[0] in solvers:
            check_solver(text, solvers)

    return Names(("solvers", "tableaux"), check)


def with_settings(text: str, further: Sequence[str]) -> str:
    """A target with further settings, written as its own are.  Raises ValueError for what is no KEY=VALUE."""
    pairs("--param", further)
    whole = PROGRAM.fullmatch(text) if is_function(text) else None
    parts = 2 if is_foreign(text) else 1
    name = (
        ":".join(text.split(":", parts)[:parts]) if whole is None else f"{whole['path']}:{whole['function']}"
    )
    return text + (f"{',' if len(text) > len(name) else ':'}{','.join(further)}" if further else "")


def _check_foreign(text: str) -> None:
    """Of a package's sampler; a program has no name here."""
    package, name = text.split(":")[:2]
    if package != "process":
        check_sampler(package, name, named("samplers")[package], named("refused").get(package, ()))


def _check_claim(_: str, pattern: str) -> None:
    from ..claims.ids import matching

    matching([pattern], named("claims"))


CLAIMS = Names(("claims",), _check_claim)
"""Ids of claims, and globs."""


def is_function(text: str) -> bool:
    """Whether a target is a file's function."""
    return is_program(text, named("solvers"))
