"""What a constructor leaves open: its parameters, with their defaults as a command line writes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .names import nearest

Parameters = Mapping[str, inspect.Parameter]


def open_parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that are open: what a `partial` has bound is what its name stands for."""
    fixed = build.keywords if isinstance(build, partial) else {}
    return {key: p for key, p in inspect.signature(build).parameters.items() if key not in fixed}


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
