"""Plans as JSON: saved and loaded exactly, compared.

Numbers are written as `program.writer` says.  Loading parses data only; a file that is not a plan is refused
with the place and the reason.
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common import checks
from ..common.files import read_json, write_atomically
from ..common.messages import shown
from ..diffusion.grids import Times
from ..diffusion.prediction import PREDICTIONS
from ..numerics.arithmetic import MAX_DIGITS, Value, choose
from ..solver import FINALS
from .program import STARTS, Evaluation, Interval, Plan, PlanStep, Row, writer

SCHEMA = "semilinear-plan/1"
FIELDS = "schema solver form schedule start final prediction digits inputs steps increments"


class PlanError(ValueError):
    """A file that does not hold a plan."""


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON data."""
    write = writer(plan.digits)
    return {
        "schema": SCHEMA,
        "solver": plan.solver,
        "form": plan.form,
        "schedule": {"kind": plan.schedule[0], "parameters": dict(plan.schedule[1])},
        "start": plan.start,
        "final": plan.final,
        **plan.numbers,
        "increments": [None if pair is None else [write(t) for t in pair] for pair in plan.increments],
    }


def save(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write the plan to a file, replacing it atomically.  Raises TypeError for what is no plan."""
    checks.instance("plan", plan, Plan)
    write_atomically(path, json.dumps(to_json(plan), allow_nan=False) + "\n")


def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan.  Raises PlanError (a ValueError) if the file does not hold one, OSError if it cannot be
    read.
    """
    return read_json(path, PlanError, from_json)


def from_json(data: Any) -> Plan:
    """A plan from JSON data.  Raises PlanError, naming the field, for anything else."""
    _expect(isinstance(data, dict) and data.get("schema") == SCHEMA, f"schema must be {SCHEMA!r}")
    _only(data, FIELDS, "a plan")
    digits = data.get("digits", 0)
    if digits is not None:
        checks.integer("digits", digits, 1, MAX_DIGITS, PlanError)
    read = _reader(digits)
    schedule = data.get("schedule")
    _expect(
        isinstance(schedule, dict)
        and isinstance(schedule.get("kind"), str)
        and isinstance(schedule.get("parameters"), dict),
        "schedule must hold kind and parameters",
    )
    for name, allowed in (("prediction", PREDICTIONS), ("start", STARTS), ("final", FINALS)):
        checks.one_of(name, data.get(name), allowed, PlanError)
    for name in ("solver", "form"):
        _expect(isinstance(data.get(name), str) and data[name] != "", f"{name} must be a string with text")
    for name in ("inputs", "steps"):
        _expect(isinstance(data.get(name), list) and len(data[name]) > 0, f"{name} must be a non-empty list")
    inputs = tuple(_time(read, t, f"inputs[{i}]") for i, t in enumerate(data["inputs"]))
    known: set[tuple[str, int]] = {("x", i) for i in range(len(inputs))}
    steps = tuple(_read_step(s, f"steps[{i}]", read, known) for i, s in enumerate(data["steps"]))
    _check_chain(inputs, steps)
    return Plan(
        solver=data["solver"],
        form=data["form"],
        schedule=(schedule["kind"], tuple((k, _tuples(v)) for k, v in schedule["parameters"].items())),
        prediction=data["prediction"],
        start=data["start"],
        final=data["final"],
        digits=digits,
        inputs=inputs,
        steps=steps,
        increments=_read_increments(data.get("increments", []), read, steps),
    )


@dataclass(frozen=True)
class Difference:
    """How far apart two plans are: the largest relative difference of two numbers, and where.

    value is infinite when the plans do not do the same operations.
    """

    value: float
    where: str


def difference(a: Plan, b: Plan) -> Difference:
    """Compare two plans number by number: times, coefficients and noise weights.

    Coefficients of one row are compared relative to the largest of the row, so that a coefficient that is
    zero up to rounding in one plan and absent in the other counts as equal.
    """
    if (a.prediction, len(a.inputs), len(a.steps)) != (b.prediction, len(b.inputs), len(b.steps)):
        return Difference(float("inf"), "prediction, number of inputs or number of steps")
    worst = Difference(0.0, "")
    for i, (s, t) in enumerate(zip(a.steps, b.steps, strict=True)):
        where = f"steps[{i}]"
        if (s.t1 is None) != (t.t1 is None) or len(s.operations) != len(t.operations):
            return Difference(float("inf"), where)
        pairs = [(s.t0, t.t0, f"{where}.t0")] + ([(s.t1, t.t1, f"{where}.t1")] if s.t1 is not None else [])
        for j, (p, q) in enumerate(zip(s.operations, t.operations, strict=True)):
            place = f"{where}.operations[{j}]"
            if type(p) is not type(q) or p.state != q.state:
                return Difference(float("inf"), place)
            if isinstance(p, Evaluation) and isinstance(q, Evaluation):
                pairs.append((p.t, q.t, f"{place}.t"))
            elif isinstance(p, Row) and isinstance(q, Row):
                worst = max(worst, Difference(_row_difference(p, q), place), key=lambda d: d.value)
        for x, y, place in pairs:
            scale = max(abs(float(x)), abs(float(y)), 1e-300)
            worst = max(worst, Difference(float(abs(x - y)) / scale, place), key=lambda d: d.value)
    return worst


def _row_difference(p: Row, q: Row) -> float:
    first, second = (
        {(k, i): v for k, i, v in row.terms} | {("noise", i): v for i, v in row.noise} for row in (p, q)
    )
    for numbers, row in ((first, p), (second, q)):
        if row.constant is not None:
            numbers["constant", 0] = row.constant
    size = max(float(np.max(abs(v))) for v in [*first.values(), *second.values(), 1e-300])
    return max(
        (
            float(np.max(abs(first.get(key, 0.0) - second.get(key, 0.0)))) / size
            for key in first.keys() | second.keys()
        ),
        default=0.0,
    )


# --- reading ---


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise PlanError(message)


def _only(data: dict[str, Any], fields: str, where: str) -> None:
    """Refuse fields that nobody reads: a misspelt one would be as if it were not there."""
    allowed = fields.split()
    unknown = next((key for key in data if key not in allowed), None)
    _expect(unknown is None, f"{where} must hold {', '.join(allowed)} alone, got {shown(unknown)}")


def _is_index(value: Any) -> bool:
    return type(value) is int


def _time(read: Any, value: Any, where: str) -> Value:
    _expect(not isinstance(value, list), f"{where} must be one number, got {shown(value)}")
    return read(value, where)


def _check_chain(inputs: Times, steps: tuple[PlanStep, ...]) -> None:
    """Steps follow one another, and all in one direction but those that do nothing but add noise."""
    _expect(inputs[-1] == steps[0].t0, "steps[0].t0 must be the last of inputs")
    for i, (a, b) in enumerate(itertools.pairwise(steps), 1):
        _expect(a.t1 is not None, f"steps[{i - 1}].t1 may be null in the last step only")
        _expect(a.t1 == b.t0, f"steps[{i}].t0 must be steps[{i - 1}].t1 = {a.t1}, got {b.t0}")
    ways = {b < a for a, b in itertools.pairwise(inputs)}
    for i, step in enumerate(steps):
        if step.t1 is not None:
            _expect(step.t0 != step.t1, f"times must be strictly monotone, got steps[{i}] at t = {step.t0}")
            ways |= set() if step.adds_noise_alone else {step.t1 < step.t0}
    _expect(len(ways) < 2, "times must be strictly monotone but in steps that do nothing but add noise")


def _reader(digits: int | None) -> Any:
    number = choose(digits).number

    def read(value: Any, where: str) -> Value:
        if isinstance(value, list):
            try:
                array = np.array([read(v, where) for v in value])
            except ValueError as error:
                raise error if isinstance(error, PlanError) else PlanError(f"{where}: {error}") from error
            _expect(array.size > 0, f"{where} must not be empty")
            array.flags.writeable = False
            return array
        _expect(
            isinstance(value, str) if digits is not None else checks.is_number(value),
            f"{where} must be a {'decimal string' if digits is not None else 'number'}, got {shown(value)}",
        )
        try:
            result = number(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise PlanError(f"{where} must be a number, got {shown(value)}") from error
        _expect(bool(abs(result) < float("inf")), f"{where} must be finite, got {shown(value)}")
        return result

    return read


def _read_step(data: Any, where: str, read: Any, known: set[tuple[str, int]]) -> PlanStep:
    _expect(
        isinstance(data, dict) and isinstance(data.get("operations"), list), f"{where} must hold operations"
    )
    _only(data, "t0 t1 operations output low", where)
    operations = tuple(
        _read_operation(op, f"{where}.operations[{i}]", read, known)
        for i, op in enumerate(data["operations"])
    )
    for name in ("output", "low"):
        if name == "output" or name in data:
            made = [op.state for op in operations if isinstance(op, Row)]
            _expect(
                _is_index(data.get(name)) and data[name] in made,
                f"{where}.{name} must be a state that the step makes, got {shown(data.get(name))}",
            )
    t1 = data.get("t1")
    return PlanStep(
        _time(read, data.get("t0"), f"{where}.t0"),
        None if t1 is None else _time(read, t1, f"{where}.t1"),
        operations,
        data["output"],
        data.get("low"),
    )


def _read_increments(data: Any, read: Any, steps: tuple[PlanStep, ...]) -> tuple[Interval | None, ...]:
    _expect(isinstance(data, list), f"increments must be a list, got {shown(data)}")
    increments: list[Interval | None] = []
    for i, pair in enumerate(data):
        where = f"increments[{i}]"
        _expect(
            pair is None or (isinstance(pair, list) and len(pair) == 2),
            f"{where} must be null or two times, got {shown(pair)}",
        )
        increments.append(
            None if pair is None else (_time(read, pair[0], where), _time(read, pair[1], where))
        )
    used = [i for s in steps for op in s.operations if isinstance(op, Row) for i, _ in op.noise]
    _expect(
        not increments or max(used, default=-1) < len(increments),
        f"increments must hold {max(used, default=-1) + 1} entries or none, got {len(increments)}",
    )
    return tuple(increments)


def _read_operation(data: Any, where: str, read: Any, known: set[tuple[str, int]]) -> Evaluation | Row:
    _expect(
        isinstance(data, dict) and ("evaluate" in data) != ("row" in data),
        f"{where} must be a row or an evaluation",
    )
    _only(data, "evaluate t" if "evaluate" in data else "row terms noise constant", where)
    if "evaluate" in data:
        state = data["evaluate"]
        _expect(
            _is_index(state) and ("x", state) in known,
            f"{where} evaluates state {state!r}, which does not exist yet",
        )
        known.add(("m", state))
        return Evaluation(state, _time(read, data.get("t"), f"{where}.t"))
    state, terms = data["row"], data.get("terms")
    _expect(
        _is_index(state),
        f"{where}.row must be an integer, got {shown(state)}",
    )
    _expect(isinstance(terms, list) and len(terms) > 0, f"{where}.terms must be a non-empty list")
    _expect(("x", state) not in known, f"{where} makes state {state} a second time")
    read_terms: list[tuple[Any, int, Value]] = []
    for j, term in enumerate(terms):
        _expect(
            isinstance(term, list) and len(term) == 3,
            f"{where}.terms[{j}] must be [kind, state, coefficient]",
        )
        _expect(
            isinstance(term[0], str) and _is_index(term[1]) and (term[0], term[1]) in known,
            f"{where}.terms[{j}] uses {term[:2]!r}, which does not exist yet",
        )
        _expect(
            all((kind, i) != (term[0], term[1]) for kind, i, _ in read_terms),
            f"{where}.terms[{j}] repeats {term[:2]!r}",
        )
        read_terms.append((term[0], term[1], read(term[2], f"{where}.terms[{j}]")))
    noise = data.get("noise", [])
    _expect(
        isinstance(noise, list)
        and all(isinstance(n, list) and len(n) == 2 and _is_index(n[0]) and n[0] >= 0 for n in noise),
        f"{where}.noise must be a list of [index, weight]",
    )
    known.add(("x", state))
    return Row(
        state,
        tuple(read_terms),
        tuple((i, read(v, f"{where}.noise")) for i, v in noise),
        read(data["constant"], f"{where}.constant") if "constant" in data else None,
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
