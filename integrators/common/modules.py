"""A Python file as a module, run as Python runs any program that its user names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _Source(SourceFileLoader):
    """A file as it is now: bytecode that is kept is told by the second in which its file was changed."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def module_of_file(name: str, path: Path, standing: Mapping[str, ModuleType] | None = None) -> ModuleType:
    """The module of a file, known by a name from now on; the same again where that is known already.

    standing: modules that are known while it runs, by name.  What stands beside the file can be imported by
    it, as by a program, but hides nothing that is installed.  However the file ends, by sys.exit too, no half
    of it is left known.  Raises ImportError where Python makes no module of it, and what it raises.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"{path} is not there", name=name)
    module = importlib.util.module_from_spec(spec)
    known, folder = dict(standing or {}), str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # it stays there: functions may import when they run
    sys.modules.update(known)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        for key in known:
            del sys.modules[key]
    return module
