"""The study of the learned digits as a report: Markdown, JSON and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semilinear.integrators.common.files import write_atomically, write_json

from ..reporting.learned import markdown, sheets_plot, work_plot


def write(out: Path, data: dict[str, Any]) -> list[Path]:
    """learned.json, learned.md, learned-work.png and learned-digits.png into a folder; returns the paths."""
    sheets = [*data["sheets"], *data["guided"], *data["filled"]]
    made: dict[str, str | bytes] = {
        "learned.md": markdown(data),
        "learned-work.png": work_plot(data),
        "learned-digits.png": sheets_plot(sheets),
    }
    write_json(out / "learned.json", data, compact=True)
    for name, content in made.items():
        write_atomically(out / name, content)
    return [out / name for name in made]
