"""docs/architecture.md says what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solvers import make

from tests.test_imports import FLOORS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:integrators|analysis|verification)/[\w/.]*)`", TEXT)))
)
def test_every_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("layer", FLOORS)
def test_the_floors_are_those_that_imports_keep(layer: str) -> None:
    drawn = TEXT.split("## Floors")[1].split("## ")[0]
    block = re.search(rf"^    {layer} .*?(?=\n\n)", drawn, re.DOTALL | re.MULTILINE)
    assert block is not None
    lines = [line.removeprefix(f"    {layer}").split() for line in block.group().splitlines()]
    assert [sorted(rooms) for rooms in reversed(lines)] == [sorted(rooms) for rooms in FLOORS[layer]]


def test_the_row_is_the_one_that_is_compiled() -> None:
    solver, schedule = make("dpm-solver++-2m"), vp_linear()
    plan = compile_plan(solver, schedule, steps=4, t_start=0.8, t_end=0.1, prediction="eps")
    row = plan.steps[1].operations[-1]
    assert isinstance(row, Row)
    names = {"x": "x", "m": "eps"}
    shown = " ".join(
        f"{'-' if value < 0 else '+'} {abs(value):.4f} {names[kind]}_{state}"
        for kind, state, value in row.terms
    )
    assert f"x_2 = {shown.removeprefix('+ ')}" in TEXT
    assert ", ".join(f"{t:.4f}".rstrip("0") for t in plan.times) in TEXT


def test_the_numbers_on_the_way_are_those_of_the_step() -> None:
    solver, schedule = make("dpm-solver++-2m"), vp_linear()
    plan = compile_plan(solver, schedule, steps=4, t_start=0.8, t_end=0.1, prediction="eps")
    form = solver.form(schedule)
    step = form.step(plan.times[1], plan.times[2], 1)
    for value in (form.tau(plan.times[1]), form.tau(plan.times[2]), step.h, step.z, step.phi(1, 1.0)):
        assert f"{value:.4f}" in TEXT
    for value in (step.linear(1.0), step.weight(1.0), 1.5 * step.phi(1, 1.0), -0.5 * step.phi(1, 1.0)):
        assert f"{value:.4f}" in TEXT
