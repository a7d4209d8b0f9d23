"""`semilinear completion`: a script that completes commands, options and names in a shell.

The names are written into the script, so that completing starts no Python; a newer version needs a new one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .terminal import OK, print_json

SHELLS = ("bash", "zsh", "fish")


def add(commands: Any, whole: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the command's parser; whole: the parser that is completed."""
    completion: argparse.ArgumentParser = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes commands, options and the names of solvers, tableaux, "
        'schedules, grids and problems.  bash: eval "$(semilinear completion bash)"; zsh: the script as '
        "_semilinear in a folder of $fpath; fish: semilinear completion fish | source.",
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=partial(run, whole))
    return completion


def run(whole: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    for action in _actions(whole):
        if hasattr(action, "takes"):
            action.choices = action.takes.words()  # of this parser, which parses nothing more
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(whole, shell=options.shell)
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script)
    return OK


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
