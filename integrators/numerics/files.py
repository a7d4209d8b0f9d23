"""Files are replaced whole or not at all; what JSON has no number for is null."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path


def json_number(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


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
