"""What cannot be done is refused in one line that says the option, with exit code 2, before any work,
whatever a user's file does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from semilinear.analysis.convergence import estimate_order
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.model_statistics import model_statistics
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import PlanError, from_json, save, to_json
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi, phi1
from semilinear.verification.commands import listing, terminal
from semilinear.verification.commands.cli import main
from semilinear.verification.problems.named import problem

ENDS = "import sys\nsys.exit(0)\n"
LATE = """
import sys
def solver():
    sys.exit(0)
def sampler(run):
    sys.exit(0)
def nothing(run):
    return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ends.py").write_text(ENDS)
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "file").write_text("")
    (tmp_path / "claims.json").write_text('{"claims": 3}')
    return tmp_path


def refused(capsys: Any, *arguments: Any) -> str:
    """The one line with which the command is refused."""
    assert main([*map(str, arguments), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [text for text in err.splitlines() if text.startswith("{")]
    return str(json.loads(line)["error"])


COMMANDS = (["order"], ["prove"], ["distance", "--nfe", "5"], ["work-precision", "--nfe", "5"], ["audit"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_file_that_ends_the_program_ends_no_command(capsys: Any, folder: Path, command: list[str]) -> None:
    for _ in range(2):  # no half of it is left, to be found by the next
        told = refused(capsys, *command, f"{folder}/ends.py:f")
        assert f"{folder}/ends.py raised SystemExit" in told
    assert not [name for name in sys.modules if name.startswith("ends@")]


@pytest.mark.parametrize(
    "arguments",
    [["order", "{}:solver"], ["same", "ddim", "{}:sampler"], ["work-precision", "{}:sampler", "--nfe", "5"]],
    ids=lambda arguments: arguments[0],
)
def test_a_function_that_ends_the_program_ends_no_command(
    capsys: Any, folder: Path, arguments: list[str]
) -> None:
    assert (
        "SystemExit" in (told := refused(capsys, *(a.format(folder / "late.py") for a in arguments)))
        or "sys.exit(0)" in told
    )


def test_an_interruption_under_json_is_json(capsys: Any, monkeypatch: Any) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "run", interrupt)
    assert main(["list", "--json"]) == terminal.INTERRUPTED
    assert json.loads(capsys.readouterr().err) == {"error": "interrupted"}


HUGE = str(10**15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["same", "ddim", "ddim", "--steps", HUGE], "--steps must be an integer from 1 to "),
        (["distance", "ddim", "--nfe", f"5,{HUGE}"], "--nfe must be an integer from 1 to "),
        (["distance", "ddim", "--samples", HUGE], "--samples must be an integer from 1 to "),
        (["work-precision", "ddim", "--nfe", HUGE], "--nfe must be an integer from 1 to "),
        (["work-precision", "ddim", "--batch", HUGE], "--batch must be an integer from 2 to "),
        (["order", "ddim", "--batch", HUGE], "--batch must be an integer from 1 to "),
        (["order", "sde-dpm-solver++-1", "--problem", "gaussian", "--paths", HUGE], "--paths must be an "),
        (["bench", "--rounds", HUGE], "--rounds must be an integer from 1 to "),
        (["claims", "--workers", HUGE], "--workers must be an integer from 1 to "),
        (["verify", "--workers", "0"], "--workers must be an integer from 1 to "),
    ],
)
def test_what_is_counted_has_an_end(capsys: Any, arguments: list[str], message: str) -> None:
    assert refused(capsys, *arguments).startswith(message)


@pytest.mark.parametrize("command", [["same", "ddim", "ddim"], ["work-precision", "ddim"], ["audit", "ddim"]])
def test_a_convention_is_of_a_file_and_has_a_name(capsys: Any, folder: Path, command: list[str]) -> None:
    assert refused(capsys, *command, "--as", "nope").startswith("--as must be one of run, plain, ")
    assert refused(capsys, *command, "--as", "plain").startswith("--as is for FILE.py:function, got ddim")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distance", "ddim", "--problem", "learned-digits"], "--problem must be a mixture of Gaussians"),
        (["order", "ddim", "--problem", "nope"], "--problem must be one of gaussian, "),
        (["work-precision", "ddim", "--problem", "nope"], "--problem must be one of gaussian, "),
        (["work-precision", "ddim", "--t-end", "2"], "--t-end must lie in [0, 1] for vp-linear, got 2.0"),
        (["work-precision", "ddim", "--grid", "karras:a=0"], "--grid karras:a=0: karras does not take a"),
        (["work-precision", "ddim", "ddim"], "solvers must be given once each"),
        (["distance", "ddim", "ddim"], "solvers must be given once each"),
        (["same", "ddim", "nope"], "expected a listed solver"),
        (["order", "{}/late.py"], "{}/late.py needs the name of a function: {}/late.py:NAME"),
        (
            ["order", "dpm-solver-v3-2m:statistics=x"],
            "dpm-solver-v3-2m:statistics=x: statistics: x cannot be read: No such file",
        ),
        (["report", "learned", "--workers", "2"], "--workers is for distances, got learned"),
        (["report", "distances", "--samples", "20"], "--samples is for inverse-problems, got distances"),
        (["report", "distances", "--out", "{}/file"], "--out must be a folder, got the file {}/file"),
        (["report", "digits"], "study must be one of inverse-problems, learned, distances, got 'digits'"),
        (["gpu", "--out", "{}/gpu.txt"], "--out must end in .json, got '{}/gpu.txt'"),
        (["sample", "{}/late.py:nothing", "--steps", "2"], "sampler must return real states of shape "),
        (["sample", "{}/late.py:nothing", "--denoise"], "final, denoise and controller are a solver's"),
        (["bench", "--compare", "{}"], "--compare: {} cannot be read: Is a directory"),
        (["bench", "--out", "{}/file"], "--out must be a folder, got the file {}/file"),
        (["audit", "ddim", "--save", "{}"], "--save must be a file for one target, got the folder {}"),
        (
            ["audit", "process:/nonexistent/program"],
            "command must name a program that can be run, got ",
        ),
        (
            ["same", "ddim", "{}/late.py:nothing"],
            "{}/late.py:nothing raised ReturnedError: sampler must return ",
        ),
        (["claims", "scire-phi1-limit", "--out", "{}"], "--out: {}/claims.json: not a report of "),
        (["claims", "scire-phi1-limit", "--out", "{}/file"], "--out must be a folder, got the file {}/file"),
    ],
)
def test_a_refusal_says_what_was_typed(capsys: Any, folder: Path, arguments: list[str], message: str) -> None:
    told = refused(capsys, *(argument.format(folder) for argument in arguments))
    assert told.startswith(message.replace("{}", str(folder))), told


@pytest.mark.parametrize(
    "command",
    [["verify", "--only", "nope"], ["bench", "--device", "tpu"], ["claims", "nope"], ["audit", "nope"]],
    ids=lambda command: command[0],
)
def test_a_folder_is_made_for_what_is_written_alone(capsys: Any, tmp_path: Path, command: list[str]) -> None:
    refused(capsys, *command, "--out", tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_the_folder_of_out_is_made(capsys: Any, tmp_path: Path) -> None:
    assert main(["audit", "ddim", "--only", "ends", "--out", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "audit.json").is_file()


# --- what a hostile review got past ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["order", "ddim", "--schedule", f"discrete:betas=linear,n={HUGE}"],
            "n must be an integer from",
        ),
        (
            ["order", "ddim", "--grid", f"diffusers-trailing:count={HUGE}"],
            "count must be an integer from",
        ),
        (["train", "--width", HUGE], "--width must be an integer from 1 to 4096"),
        (["train", "--steps", HUGE], "--steps must be an integer from 1 to 1000000"),
        (["sample", "ddim", "--seed", "9" * 23], "--seed must be an integer from 0 to"),
        (["derive", "--stages", "2", "--order", "2", "--set", "c2=nan"], "--set must be a number"),
    ],
)
def test_sizes_and_words_without_a_bound_are_refused(capsys: Any, arguments: list[str], told: str) -> None:
    assert told in refused(capsys, *arguments)


def plan(**changes: Any) -> dict[str, Any]:
    made = compile_plan(make("ddim"), vp_linear(), times=(0.5, 0.3, 0.1))
    return to_json(made) | changes


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: problem("golden-mixture").model(cast(Any, "vp")), TypeError, "schedule must be a Schedule"),
        (lambda: problem("gaussian").model(cast(Any, 3)), TypeError, "schedule must be a Schedule, got 3"),
        (
            lambda: problem("golden-mixture").model(vp_linear())(torch.tensor(1.0), 0.5),
            ValueError,
            r"states must have 2 components each, got shape \(\)",
        ),
        (lambda: Stage(float("nan"), phi1 * N(0)), ValueError, "must be finite, got nan"),
        (lambda: phi(1, float("inf")), ValueError, r"c in phi\(k, c\) must be finite"),
        (lambda: Tableau((), N(0) * float("inf")), ValueError, "must be finite"),
        (lambda: save(cast(Any, 3), "x.json"), TypeError, "plan must be a Plan, got 3"),
        (lambda: from_json(plan(x=1)), PlanError, "a plan must hold schema, solver, .* alone, got 'x'"),
        (lambda: from_json(plan(solver="")), PlanError, "solver must be a string with text"),
        (lambda: estimate_order([8, 16, 32], [True, 0.5, 0.25]), TypeError, "errors must be numbers"),
        (lambda: estimate_order([8, 16, 32], [0.5, 0.25, True]), TypeError, "errors must be numbers"),
        (lambda: estimate_order([8, 16, 32], np.array([True] * 3)), TypeError, "errors must be numbers"),
        (lambda: model_statistics(cast(Any, None)), TypeError, "statistics must be model statistics"),
    ],
)
def test_what_is_no_model_number_or_plan_is_refused_where_it_is_given(
    call: Callable[[], Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        call()
