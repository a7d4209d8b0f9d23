"""Values that hold functions made on the spot are pickled as the call that made them.

A function made on the spot has no name to be pickled by.  Where it stands alone, it is written as a
`functools.partial` of one that has, which needs nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, SupportsIndex, TypeVar

MADE_BY = "_made_by"


class Remade:
    """A value that pickles as the call of the factory that made it (`remade`); where none did, by its fields.

    `dataclasses.replace` makes a new value, which no factory made.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        call = self.__dict__.get(MADE_BY)
        return super().__reduce_ex__(protocol) if call is None else (call, ())


P = ParamSpec("P")
V = TypeVar("V", bound=Remade)


def remade(factory: Callable[P, V]) -> Callable[P, V]:
    """A factory of `Remade` values; the arguments are kept, and must not be changed afterwards."""

    @wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> V:
        value = factory(*args, **kwargs)
        value.__dict__[MADE_BY] = partial(make, *args, **kwargs)
        return value

    return make
