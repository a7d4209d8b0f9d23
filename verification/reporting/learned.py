"""The study of a learned score as a report: Markdown, and pictures of errors and of digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .estimates import interval
from .plots import render

Data = Mapping[str, Any]


def markdown(data: Data) -> str:
    """The report."""
    recipe, size = data["recipe"], data["size"]
    lines = [
        "# A learned score: discretisation error and model error",
        "",
        f"A network of {recipe['blocks']} blocks of width {recipe['width']}, EDM-preconditioned, trained for",
        f"{recipe['steps']} steps on scikit-learn's digits but for {recipe['held_out']} that are held out",
        f"(`semilinear train`; recipe {data['digest']}). Its flow is integrated in float64: what solvers lose of",
        "it is discretisation error, what is left is the model's.",
        "",
        "Written by `semilinear report learned`.",
        "",
        "## Orders on the network's flow",
        "",
        f"Over the interval of all studies, {size['batch']} initial states, uniform in lambda, up to "
        f"{size['finest']} steps;",
        "each judged against what is proved of the method as it is run.",
        "",
        "| solver | its source claims | proved | measured | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in data["orders"]:
        lines.append(
            f"| `{row['solver']}` | {row['source_claims']:g} | {row['claimed']:g} | {interval(row)} | "
            f"{row['verdict']} |"
        )
    lines += ["", *_sampling(data), "", *_likelihood(data), "", *_told(data), ""]
    return "\n".join(lines)


def _sampling(data: Data) -> list[str]:
    n = data["sampling"][0]["energy"]["n"]
    lines = [
        "## Sampling, from noise to data",
        "",
        f"{n} samples from the same draws, VP schedule, uniform in lambda from t = 1 to 0.001. Error: RMS of a",
        "pixel against the converged flow (pixels from -1 to 1). Energy distance to the held-out digits, ± one",
        "standard error; without bias, so 0 on average for digits themselves. A stochastic solver has no path.",
        "A run takes the most steps that need no more evaluations than are asked for: where these are fewer, their",
        "number stands behind; a dash: one step needs more.",
        "",
        *_by_budget(data, "error", lambda row: row["error"] and f"{row['error']:.1e}"),
        "",
        *_by_budget(data, "energy distance", lambda row: _measured(row["energy"], 3)),
        "",
        "| | energy distance |",
        "|---|---|",
        *(f"| {name} | {_measured(found, 3)} |" for name, found in data["floors"].items()),
        "",
    ]
    return [
        *lines,
        "Solvers of the flow converge to the converged flow, whose distance from held-out digits is the model's",
        "error; that of training digits is the sampling floor. Where the score is not exact, a stochastic",
        "solver's limit is another law than the flow's.",
        "",
        "![errors and distances over NFE](learned-work.png)",
        "![digits](learned-digits.png)",
    ]


def _by_budget(data: Data, title: str, told: Callable[[Data], str | None]) -> list[str]:
    """A table of solvers over the evaluations that they may make; solvers of which nothing is told are left
    out.
    """
    budgets = data["size"]["budgets"]
    lines = [f"| {title}, by NFE | {' | '.join(map(str, budgets))} |", "|---" * (len(budgets) + 1) + "|"]
    for name in dict.fromkeys(row["solver"] for row in data["sampling"]):
        rows = {row["budget"]: row for row in data["sampling"] if row["solver"] == name}
        cells = {budget: told(row) for budget, row in rows.items()}
        if not any(cells.values()):
            continue
        fewer = {budget: f" ({row['nfe']})" for budget, row in rows.items() if row["nfe"] < budget}
        said = (f"{cells.get(budget) or '–'}{fewer.get(budget, '')}" for budget in budgets)
        lines.append(f"| `{name}` | {' | '.join(said)} |")
    return lines


def _likelihood(data: Data) -> list[str]:
    lines = [
        "## Likelihood",
        "",
        "Bits per dimension of the 17 levels by uniform dequantisation, an upper bound on average, ± one standard",
        "error over digits; the network's along its flow from t = 0.001, with exact divergence. The kernel",
        "density is that of the training digits, its bandwidth the best of a few for the held-out ones.",
        "",
        "| law | digits | bits/dim | n |",
        "|---|---|---|---|",
    ]
    for row in data["likelihood"]:
        n = row["bits"]["n"] or "–"
        lines.append(f"| {row['law']} | {row['of']} | {_measured(row['bits'], 3)} | {n} |")
    return lines


def _told(data: Data) -> list[str]:
    lines = [
        "## Digits of a given class, and halves filled in",
        "",
        f"{data['size']['steps']} steps. Recognised: the share that a nearest-neighbour rule on the training digits"
        " takes for what",
        f"they should be; of the held-out digits themselves it is {_measured(data['classifier'], 3)}. Guidance 0",
        "tells no class, 1 is the conditional model.",
        "",
        "| classifier-free guidance | recognised |",
        "|---|---|",
    ]
    lines += [f"| {r['scale']:g} | {_measured(r['recognised'], 3)} |" for r in data["conditional"]]
    lines += [
        "",
        "The lower half of held-out digits from the upper one, by replacement (biased: inverse-problems.md) between",
        "the steps of `sde-dpm-solver++-2m`; RMS of a pixel of the lower half. Many halves fit, so a sample is",
        "further from the truth than a mean would be. Digits have one channel: there is nothing to colour.",
        "",
        "| lower half by | RMS | recognised |",
        "|---|---|---|",
    ]
    lines += [f"| {r['by']} | {r['rms']:.3f} | {_measured(r['recognised'], 3)} |" for r in data["inpainting"]]
    return lines


def _measured(found: Mapping[str, Any], places: int) -> str:
    text = f"{found['value']:.{places}f}"
    return text if not found["error"] else f"{text} ± {found['error']:.{places}f}"


# --- pictures ---


def work_plot(data: Data) -> bytes:
    """Discretisation error, and distance from held-out digits, over the number of evaluations; PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    solvers = list(dict.fromkeys(row["solver"] for row in data["sampling"]))
    for i, name in enumerate(solvers):
        rows = [row for row in data["sampling"] if row["solver"] == name]
        nfe = [row["nfe"] for row in rows]
        if rows[0]["error"] is not None:
            left.loglog(nfe, [row["error"] for row in rows], ".-", color=f"C{i}", lw=1.2, label=name)
        value, error = ([row["energy"][key] for row in rows] for key in ("value", "error"))
        right.errorbar(nfe, value, error, fmt=".-", color=f"C{i}", lw=1.2, capsize=2, label=name)
    for (name, floor), style in zip(data["floors"].items(), ("-", ":")):
        right.axhline(floor["value"], color="0.4", ls=style, lw=1, label=name)
    right.set_xscale("log")
    left.set_ylabel("RMS error of a pixel against the converged flow")
    right.set_ylabel("energy distance to held-out digits")
    for axes in (left, right):
        axes.set_xlabel("evaluations")
        axes.grid(alpha=0.3, lw=0.4)
    right.legend(fontsize=7)
    return render(figure, "png")


def sheets_plot(sheets: Sequence[Data], columns: int = 10) -> bytes:
    """Sheets of digits, each a title and images (n, 64) of levels 0 .. 16; PNG."""
    from matplotlib.figure import Figure

    pictures = [sheet(item["images"], columns) for item in sheets]
    rows = sum(len(p) for p in pictures) / 9 + len(pictures)
    figure = Figure(figsize=(0.42 * columns, 0.42 * rows), layout="constrained")
    axes = figure.subplots(len(pictures), 1, squeeze=False, height_ratios=[len(p) for p in pictures])
    for ax, item, picture in zip(axes[:, 0], sheets, pictures, strict=True):
        ax.imshow(picture, cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
        ax.set_title(item["title"], fontsize=8)
        ax.set_axis_off()
    return render(figure, "png")


def sheet(images: Sequence[Sequence[int]], columns: int) -> np.ndarray:
    """Images (n, 64) side by side, `columns` in a row, a white pixel between them."""
    given = np.asarray(images).reshape(-1, 8, 8)
    rows = -(-len(given) // columns)
    padded = np.zeros((rows * columns, 9, 9))
    padded[: len(given), :8, :8] = given
    side: np.ndarray = padded.reshape(rows, columns, 9, 9).transpose(0, 2, 1, 3).reshape(rows * 9, -1)
    return side
