"""Listed solvers that studies leave out, and why."""

from __future__ import annotations

ONE_GRID = (
    "its step is 1/N whatever the grid and its tables hold N entries, so that it runs on its own grid alone, "
    "where the gap at the end leaves an error of the size of eps"
)
UNMEASURED: dict[str, str] = {
    f"score-sde-{v}-released": ONE_GRID for v in ("em", "reverse-diffusion", "ancestral")
}
"""By name, why no order is measured."""
