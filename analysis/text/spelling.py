"""What a text says before anything is made of it: NAME[:KEY=VALUE,..], a file, or FILE.py:function.

Which names there are, and what each takes, is given, so that a text can be refused where they are known and
what they stand for is not built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any

from semilinear.integrators.common.constructors import refuse_others
from semilinear.integrators.common.names import UnknownTableau, nearest
from semilinear.integrators.common.other_names import hint
from semilinear.integrators.common.ranges import Range

PROGRAM = re.compile(r"(?P<path>.+?\.py):(?P<function>[^:=]+)(?::(?P<settings>.*))?", re.DOTALL)
"""FILE.py:function, with settings or without."""
NUMBER = re.compile(
    r"(?P<decimal>[+-]?\d{1,50}(\.\d{1,50})?([eE][+-]?\d{1,3})?)(/(?P<by>0*[1-9]\d{0,49}))?", re.ASCII
)
"""An integer, a decimal, or either over an integer, of so many digits that it is read at once."""
Described = Mapping[str, Any]
"""What may be set of a part (`named_parts.described`)."""


def split(text: str) -> tuple[str, list[str]]:
    """The name, and the KEY=VALUE texts after its colon."""
    name, colon, listed = text.partition(":")
    return name, listed.split(",") if colon else []


def pairs(what: str, texts: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """{key: text of the value} of KEY=VALUE texts, after those that are given.

    Raises ValueError, saying `what` they belong to, for another text and for a key that is set twice.
    """
    found = dict(given or {})
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise ValueError(f"{what} must be KEY=VALUE, got {text!r}")
        if name in found:
            raise ValueError(f"{what} must set a parameter once, got {name} again")
        found[name] = value
    return found


def number_of(text: str) -> Fraction | None:
    """The exact number that a text is: 3, 1/3, 0.5, 1e-4; None for another text."""
    found = NUMBER.fullmatch(text)
    return None if found is None else Fraction(found["decimal"]) / int(found["by"] or 1)


def is_integer(text: str) -> bool:
    """Whether a text is an integer, written as one."""
    number = number_of(text)
    return number is not None and number.denominator == 1 and "." not in text


# --- values ---


def check_value(key: str, text: str, allowed: Mapping[str, Any]) -> None:
    """Refuse what a parameter does not take (`constructors.allowed`), without making what it is of.

    Raises ValueError that names the parameter, with what is allowed and the nearest words.
    """
    words, bounds = allowed["words"], allowed.get("number")
    if text in words or (text.lower() in ("true", "false") and text.lower() in words):
        return
    number, wanted = number_of(text), []
    if bounds is not None:
        taken = Range(**bounds)
        if number is not None and taken.holds(number) and (is_integer(text) or not taken.integer):
            return
        wanted = [str(taken)]
    if words:
        wanted.append(f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words))
    got = repr(text) if number is None else text
    raise ValueError(f"{key} must be {' or '.join(wanted)}, got {got}{nearest(text, words)}")


def check_parameters(what: str, given: Mapping[str, str], described: Described) -> None:
    """Refuse parameters that a part does not take, and values that they do not.

    what: the part, in a message.  A parameter that is a part itself brings its own.  Raises ValueError.
    """
    own, parts, values = described["parameters"], described["parts"], described["values"]
    taken = dict(own)
    for key, listed in parts.items():
        if key not in given and own[key] is not None:
            continue
        if given.get(key) not in listed:
            got = f"got {given[key]!r}" if key in given else "and has no default"
            raise ValueError(f"{key} must be one of {', '.join(listed)}, {got}")
        taken = listed[given[key]]["parameters"] | taken
        values = listed[given[key]]["values"] | values
    refuse_others(what, given, taken)
    for key, text in given.items():
        if key in values:
            check_value(key, text, values[key])


# --- targets ---


def is_program(text: str, solvers: Collection[str]) -> bool:
    """Whether a text is FILE.py:function, with settings or without, not a listed name with parameters."""
    return split(text)[0] not in solvers and PROGRAM.fullmatch(text) is not None


def is_file(text: str, solvers: Collection[str]) -> bool:
    """Whether a text that is no solver is a file's name: it ends in .json or holds a folder."""
    listed = split(text)[0] in solvers or is_program(text, solvers)
    return not listed and (text.lower().endswith(".json") or os.sep in text)


def check_name(text: str, solvers: Collection[str], tableaux: Collection[str]) -> None:
    """Refuse what is neither listed, nor a file, nor a function of one.

    Raises UnknownTableau, with the nearest names.
    """
    if text.endswith(".py"):
        raise UnknownTableau(f"{text} needs the name of a function: {text}:NAME")
    name, _ = split(text)
    if name in solvers or text in tableaux or is_program(text, solvers) or is_file(text, solvers):
        return
    raise UnknownTableau(
        "expected a listed solver, an entry of the catalogue (`semilinear list`), a .json file or "
        f"FILE.py:function, got {text!r}{hint(name, dict.fromkeys((*solvers, *tableaux)))}"
    )


def check_file(text: str, solvers: Collection[str]) -> None:
    """Refuse a file that is not there, of a tableau, a plan or a function.  Raises UnknownTableau."""
    program = PROGRAM.fullmatch(text) if is_program(text, solvers) else None
    if program is None and not is_file(text, solvers):
        return
    path = text if program is None else program["path"]
    try:
        os.stat(path)
    except OSError as error:
        why = "cannot be read" if program is None else "is no Python file that can be read"
        raise UnknownTableau(f"{path} {why}: {error.strerror}") from error


def check_solver(text: str, solvers: Mapping[str, Described]) -> None:
    """Refuse parameters in a text that its listed solver does not take, and values that they do not.

    Raises UnknownTableau, as `lookup.solver_of` does.
    """
    name, texts = split(text)
    try:
        check_parameters(f"solver {name!r}", pairs(f"a parameter in {text}", texts), solvers[name])
    except ValueError as error:
        raise UnknownTableau(f"{text}: {error}") from error


# --- parts ---


def refuse_unlisted(what: str, text: str, listed: Iterable[str]) -> None:
    """Raise ValueError for a text whose name is not listed, with those that are and the nearest."""
    name, _ = split(text)
    if name not in (names := list(listed)):
        raise ValueError(f"{what} must be one of {', '.join(names)}, got {text!r}{nearest(name, names)}")


def check_part(what: str, text: str, listed: Mapping[str, Described]) -> None:
    """Refuse a name that is not listed, parameters that its part does not take, and values that they do not.

    what: how a message calls it.  Raises ValueError, as `named_parts.schedule_of` and `grid_of` do.
    """
    refuse_unlisted(what, text, listed)
    name, texts = split(text)
    try:
        check_parameters(name, pairs("a parameter", texts), listed[name])
    except ValueError as error:
        raise ValueError(f"{what} {text}: {error}") from error
