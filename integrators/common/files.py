"""Files are replaced whole or not at all; one that is not read is named with the reason.  What JSON has no
number for is null.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def json_number(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def read_json(
    path: str | os.PathLike[str],
    error: type[ValueError],
    build: Callable[[Any], T],
    most: int | None = None,
    **hooks: Any,
) -> T:
    """What `build` makes of a file's JSON data.

    most: how many bytes are read.  hooks: of `json.loads`.  Raises `error`, with the path before the reason,
    where the file holds no JSON or `build` refuses it by that error; OSError where it cannot be read.
    """
    try:
        return build(parse_json(_text(Path(path), error, most), error, **hooks))
    except error as refusal:
        raise error(f"{path}: {refusal}") from refusal


def parse_json(text: str, error: type[ValueError], **hooks: Any) -> Any:
    """The data in a JSON text.  hooks: of `json.loads`, which raise that error.

    Raises `error`, with the reason.
    """
    try:
        return json.loads(text, **hooks)
    except RecursionError as deep:
        raise error("not JSON: brackets nested too deeply") from deep
    except ValueError as wrong:
        if type(wrong) is error:  # a hook's
            raise
        raise error(f"not JSON: {wrong}") from wrong


def _text(path: Path, error: type[ValueError], most: int | None) -> str:
    if path.exists() and not path.is_file() and not path.is_dir():  # to open a pipe would wait for a writer
        raise error("not a regular file")
    with path.open("rb") as stream:
        raw = stream.read(-1 if most is None else most + 1)
    if most is not None and len(raw) > most:
        raise error(f"at most {most} bytes are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(f"not text in UTF-8: {wrong}") from wrong


class Written(ABC):
    """A result: JSON data that writes itself.  It prints itself too, and plots itself where there is
    something to draw (`plot(path)`).
    """

    @property
    @abstractmethod
    def data(self) -> Any:
        """As JSON data."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the data as JSON; the file is replaced whole."""
        write_json(path, self.data)


def write_json(path: str | os.PathLike[str], data: Any, *, compact: bool = False) -> None:
    """Write data as JSON, a line for each value, or all in one; the file is replaced whole.

    Raises ValueError for NaN and infinity, which JSON has no number for.
    """
    spaces, indent = (",", ":") if compact else None, None if compact else 1
    write_atomically(path, json.dumps(data, allow_nan=False, indent=indent, separators=spaces) + "\n")


def write_atomically(path: str | os.PathLike[str], text: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, then a rename.

    A link is followed, an existing file keeps its permissions.
    Raises OSError for a target that exists and is not a file.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise OSError(f"{path} exists and is not a regular file")
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode() if isinstance(text, str) else text)
        os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
