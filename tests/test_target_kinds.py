"""The same targets for every command: each runs, or is refused in one sentence with what is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import semilinear as sl
from semilinear.integrators.common.kinds import ALL, FORMULAS, STEPPING, spelled
from semilinear.integrators.plans import files
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.verification.audit.audit import audit
from semilinear.verification.commands.cli import main
from semilinear.verification.distribution.experiment import SampledExperiment
from semilinear.verification.distribution.study import in_distribution
from semilinear.verification.equal_nfe.experiment import NoiseToData
from semilinear.verification.equal_nfe.single import draw
from semilinear.verification.targets.named import Target, target

FUNCTIONS = """
import semilinear as sl
from semilinear.integrators.tableaux.catalogue import CATALOGUE


def euler(run, scale=1):
    x, s = run.x, run.schedule
    for t0, t1 in zip(run.times, run.times[1:]):
        growth = s.alpha(t1) / s.alpha(t0)
        x = x * growth + scale * s.alpha(t1) * (s.rho(t1) - s.rho(t0)) * run.model(x, t0)
    return x


def plain(model, x, times):
    return x + (times[1] - times[0]) * model(x, times[0])


def solver(name="dpm-solver++-2m"):
    return sl.make(name)


def tableau():
    return CATALOGUE["etdrk2"].tableau


def plan():
    return sl.compile_plan(sl.make("ddim"), sl.schedules.vp_linear(), steps=2, t_start=1.0, t_end=1e-3)


def sampler():
    return euler


def needs(order):
    return sl.make("ddim")
"""
TABLE = {"c": ["0", "1"], "a": [[], ["1"]], "b": ["1/2", "1/2"], "form": "rho", "claimed": 2}

TARGETS: dict[str, str] = {
    "ddim": "solver",
    "dpm-solver++-3m-corrected": "solver",
    "{}/my.py:solver": "solver",
    "{}/my.py:solver:name=ddim": "solver",
    "exprk6s15": "tableau",
    "{}/table.json": "tableau",
    "{}/my.py:tableau": "tableau",
    "{}/plan.json": "plan",
    "{}/my.py:plan": "plan",
    "{}/my.py:euler": "sampler",
    "{}/my.py:euler:scale=1/2": "sampler",
    "{}/my.py:sampler": "sampler",
    "process:true": "sampler",
    "torchdiffeq:rk4": "sampler",
}
SMALL = ["--problem", "gaussian"]
COMMANDS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "order": (STEPPING, ["--max-steps", "16"]),
    "prove": (FORMULAS, ["--order", "1"]),
    "stability": (FORMULAS, ["--z", "0"]),
    "derive": (FORMULAS, ["--order", "1"]),
    "distance": (ALL, [*SMALL, "--nfe", "4", "--samples", "100"]),
    "sample": (STEPPING, [*SMALL, "--steps", "2", "--batch", "2"]),
    "audit": (ALL, ["--only", "ends"]),
    "same": (ALL, ["--steps", "2"]),
    "work-precision": (ALL, [*SMALL, "--nfe", "8", "--batch", "4"]),
}
"""What each takes, and options under which it ends soon."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("kinds")
    (path / "my.py").write_text(FUNCTIONS)
    (path / "table.json").write_text(json.dumps(TABLE))
    plan = sl.compile_plan(make("ddim"), sl.schedules.vp_linear(), steps=2, t_start=1.0, t_end=1e-3)
    files.save(plan, path / "plan.json")
    return path


def ran(capsys: Any, command: str, text: str) -> tuple[int, dict[str, Any]]:
    about = {"derive": ["--embedded", text], "same": [text, "ddim"]}.get(command, [text])
    code = main([command, *about, *COMMANDS[command][1], "--json"])
    out, err = capsys.readouterr()
    found: dict[str, Any] = json.loads(out if code < 2 else err.splitlines()[-1])
    return code, found


def refusals() -> list[Any]:
    return [
        pytest.param(command, text, kind, id=f"{command} {text}")
        for command, (takes, _) in COMMANDS.items()
        for text, kind in TARGETS.items()
        if kind not in takes
    ]


@pytest.mark.parametrize(("command", "text", "kind"), refusals())
def test_a_kind_that_is_not_taken_is_refused(
    capsys: Any, folder: Path, command: str, text: str, kind: str
) -> None:
    written = text.format(folder)
    code, found = ran(capsys, command, written)
    takes = COMMANDS[command][0]
    allowed = [f"a {k}" for k in ALL if k in takes]
    listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    assert code == 2
    assert found["error"].startswith(
        f"target must be {listed}, got a {kind}: {written.partition(':scale')[0]}"
    )


RUN = [
    ("order", "{}/my.py:solver:name=ddim"),
    ("order", "{}/my.py:tableau"),
    ("order", "{}/table.json"),
    ("prove", "{}/my.py:solver:name=ddim"),
    ("prove", "{}/my.py:tableau"),
    ("stability", "{}/my.py:solver:name=ddim"),
    ("derive", "{}/my.py:tableau"),
    ("distance", "{}/my.py:solver"),
    ("distance", "{}/table.json"),
    ("sample", "{}/my.py:solver:name=ddim"),
    ("sample", "{}/table.json"),
    ("sample", "{}/my.py:euler"),
    ("audit", "{}/my.py:euler"),
    ("same", "{}/my.py:solver"),
    ("same", "{}/table.json"),
    ("same", "{}/my.py:euler:scale=1/2"),
    ("work-precision", "{}/my.py:solver"),
    ("work-precision", "{}/my.py:plan"),
    ("work-precision", "{}/my.py:sampler"),
]
"""Of every command and every kind that it takes something that stands in a file."""


@pytest.mark.parametrize(("command", "text"), RUN)
def test_a_kind_that_is_taken_runs(capsys: Any, folder: Path, command: str, text: str) -> None:
    code, found = ran(capsys, command, text.format(folder))
    assert code in (0, 1), found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_package_that_is_not_there_is_told(
    capsys: Any, folder: Path, monkeypatch: Any, command: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, found = ran(capsys, command, "smalldiffusion:samples")
    assert code == 2
    taken = "sampler" in COMMANDS[command][0]
    assert ("smalldiffusion is not installed" if taken else "got a sampler: smalldiffusion:samples") in str(
        found
    )


@pytest.mark.parametrize(("text", "kind"), TARGETS.items())
def test_a_target_has_its_kind(folder: Path, text: str, kind: str) -> None:
    if text == "torchdiffeq:rk4":
        pytest.importorskip("torchdiffeq")
    found = target(text.format(folder))
    assert found.kind == kind
    assert (found.made is None) == (kind == "sampler")


def test_what_runs_is_a_target_as_it_is(folder: Path) -> None:
    plan, solver = files.load(folder / "plan.json"), make("ddim")
    values: list[tuple[Any, str]] = [
        (solver, "solver"),
        (plan, "plan"),
        (len, "sampler"),
        (lambda: solver, "solver"),
    ]
    assert [target(given).kind for given, _ in values] == [kind for _, kind in values]
    again = target(solver)
    assert target(again) is again
    assert target(lambda *states: None).kind == "sampler"
    for given in (3, None, CATALOGUE["etdrk2"].tableau):
        with pytest.raises(
            TypeError, match=r"^target must be a name, a Solver, a Plan or a function of a run, got"
        ):
            target(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}/my.py:needs", r"got a sampler: {}/my.py:needs\(order\)"),
        ("{}/my.py:plain", r"must need one argument, a run, or none, got {}/my.py:plain\(model, x, times\)"),
        ("{}/my.py:solver:nme=ddim", "does not take nme; its parameters are: name="),
        ("{}/my.py:solver:name", "a setting must be KEY=VALUE, got 'name'"),
    ],
)
def test_a_function_that_stands_for_nothing_here(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("{}", str(folder))):
        target(text.format(folder), takes=FORMULAS)
    with pytest.raises(ValueError, match=message.replace("{}", str(folder))):
        sl.prove(text.format(folder))


def test_studies_take_what_their_commands_take(folder: Path) -> None:
    """The same solver by name, from a file, and as it is: the same numbers."""
    path = f"{folder}/my.py"
    where, gaussian = NoiseToData(sl.problem("gaussian"), batch=4), SampledExperiment(sl.problem("gaussian"))
    three: list[Any] = [f"{path}:solver", make("dpm-solver++-2m"), "dpm-solver++-2m"]
    assert len({draw(one, where, steps=3).error for one in three}) == 1
    assert len({str(audit(one).target.claimed) for one in three}) == 1
    assert draw(f"{path}:euler", where, steps=3).error == pytest.approx(
        draw("ddim", where, steps=3).error,
        rel=1e-10,  # rounding of three steps
    )
    assert in_distribution(str(folder / "plan.json"), gaussian, nfe=[2]).rows[0].made == 2
    with pytest.raises(ValueError, match=r"^target must be a solver, a tableau or a sampler, got a plan: "):
        draw(str(folder / "plan.json"), where, steps=2)
    with pytest.raises(ValueError, match=r"^target must be a solver or a sampler, got a tableau: "):
        sl.measure(str(folder / "table.json"))


def test_what_draws_noise_has_no_error() -> None:
    def noisy(run: Any) -> Any:
        return run.x + run.noise(run.x)

    where = NoiseToData(sl.problem("gaussian"), batch=4)
    assert draw(noisy, where, steps=2).error is None
    assert (draw(noisy, where, steps=2).states == draw(noisy, where, steps=2).states).all()


def test_help_says_what_is_taken(capsys: Any) -> None:
    for command, (takes, _) in COMMANDS.items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert spelled(takes) in " ".join(capsys.readouterr().out.replace("-\n", "-").split())  # type: ignore[arg-type]


def test_a_sampler_of_a_name_travels_by_its_name() -> None:
    found = target("process:true")
    function, arguments = found.__reduce_ex__(2)
    again: Target = function(*arguments)
    assert (again.name, again.kind) == (found.name, "sampler")
