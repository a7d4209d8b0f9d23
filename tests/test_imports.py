"""Imports go one way: integrators <- analysis <- verification <- tests, and downwards within each; private
names stay where they are.
"""

from __future__ import annotations

import ast
from collections import namedtuple
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("integrators", "analysis", "verification")
MODULES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


FLOORS = {
    "integrators": (
        ("common",),
        ("numerics",),
        ("diffusion", "tableaux"),
        ("statistics",),
        ("forms",),
        ("solver",),
        ("plans", "solvers"),
        ("run",),
        ("interop",),
    ),
    "analysis": (
        ("algebra", "extrapolation", "stability"),
        ("convergence", "orders"),
        ("text",),
        ("programs",),
        ("derivation", "lookup"),
    ),
    "verification": (
        ("problems", "reporting", "systems", "targets"),
        ("inverse", "replay", "studies", "tracing"),
        ("equal_nfe",),
        ("distribution",),
        ("audit", "claims", "learned", "predictions", "throughput"),
        ("campaign", "plugin"),
        ("commands", "front-door"),
    ),
}
"""The rooms (folders, and files that stand alone), the lowest floor first: docs/architecture.md."""


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def imported(path: Path) -> set[tuple[str, ...]]:
    """What the module imports of its own layer, also inside of functions, as parts below the layer."""
    layer, *folders, _ = path.relative_to(ROOT).parts
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        targets = []
        if isinstance(node, ast.ImportFrom):
            here = [layer, *folders][: len(folders) + 2 - node.level] if node.level else []
            base = [*here, *(node.module or "").split(".")] if node.module else here
            targets = [[*base, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        for parts in targets:
            own = parts[1:] if parts[0] == "semilinear" else parts
            if len(own) > 1 and own[0] == layer:
                found.add(tuple(own[1:]))
    return found


def imported_rooms(path: Path) -> set[str]:
    """Other rooms of the module's own layer that it imports, also inside of functions."""
    return {room for room, *_ in imported(path)} - {room_of(path)}


def floor_of(layer: str, room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS[layer]) if room in rooms)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_room_has_its_floor(layer: str) -> None:
    rooms = {room_of(path) for path in MODULES if path.relative_to(ROOT).parts[0] == layer}
    assert rooms - {"__init__"} == {room for floor in FLOORS[layer] for room in floor}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    if room_of(path) == "__init__":
        assert not imported_rooms(path)
        return
    own = floor_of(layer, room_of(path))
    assert all(floor_of(layer, room) < own for room in imported_rooms(path))


PRINTED = ("tableaux", "printing")
"""A tableau's str() is made there, of tableaux."""


@pytest.mark.parametrize("layer", LAYERS)
def test_modules_do_not_import_each_other_in_a_circle(layer: str) -> None:
    modules = {
        path.relative_to(ROOT / layer).with_suffix("").parts: path
        for path in MODULES
        if layer in path.relative_to(ROOT).parts[:1]
    }
    below = {
        name: {parts[:n] for parts in imported(path) for n in range(1, len(parts) + 1)}
        & modules.keys() - {name}
        for name, path in modules.items()
    }
    if layer == "integrators":
        below["tableaux", "tableau"].remove(PRINTED)
    assert len(list(TopologicalSorter(below).static_order())) == len(modules)


NAMED = namedtuple("NAMED", ())
"""Whose _replace, _asdict and others are documented."""


def is_private(name: str) -> bool:
    """Not so what Python and the display of notebooks call (__init__, _repr_html_), nor a named tuple's."""
    return name.startswith("_") and not name.endswith("_") and not hasattr(NAMED, name)


def private_names(tree: ast.AST) -> set[str]:
    """What a module binds that is its own: functions, classes, values, attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)}


PRIVATE = frozenset[str]().union(*(private_names(ast.parse(path.read_text())) for path in MODULES))
"""Of every module: an attribute is known by its name alone, whatever it is taken of."""
ATTR = ("getattr", "setattr", "delattr", "hasattr")


def reached(text: str) -> list[str]:
    """The private names of semilinear in a test: those that it imports, takes as an attribute of anything
    but self, or hands to setattr and its like.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None) or ""
            paths = [f"{module}.{alias.name}".strip(".").split(".") for alias in node.names]
            found += [p for parts in paths if parts[0] == "semilinear" for p in parts if is_private(p)]
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            found += [] if own else [node.attr]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if called in ATTR:
                texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
                found += [part for text in texts for part in str(text).split(".") if part in PRIVATE]
    return found


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_test_reaches_a_private_name(path: Path) -> None:
    assert reached(path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from semilinear.integrators.run.sampler import sample, _run", ["_run"]),
        ("from semilinear.integrators._run import sample", ["_run"]),
        ("import semilinear._run", ["_run"]),
        ("def f():\n    return sampler._run(plan)", ["_run"]),
        ("made().sampler._run = 3", ["_run"]),
        ("monkeypatch.setattr(sampler, '_run', run)", ["_run"]),
        ("monkeypatch.setattr('semilinear.integrators.run.sampler._run', run)", ["_run"]),
        ("getattr(sampler, '_run')", ["_run"]),
        ("from torch._subclasses.fake_tensor import FakeTensorMode", []),
        ("self._run(draw._replace(x=x), x._is_view(), x._repr_html_())", []),
        ("from semilinear.integrators import __name__", []),
    ],
)
def test_a_private_name_is_seen_however_it_is_reached(text: str, names: list[str]) -> None:
    """Those of others are not meant."""
    assert reached(text) == names


def imported_layers(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "semilinear" and len(parts) > 1:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_its_layer_and_those_below(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    assert imported_layers(path) <= set(LAYERS[: own + 1])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_loaded_is_executed(path: Path) -> None:
    """No pickle, eval or exec, and no sympify that would take text for a program."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    assert not {n.func.id for n in calls if isinstance(n.func, ast.Name)} & {"eval", "exec", "compile"}
    assert not names & {"pickle", "marshal", "shelve", "dill"}
    mentioned = [n for n in nodes if _is_sympify(n)]
    strict = [n.func for n in calls if {ast.dump(k) for k in n.keywords} & {STRICT}]
    assert all(any(n is called for called in strict) for n in mentioned), "sympify without strict=True"


STRICT = ast.dump(ast.keyword("strict", ast.Constant(True)))


def _is_sympify(node: ast.AST) -> bool:
    """Whether a node is a use of sympify or parse_expr, under sympy's names of them."""
    names = {"sympify", "parse_expr"}
    if isinstance(node, ast.Attribute):
        return node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "sympy"
    return isinstance(node, ast.Name) and node.id in names
