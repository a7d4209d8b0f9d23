"""One file of a package without the package: its __init__ may import training code and image libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from semilinear.integrators.common.modules import module_of_file


def alone(name: str, stubs: Mapping[str, ModuleType] | None = None) -> ModuleType:
    """The module of a dotted name, loaded from its file; its parents and `stubs` are empty while it loads.

    stubs: modules that it imports, by name, where they stand for others.  What is imported already is given
    back.  Raises ModuleNotFoundError where the package is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    parts = name.split(".")
    path = folder(parts[0]).joinpath(*parts[1:]).with_suffix(".py")
    parents = {".".join(parts[:k]): ModuleType(".".join(parts[:k])) for k in range(1, len(parts))}
    standing = {key: value for key, value in (parents | dict(stubs or {})).items() if key not in sys.modules}
    for key, value in standing.items():
        parent, _, last = key.rpartition(".")
        if parent in standing:
            setattr(standing[parent], last, value)
    return module_of_file(name, path, standing)


def folder(package: str) -> Path:
    """Where a package lies.  Raises ModuleNotFoundError where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return Path(spec.submodule_search_locations[0])


def version(distribution: str) -> str:
    """Of what is installed, "" where nothing is."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
