"""`semilinear train`: make the weights of the learned digits.

JSON: weights (the file), digest, recipe, and made: whether they were trained now or were there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .terminal import OK, UsageError, count, print_json, progress_bar, writable_file

OPTIONS = ("steps", "width", "seed")
"""Of the recipe, that the command line asks for; what differs from the default has weights of its own."""


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    train: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train the small network of the problem learned-digits",
        description="Train a small network on scikit-learn's digits, a minute or two on one core, and keep "
        "its weights in the cache folder ($XDG_CACHE_HOME/semilinear) by the hash of the recipe.  What is "
        "there is not trained again.  The problem learned-digits has the default recipe.",
    )
    for name in OPTIONS:
        least = 0 if name == "seed" else 1
        train.add_argument(
            f"--{name}", type=count(least), help="of the recipe (default: that of learned-digits)"
        )
    train.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw samples of every class, with guidance (PNG)"
    )
    train.set_defaults(run=run)
    return train


def run(options: argparse.Namespace) -> int:
    """Train, or find what was trained."""
    if options.plot is not None:
        writable_file(options.plot, (".png",))

    from ..problems.digits_network import Recipe
    from ..problems.weights import NoWeights, made, path_of

    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    try:
        recipe = Recipe(**given)
        there = path_of(recipe).exists()
        with progress_bar("training") as progress:
            made(recipe, progress)
    except NoWeights as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    path = path_of(recipe)
    if options.plot is not None:
        _draw(recipe, options.plot)
    if options.json:
        print_json(
            {"weights": str(path), "digest": recipe.digest, "made": not there, "recipe": asdict(recipe)}
        )
    else:
        print(f"{'found' if there else 'trained'}: {path}")
    return OK


def _draw(recipe: Any, path: Path) -> None:
    from semilinear.integrators.common.files import write_atomically

    from ..learned.study import every_class
    from ..reporting.learned import sheets_plot

    write_atomically(path, sheets_plot([every_class(recipe)]))
