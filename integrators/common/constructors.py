"""What a constructor leaves open: its parameters, with their defaults as a command line writes them, and what
their annotations say that each takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .names import nearest
from .ranges import Range

Parameters = Mapping[str, inspect.Parameter]


def open_parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that are open: what a `partial` has bound is what its name stands for."""
    fixed = build.keywords if isinstance(build, partial) else {}
    taken = inspect.signature(build, eval_str=True).parameters
    return {key: parameter for key, parameter in taken.items() if key not in fixed}


def default_text(parameter: inspect.Parameter) -> str | None:
    """A default as it would be typed: 1/2, true, none, the name of an object; None where there is none."""
    value = parameter.default
    if value is inspect.Parameter.empty:
        return None
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__).replace("_", "-")
    return str(getattr(value, "name", value))


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [one for part in get_args(annotation) for one in _alternatives(part)]
    return [annotation]


def literals(parameter: inspect.Parameter) -> list[str]:
    """The words of its `Literal`."""
    found = [one for one in _alternatives(parameter.annotation) if get_origin(one) is Literal]
    return [word for one in found for word in get_args(one) if isinstance(word, str)]


def is_float(parameter: inspect.Parameter) -> bool:
    """Whether its numbers are floats, not what they are given as."""
    bare = (
        get_args(one)[0] if get_origin(one) is Annotated else one
        for one in _alternatives(parameter.annotation)
    )
    return float in bare


def optional(parameter: inspect.Parameter) -> bool:
    """Whether it may be None."""
    return parameter.default is None or NoneType in _alternatives(parameter.annotation)


def allowed(parameter: inspect.Parameter) -> dict[str, Any] | None:
    """What it takes, as JSON data; None where the annotation does not tell.

    words: `Literal`s, true and false for a flag, none where it may be absent.  number: the bounds of a
    `Range`, for float and int alone {}; left out where it takes no number.
    """
    words, number = literals(parameter), None
    for one in _alternatives(parameter.annotation):
        base, *said = get_args(one) if get_origin(one) is Annotated else (one,)
        ranges = [r for r in said if isinstance(r, Range)]
        if base is bool:
            words += ["true", "false"]
        elif base in (int, float) or ranges:
            found = ranges[0] if ranges else Range()
            number = found.bounds() | ({"integer": True} if base is int else {})
        elif not (base is NoneType or get_origin(base) is Literal):
            return None
    return {"words": words + ["none"] * optional(parameter)} | ({} if number is None else {"number": number})


def written(defaults: Mapping[str, str | None]) -> str:
    """Parameters as they are typed, `key=default`, or the key alone where there is no default."""
    return ", ".join(key if text is None else f"{key}={text}" for key, text in defaults.items())


def refuse_unknown(what: str, given: Iterable[str], taken: Parameters) -> None:
    """Raise ValueError for a parameter that is not taken, with those that are and the nearest."""
    refuse_others(what, given, {key: default_text(p) for key, p in taken.items()})


def refuse_others(what: str, given: Iterable[str], defaults: Mapping[str, str | None]) -> None:
    """The same where what is taken is known by its defaults, as they are typed."""
    unknown = [key for key in given if key not in defaults]
    if unknown:
        listed = written(defaults)
        hint = nearest(unknown[0], defaults)
        raise ValueError(
            f"{what} does not take {', '.join(unknown)}; its parameters are: {listed or 'none'}{hint}"
        )
