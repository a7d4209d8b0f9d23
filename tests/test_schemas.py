"""The published JSON Schemas of plans, tableaux and pins are those of the readers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.orders.expansion import FORMS
from semilinear.analysis.text import tableau_file
from semilinear.analysis.text.tableau_entries import MAX_PARAMETERS
from semilinear.analysis.text.tableau_file import Document, parse_tableau, tableau_data
from semilinear.integrators.diffusion.prediction import PREDICTIONS
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.numerics.arithmetic import MAX_DIGITS
from semilinear.integrators.plans import files as plan_files
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import STARTS, Plan, PlanStep
from semilinear.integrators.solver import FINALS, Solver
from semilinear.integrators.solvers import dpm_solver, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import MAX_STAGES
from semilinear.verification.plugin import pins
from semilinear.verification.plugin.pins import Pin, PinError
from semilinear.verification.tracing.trace import of_plan

from tests import test_plan, test_tableau_file
from tests.test_form import affine_solver
from tests.test_tableau_file import KROGSTAD, MULTISTEP, SMALL

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@cache
def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def valid(name: str, data: Any) -> bool:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    return bool(validator(schema(name)).is_valid(data))


@pytest.mark.parametrize("name", ["pin", "plan", "tableau"])
def test_a_schema_is_one(name: str) -> None:
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(schema(name))


def test_a_schema_allows_what_the_reader_allows() -> None:
    plan, step = schema("plan")["properties"], schema("plan")["$defs"]["step"]["properties"]
    assert plan.keys() == plan_files.to_json(made()[0]).keys()
    assert step.keys() == {field.name for field in dataclasses.fields(PlanStep)}
    assert plan["schema"]["const"] == plan_files.SCHEMA
    for name, allowed in (("prediction", PREDICTIONS), ("start", STARTS), ("final", FINALS)):
        assert plan[name]["enum"] == list(allowed)
    assert plan["digits"]["maximum"] == MAX_DIGITS
    tableau = schema("tableau")["$defs"]["tableau"]
    keys = tableau["properties"]
    other = {"b_low", "b_low_past"}
    assert keys.keys() == {*tableau_file.REQUIRED, *tableau_file.OPTIONAL, *other}
    assert tableau["required"] == list(tableau_file.REQUIRED)
    assert schema("tableau")["$defs"]["form"]["enum"] == list(FORMS)
    assert keys["steps"]["enum"] == list(tableau_file.STEPS)
    assert keys["c"]["maxItems"] == schema("tableau")["$defs"]["rows"]["maxItems"] == MAX_STAGES
    assert keys["past"]["maximum"] == MAX_STAGES - 1
    assert keys["parameters"]["maxItems"] == MAX_PARAMETERS
    assert keys["claimed"]["maximum"] == tableau_file.MAX_CLAIM


@cache
def made() -> list[Plan]:
    """Plans with every kind of content: noise, arrays, constants, digits, a second row, an end without a
    time.
    """
    span: dict[str, Any] = {"steps": 5, "t_start": 0.9, "t_end": 0.1}
    variants: list[tuple[Solver, dict[str, Any]]] = [
        *((make(name), {}) for name in ("ddim", "sde-dpm-solver++-2m", "unipc-2-bh2", "sa-solver-3-4")),
        *((make("dpm-solver++-3m-corrected"), {"start": start}) for start in STARTS),
        (make("ddim"), {"digits": 30}),
        (make("ddim"), {"prediction": "v", "denoise": True}),
        (dpm_solver.singlestep(3, low=True), {}),
        (affine_solver(np.array([0.25, -0.5])), {}),
    ]
    return [compile_plan(solver, vp_linear(), **span, **options) for solver, options in variants]


def test_plans_are_valid() -> None:
    steps = [step for plan in made() for step in plan.steps]
    assert any(step.arrays for step in steps)
    assert any(step.t1 is None for step in steps)
    for plan in made():
        data = json.loads(json.dumps(plan_files.to_json(plan)))
        assert plan_files.from_json(data) == plan
        assert valid("plan", data), plan.solver


def accepted_tableaux() -> Iterator[Any]:
    """Tables as papers have them, as they are written, and as `derive` gives them."""
    yield from (tableau_data(Document(CATALOGUE[name].tableau, CATALOGUE[name].linearised)) for name in SMALL)
    yield tableau_data(Document(MULTISTEP, name="m", source="s", claimed=2, equal_steps=True))
    yield from (
        KROGSTAD,
        [KROGSTAD],
        KROGSTAD | {"a": [[*row, *[0] * (4 - len(row))] for row in KROGSTAD["a"]]},
    )
    adams = {"c": [0], "a": [[]], "b": ["3/2"], "b_past": ["-1/2"], "form": "rho", "rounding": "5e-19"}
    yield adams | {
        "zero": [],
        "nonzero": ["x"],
        "parameters": ["x"],
        "claimed": None,
        "a_past": [[]],
        "past": 1,
    }
    plain: dict[str, Any] = {"c": [0, 1], "a": [[], [1]], "b": ["1/2", "1/2"]}
    result = {"order": 2, "form": "rho", "tableau": plain, "pair": None}
    yield from (result, [result], result | {"tableau": {}, "pair": plain | {"b_low": [1, 0]}})


def test_tableaux_are_valid() -> None:
    for data in accepted_tableaux():
        parse_tableau(json.dumps(data))
        assert valid("tableau", data), data


def refused(test: Any, name: str, data_of: Callable[[Any], Any]) -> set[str]:
    """How the reader refuses what the schema refuses, of another test's parameters."""
    (mark,) = test.pytestmark
    return {message for case, message in mark.args[1] if not valid(name, data_of(case))}


def test_of_a_plan_wrong_types_and_missing_fields_are_refused() -> None:
    plan = json.dumps(plan_files.to_json(test_plan.plan()))

    def damaged(change: Any) -> Any:
        data = json.loads(plan)
        change(data)
        return data

    assert refused(test_plan.test_damaged_files_are_refused_by_place, "plan", damaged) >= {
        "schema must be",
        "prediction must be",
        "steps must be a non-empty list",
        "digits",
        "digits must be an integer",
        "schedule must hold kind",
        r"steps\[0\] must hold operations",
        "a state that the step makes",
        "must be \\[kind",
        "must be a number",
        r"inputs\[0\] must be one number",
        "does not exist yet",
        "must not be empty",
        "noise must be a list",
    }
    for wrong in (
        lambda d: d.update(inputs=["0.9"]),  # decimals are for plans with digits
        lambda d: d["steps"][0]["operations"][0].update(row=3),
        lambda d: d.update(increments=[[0.1]]),
        lambda d: d.update(solver=None),
        lambda d: d.pop("form"),
    ):
        data = damaged(wrong)
        assert not valid("plan", data)
        with pytest.raises(plan_files.PlanError):
            plan_files.from_json(data)


def test_of_a_tableau_wrong_types_and_missing_fields_are_refused() -> None:
    def parsed(text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # no JSON, and no tableau either

    by_place = test_tableau_file.test_files_that_are_no_tableau_are_refused_by_place
    assert refused(by_place, "tableau", parsed) >= {
        r"must be an object with c, a, b, or a list of one such object, got a list of 2",
        "unknown key 'd'; the keys are c, a, b, low",
        "b is missing",
        "linearised must be true or false, got '1'",
        "name must be a text",
        "c must be a list",
        "c must hold 1 to 64 abscissae, got 0",
        "c must hold 1 to 64 abscissae, got 65",
        r"a\[1\] must be a list",
        r'a\[2\]\[1\]: 0.5 is a float; write a text, "1/3" or "0.25"',
        r"a\[2\]\[1\]: expected a text .* got None",
        r"a\[2\]\[1\]: expected a text .* got True",
        "NaN is no number",
    }
    by_key = test_tableau_file.test_what_a_proof_cannot_hold_is_refused_by_its_key
    assert refused(by_key, "tableau", lambda changes: KROGSTAD | changes) >= {
        "^V: .*general linear methods",
        "zero: conditions between parameters cannot be held",
        "form must be one of lambda, rho, t, got 'x'",
        "has form lambda, got form rho",
        "steps must be one of any, equal",
        "claimed must be a whole number from 1 to 64",
        "parameters must be names, got 'x-y'",
        "past must be a whole number from 0 to 63, got -1",
        "b_low and low are one row, got both",
        "rounding must be a number such as",
    }


def pinned(name: str = "sde-dpm-solver++-2m") -> Any:
    """The data of a pin."""
    plan = compile_plan(make(name), vp_linear(), steps=3, t_start=0.9, t_end=0.1)
    return json.loads(Pin.of(of_plan(plan, vp_linear()), name, "test_a.py::test_b").text)


@pytest.mark.parametrize("name", ["ddim", "sde-dpm-solver++-2m"])
def test_pins_are_valid(name: str, tmp_path: Path) -> None:
    data = pinned(name)
    assert data["schema"] == schema("pin")["properties"]["schema"]["const"] == pins.SCHEMA
    assert schema("pin")["properties"].keys() == data.keys() == set(schema("pin")["required"])
    assert valid("pin", data)
    assert valid("pin", data | {"increments": [[]] * len(data["increments"])})  # of draws that say no times


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema="semilinear-pin/2"),
        lambda d: d.update(prediction=3),
        lambda d: d.update(rows=7),
        lambda d: d["rows"][0].__setitem__(0, "1"),
        lambda d: d["rows"].__setitem__(0, 1.0),
        lambda d: d["increments"].__setitem__(0, None),
        lambda d: d.pop("grid"),
        lambda d: d.update(note=""),
    ],
)
def test_of_a_pin_wrong_types_and_missing_fields_are_refused(change: Any, tmp_path: Path) -> None:
    data = pinned()
    change(data)
    assert not valid("pin", data)
    path = tmp_path / "pin.json"
    path.write_text(json.dumps(data))
    with pytest.raises(PinError):
        pins.read(path)
