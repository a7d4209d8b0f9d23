"""The study of the learned digits as a report: Markdown, JSON and pictures.

python -m semilinear.verification.learned.report --out reports
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semilinear.integrators.numerics.files import write_atomically

from ..problems.digits_network import Recipe
from ..problems.weights import made
from ..reporting.learned import markdown, sheets_plot, work_plot
from .study import Size, study


def write(data: dict[str, Any], out: Path) -> None:
    """learned.md, learned.json, learned-work.png and learned-digits.png into a folder."""
    write_atomically(out / "learned.json", json.dumps(data, allow_nan=False) + "\n")
    write_atomically(out / "learned.md", markdown(data))
    write_atomically(out / "learned-work.png", work_plot(data))
    write_atomically(
        out / "learned-digits.png", sheets_plot([*data["sheets"], *data["guided"], *data["filled"]])
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train where there are no weights, study, write."""
    parser = argparse.ArgumentParser(description="Solvers on a learned score.")
    parser.add_argument("--out", type=Path, default=Path("reports"), metavar="DIR")
    options = parser.parse_args(argv)
    recipe = Recipe()

    def tell(part: str) -> Any:
        return lambda done, total: (
            done % max(total // 4, 1) or print(f"{part}: {done} of {total}", file=sys.stderr, flush=True)
        )

    made(recipe, tell("training"))
    write(study(recipe, Size(), tell("study")), options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
