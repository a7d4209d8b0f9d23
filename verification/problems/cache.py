"""What was computed once, in the user's cache folder, by the hash of all that it depends on.

Data are files of JSON: nothing that is loaded is executed, and a float64 is read as it was written.  A file
is replaced whole; one that cannot be read counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semilinear.integrators.common.files import write_atomically

if TYPE_CHECKING:
    import numpy as np  # imported where there are arrays: a command asks for names before

PACKAGES = ("semilinear", "torch", "numpy", "scipy", "sympy", "mpmath")
KEPT = 4
"""Of how many versions of the code results are kept, those used last."""


def folder() -> Path:
    """$XDG_CACHE_HOME/semilinear, of ~/.cache where that is not set or no absolute path."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "semilinear"


def environment() -> dict[str, Any]:
    """What numbers may depend on besides the source."""
    from importlib.metadata import version  # which loads an e-mail parser: names are known without

    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


@cache
def fingerprint() -> str:
    """Of the source of every layer, of the packages beneath, of Python and the machine."""
    return hashlib.sha256(json.dumps([environment(), source()]).encode()).hexdigest()


@cache
def source() -> str:
    """Of the source of every layer alone."""
    import semilinear.analysis
    import semilinear.integrators
    import semilinear.verification

    found = hashlib.sha256()
    for layer in (semilinear.integrators, semilinear.analysis, semilinear.verification):
        root = Path(layer.__path__[0])
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".txt", ".json")):
            found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def digest(*values: Any) -> str:
    """A hash of plain data: numbers, texts, tuples, lists and dicts of them, float arrays, dataclasses of all
    of these.

    Raises TypeError for anything else, such as a function: what it does is not known from its value.
    """
    found = hashlib.sha256()
    for part in _parts(values):
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    import numpy as np

    if value is None or isinstance(value, (str, int, float, Fraction, np.number)):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, (tuple, list, np.ndarray)):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, dict):
        yield from _parts([item for pair in value.items() for item in pair])
    elif is_dataclass(value) and not isinstance(value, type):
        yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
        yield from _parts([getattr(value, f.name) for f in fields(value) if f.init])
    else:
        raise TypeError(f"a {type(value).__name__} has no digest")


class Cache:
    """JSON data by a digest, a file each, for the code that made them.

    root: the folder; each version of the code has its own in it, and all but the last few are removed.  Where
    it cannot be made nothing is kept.  version: of the code, by default with all beneath it.
    """

    def __init__(self, root: Path, version: str | None = None) -> None:
        self.path = root / (fingerprint() if version is None else version)[:16]
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            os.utime(self.path)  # used now
            others = sorted((p for p in root.iterdir() if p.is_dir() and p != self.path), key=_used)
            for old in others[: max(0, len(others) + 1 - KEPT)]:
                shutil.rmtree(old, ignore_errors=True)

    def get(self, key: str) -> Any:
        """The data of a digest; None where there are none."""
        with suppress(OSError, ValueError, RecursionError):
            return json.loads(self._file(key).read_text(encoding="utf-8"))
        return None

    def put(self, key: str, data: Any) -> None:
        """Keep data; a full disk or a folder that cannot be written loses them."""
        with suppress(OSError):
            write_atomically(self._file(key), json.dumps(data, allow_nan=False))

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.json"


class Memory:
    """The same in this process alone, for the last data that were put."""

    def __init__(self, most: int = 1024) -> None:
        self._most, self._data = most, dict[str, Any]()

    def get(self, key: str) -> Any:
        """The data of a digest; None where there are none."""
        return self._data.get(key)

    def put(self, key: str, data: Any) -> None:
        """Keep data."""
        self._data[key] = data
        if len(self._data) > self._most:
            del self._data[next(iter(self._data))]


def _used(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


_ACTIVE: ContextVar[Cache | Memory | None] = ContextVar("cache", default=None)


@contextmanager
def keeping(kept: Cache | Memory | None) -> Iterator[None]:
    """What is `remembered` within is kept there; None: nowhere."""
    token = _ACTIVE.set(kept)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def remembered(what: tuple[Any, ...], make: Callable[[], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The float64 array that `make` returns, or that it once returned for the same values.

    what: all that it depends on besides the code.  shape: the array's.  Computed anew outside of `keeping`,
    and where the values have no digest.
    """
    import numpy as np

    kept = _ACTIVE.get()
    try:
        key = None if kept is None else digest(*what)
    except TypeError:
        key = None
    if kept is None or key is None:
        return make()
    with suppress(ValueError, TypeError):
        found = np.array(kept.get(key), dtype=np.float64)
        if found.shape == shape and np.isfinite(found).all():
            return found
    made = make()
    if np.isfinite(made).all():
        kept.put(key, made.tolist())
    return made


def kept_names(what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """JSON data that depend on the code alone, made once for each version of it.

    what: a word that stands for them.  Data of other code, and a file that holds no object, count as absent.
    """
    kept = Cache(folder() / "names", source())
    found = kept.get(what)
    if isinstance(found, dict):
        return found
    made = make()
    kept.put(what, made)
    return made
