"""`import semilinear as sl`: what stands there, what it loads, and a solver that is in no package."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import semilinear as sl
from semilinear.integrators.common.names import UnknownTableau
from semilinear.verification.commands.cli import main
from sympy import Rational

from tests.roundings import SOME_ULP

PNDM = '''
from semilinear import N, P, Ramp, Solver, Tableau, forms, phi1

def pndm(order: int = 4) -> Solver:
    """Adams-Bashforth weights of equal steps, in rho."""
    rows = (
        N(0),
        (3 * N(0) - P(1)) / 2,
        (23 * N(0) - 16 * P(1) + 5 * P(2)) / 12,
        (55 * N(0) - 59 * P(1) + 37 * P(2) - 9 * P(3)) / 24,
    )
    ramp = Ramp(tuple(Tableau((), phi1 * row) for row in rows[:order]))
    return Solver(
        name="pndm", form=forms.noise_in_rho, sequence=ramp, claimed=order, source="eq. 12", paper="Mine"
    )

def nothing():
    return 3
'''


@pytest.fixture
def pndm(tmp_path: Path) -> str:
    path = tmp_path / "my_solver.py"
    path.write_text(PNDM)
    return f"{path}:pndm"


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded once some code was run in a fresh interpreter."""
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_every_name_is_there_and_has_its_words() -> None:
    for name in dir(sl):
        assert getattr(sl, name) is not None
    undocumented = [name for name in dir(sl) if not getattr(sl, name).__doc__]
    assert undocumented == []


def test_the_rooms_are_there() -> None:
    assert sl.analysis.__name__ == "semilinear.analysis"
    assert loaded("import semilinear as sl; sl.integrators").isdisjoint({"torch", "sympy"})


def test_the_root_has_one_name() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("semilinear.verification.front")


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="nosuch"):
        _ = sl.nosuch  # type: ignore[attr-defined]


def test_the_rooms_have_what_they_are_said_to_give() -> None:
    text = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    rows = re.findall(
        r"^\| `((?:integrators|analysis|verification)\.\w+)`[^|]*\| (.*) \|$", text, re.MULTILINE
    )
    named = [(room, name) for room, told in rows for name in re.findall(r"`(\w+\.\w+)`", told)]
    assert ("integrators.run", "models.classifier_free_network") in named
    for room, name in named:
        module, _, attribute = name.partition(".")
        assert hasattr(importlib.import_module(f"semilinear.{room}.{module}"), attribute)


def test_documents_need_no_inner_path() -> None:
    """A first page that imports from rooms shows what the front door lacks."""
    text = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    inner = [line for block in blocks for line in block.splitlines() if "semilinear." in line]
    assert blocks
    assert inner == []


def test_a_plan_is_saved_and_loaded_by_the_front_door(tmp_path: Path) -> None:
    plan = sl.compile_plan(sl.make("ddim"), sl.schedules.vp_linear(), steps=3, t_start=1.0, t_end=1e-3)
    sl.plans.save(plan, tmp_path / "plan.json")
    found = sl.plans.load(tmp_path / "plan.json")
    assert isinstance(found, sl.Plan)
    assert found.digest == plan.digest


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import semilinear", {"torch", "sympy", "numpy"}),
        ("import semilinear as sl; sl.Plan, sl.plans, sl.CATALOGUE", {"torch"}),
        (
            "import semilinear as sl; sl.make('dpm-solver++-2m'); sl.schedules.vp_linear().lam(0.5)",
            {"torch", "scipy"},
        ),
        (
            "import semilinear as sl; sl.prove('krogstad4').formula(); sl.derive(['c2'], order=2);"
            "sl.estimate_order([4, 8, 16, 32], [1, .25, .0625, .015625])",
            {"torch"},
        ),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(code: str, absent: set[str]) -> None:
    assert not loaded(code) & absent


# --- measuring, by what it is done on ---


def test_a_name_is_measured_on_the_flow() -> None:
    study = sl.measure("dpm-solver++-3m-released")
    assert study.verdict == "lower"
    assert str(study).startswith("dpm-solver++-3m-released: claimed 3, observed order 2.00")
    assert str(study).endswith(": lower")
    assert study.judged(2).verdict == "consistent"


def test_a_stochastic_solver_is_measured_on_gaussian_data_or_where_it_is_said() -> None:
    study = sl.measure("seeds-1", sl.StochasticExperiment(ladder=(16, 24, 32, 48, 64, 96)))
    assert "observed weak order 1.0" in str(study)
    assert "; strong order 1.0" in str(study)
    paths = sl.CoupledExperiment(paths=1024, ladder=(4, 8, 12, 16))
    assert "coupled" not in str(sl.measure("seeds-1", paths, claimed=2))
    assert sl.measure("seeds-1", paths, claimed=2).against(3) != "consistent"


def test_a_function_is_measured_against_the_order_that_is_given() -> None:
    f = sl.schedules.vp_linear().formulas

    def euler(run: Any) -> Any:
        x = run.x
        for t, s in zip(run.times, run.times[1:], strict=False):
            x = x + (s - t) * (f.alpha_dot(t) / f.alpha(t) * x + f.alpha(t) * f.rho_dot(t) * run.model(x, t))
        return x

    assert str(sl.measure(euler, claimed=1)).startswith("euler: claimed 1, observed order 1.00")
    assert sl.measure(euler, claimed=2, name="mine").verdict == "lower"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("nosuch",), {}, UnknownTableau, "expected a listed solver.* or FILE.py:function, got 'nosuch'"),
        ((3,), {}, TypeError, "target must be a name, a Solver, a Plan or a function of a run, got 3"),
        ((len,), {}, ValueError, "claimed must be given for a function"),
        ((len,), {"claimed": 1, "start": "exact"}, ValueError, "start and final are a solver's"),
        (("ddim",), {"name": "x"}, ValueError, "name is for functions"),
        (("ddim", "flow"), {}, TypeError, "experiment must be"),
        (("seeds-1",), {"start": "exact"}, ValueError, "start must be 'own'"),
        ((len, sl.CoupledExperiment()), {"claimed": 1}, TypeError, "experiment of a function must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sl.measure(*arguments, **options)


def test_a_listed_solver_cannot_be_changed() -> None:
    tableau = sl.make("dpm-solver++-2m").sequence.tableaux[-1]
    with pytest.raises(TypeError, match="does not support item assignment"):
        tableau.b[0] = 5  # type: ignore[index]
    assert pickle.loads(pickle.dumps(tableau)) == tableau


def test_a_users_solver_is_judged_by_its_own_equation() -> None:
    """Whose SDE a release approximates is data of the solver, and hangs on no name."""
    mine = dataclasses.replace(sl.make("sde-dpm-solver++-2m"), name="er-sde-1-released")
    assert sl.measure(mine).verdict == "consistent"
    steps = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    for target in ("er-sde-2-released:points=10", "er-sde-2-released:points=10,scale=sde-3"):
        released = sl.measure(target, sl.StochasticExperiment(ladder=steps))
        assert released.verdict == "lower", (target, str(released))
    assert sl.measure("er-sde-2-corrected:scale=sde-3").verdict == "consistent"


# --- proving ---


def test_whatever_has_coefficients_is_proved(tmp_path: Path) -> None:
    assert "as it is run 2" in str(sl.prove("dpm-solver++-3m-corrected"))
    assert "orders: classical 1, scalar 1, stiff 1" in str(sl.prove(sl.adams(1)))
    table = tmp_path / "heun.json"
    table.write_text('{"c": ["0", "1"], "a": [[], ["1"]], "b": ["1/2", "1/2"], "form": "rho"}')
    assert str(sl.prove(str(table))).startswith("orders: classical 2;")
    table.write_text(
        '{"c": ["0", "0.3333333333333333", "0.6666666666666667"], "form": "rho", "b": ["1/4", "0", "3/4"],'
        ' "a": [[], ["0.3333333333333333"], ["0", "0.6666666666666667"]]}'
    )
    assert "within the rounding of the coefficients classical 3" in str(sl.prove(str(table)))
    assert sl.prove("exprb32").linearised  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="target must be a name, a file, a Solver or a Tableau"):
        sl.prove(3)  # type: ignore[arg-type]


def test_a_family_prints_its_tableau_and_where_it_exists() -> None:
    (family,) = sl.derive(["c2"], order=2)
    assert "classical order 2" in str(family)
    assert "c2 must not vanish" in str(family)
    half = sl.derive(["1/2"], order=2)
    assert "phi(2, 1)" in str(half[0])
    with pytest.raises(ValueError, match="abscissa 1 must be"):
        sl.derive(["__import__('os')"], order=2)


def test_an_order_is_estimated_of_any_ladder() -> None:
    n = [4, 6, 8, 12, 16, 24, 32]
    assert sl.estimate_order(n, [float(k) ** -3 for k in n]).order == pytest.approx(3, rel=SOME_ULP, abs=0)


# --- a solver that is in no package ---


def test_a_solver_of_ones_own_is_one_file(pndm: str, capsys: Any) -> None:
    assert main(["order", pndm, "--max-steps", "96", "--batch", "8"]) == 1
    assert "claimed 4, observed order 2.0" in capsys.readouterr().out
    assert main(["prove", pndm]) == 1
    assert "Mine, eq. 12" in capsys.readouterr().out
    assert "as it is run 2" in str(sl.prove(pndm))
    assert sl.measure(pndm).verdict == "lower"


KNOWN = """
from pathlib import Path
from semilinear.integrators.solvers import SOLVERS
from semilinear.verification.campaign import plan
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.commands.cli import main
from semilinear.verification.reporting.orders import drawn
(mine,) = (e for e in EXPECTATIONS if e.solver == "pndm")
print("pndm" in SOLVERS, mine.exact, mine.own, mine.reason)
print(sorted(t.part for t in plan.about(plan.tasks(False), ["pndm"], plan.Reports(Path("nowhere")))))
made = [(e.solver, e.build()) for e in EXPECTATIONS]
name, _, rows = drawn([{"solver": n, "paper": s.paper, "exact": s.history or None} for n, s in made])[-1]
print(name, "pndm" in [row["solver"] for row in rows])
main(["prove", "pndm"])
"""


def test_one_file_in_the_package_is_known_to_everything(tmp_path: Path) -> None:
    root, package = Path(__file__).parents[1], tmp_path / "semilinear"
    # Compiled modules stay valid, for their times are copied; some may be half written.
    ignored = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(root / "verification" / "front-door", package, ignore=ignored)
    shutil.copytree(root / "integrators", package / "integrators", ignore=ignored)
    for layer in ("analysis", "verification"):
        (package / layer).symlink_to(root / layer)
    (package / "integrators" / "solvers" / "pndm.py").write_text(PNDM + "LISTED = (pndm,)\n")
    result = subprocess.run(
        [sys.executable, "-c", KNOWN],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "True 2 2 proved: order 2 as it is run, 2 from an exact start"
    assert lines[1] == "['grids', 'rows', 'rows', 'solvers', 'work_precision']"
    assert lines[2] == "others True"
    assert "Mine, eq. 12" in result.stdout


def test_its_parameters_are_those_of_the_function(pndm: str, capsys: Any) -> None:
    assert main(["order", pndm, "--param", "order=1", "--max-steps", "96", "--batch", "8"]) == 0
    assert "claimed 1, observed order 1.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "must define the function 'nosuch'"),
        ("nothing", "must return a Solver, a Tableau, a Plan or a function of a run, got 3"),
    ],
)
def test_a_file_without_the_solver_is_refused(pndm: str, capsys: Any, name: str, message: str) -> None:
    assert main(["order", pndm.replace(":pndm", f":{name}")]) == 2
    assert message in capsys.readouterr().err
    assert main(["order", f"/nowhere/file.py:{name}"]) == 2
    assert "/nowhere/file.py is no Python file that can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def mine(:", "raised SyntaxError"),
        ("import nosuchmodule", "raised ModuleNotFoundError"),
        ("def mine():\n    raise ValueError('no')", "raised ValueError: no"),
    ],
)
def test_what_a_file_raises_is_said(tmp_path: Path, capsys: Any, source: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    for command in ("order", "prove"):
        assert main([command, f"{path}:mine"]) == 2
        assert message in capsys.readouterr().err


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for order in (1, 2):
        path.write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\nimport semilinear as sl\n"
            "@dataclass\nclass Held:\n    order: int\n"
            f"def mine():\n    return sl.Solver(name='mine', form=sl.forms.data_in_lambda, "
            f"sequence=sl.Ramp((sl.adams(1), sl.adams(2))[:Held({order}).order]), claimed={order}, "
            f"source='s')\n"
        )
        assert f"claimed {order}" in str(sl.prove(f"{path}:mine"))


def test_the_words_of_a_formula_are_checked() -> None:
    form = sl.forms.data_in_lambda
    first: Any = sl.adams(1)
    for build, message in (
        (
            lambda: sl.Solver(name="x", form=form, sequence=first, claimed=1, source="s"),
            "sequence must say which tableau runs when",
        ),
        (
            lambda: sl.Solver(
                name="x", form=form, sequence=sl.Ramp((first,)), claimed=1, source="s", noise_scale="1"
            ),
            "noise_scale must be",
        ),
        (lambda: sl.Ramp((sl.phi1 * sl.N(0),)), r"ramp\[..\] must be a Tableau"),
        (lambda: sl.Tableau((), None), "output must be an expression"),
        (lambda: sl.N(-1), "i must be an integer"),
        (lambda: sl.interpolate({0.5: sl.N(0), Rational(1, 2): sl.P(1)}), "values must stand at nodes"),
        (lambda: sl.derive("c2", order=2), "abscissae must be a sequence"),
        (lambda: sl.measure("ddim", claimed=0), "claimed must be a positive number"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            build()


def test_the_numbers_of_released_code_are_made_again() -> None:
    path = Path(__file__).parents[1] / "verification" / "replay" / "golden-data" / "unipc.json"
    cases = sl.replay(path)
    assert cases
    assert all(case.ok for case in cases)
