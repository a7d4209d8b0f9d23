"""Model statistics in files: our own .npz, and the l.npz and sb.npz of thu-ml/DPM-Solver-v3.

Arrays only: nothing that is loaded is executed.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..common.files import write_atomically
from ..common.messages import shown
from .table import Tabulated

SCHEMA = "semilinear-statistics/1"


class StatisticsError(ValueError):
    """A file that does not hold model statistics."""


def save(table: Tabulated, path: str | os.PathLike[str]) -> None:
    """Write statistics to a .npz file, replacing it atomically."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        schema=np.array(SCHEMA),
        lam=np.array([table.lam_start, table.lam_end]),
        l=table.l,
        s=table.s,
        b=table.b,
    )
    write_atomically(path, stream.getvalue())


def load(path: str | os.PathLike[str]) -> Tabulated:
    """Read statistics, exactly as saved.

    Raises StatisticsError (a ValueError) if the file does not hold them, OSError if it cannot be read.
    """
    arrays = _read(path, ("schema", "lam", "l", "s", "b"))
    if arrays["schema"].shape != () or str(arrays["schema"]) != SCHEMA:
        raise StatisticsError(f"{path}: schema must be {SCHEMA!r}, got {shown(arrays['schema'])}")
    if arrays["lam"].shape != (2,) or arrays["lam"].dtype.kind != "f":
        raise StatisticsError(f"{path}: lam must hold two numbers, got {shown(arrays['lam'])}")
    low, high = (float(v) for v in arrays["lam"])
    return _table(path, low, high, arrays["l"], arrays["s"], arrays["b"])


def load_release(folder: str | os.PathLike[str], lam_start: float, lam_end: float) -> Tabulated:
    """Read l.npz (l) and sb.npz (s, b), each (M + 1, *shape) from noise to data.

    lam_start, lam_end: the lambda of the first and last node, which the files do not tell: the release takes
    those of the call, and stretches statistics that were made for others without a word.
    Raises as `load`.
    """
    l = _read(Path(folder) / "l.npz", ("l",))
    sb = _read(Path(folder) / "sb.npz", ("s", "b"))
    return _table(folder, lam_start, lam_end, l["l"], sb["s"], sb["b"])


def _table(
    path: str | os.PathLike[str], low: float, high: float, l: np.ndarray, s: np.ndarray, b: np.ndarray
) -> Tabulated:
    try:
        return Tabulated(low, high, l, s, b)
    except ValueError as error:
        raise StatisticsError(f"{path}: {error}") from error


def _read(path: str | os.PathLike[str], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise StatisticsError(f"{path}: not an .npz archive")
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise StatisticsError(f"{path}: holds {', '.join(archive.files)}, not {', '.join(missing)}")
            return {name: archive[name] for name in names}
    except StatisticsError:
        raise
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StatisticsError(f"{path}: not an .npz archive of numbers: {error}") from error
