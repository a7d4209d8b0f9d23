"""Names are known before anything is imported that they stand for, and they are those that there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from semilinear.integrators.common.kinds import FORMULAS
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.verification.commands import names
from semilinear.verification.commands.cli import main
from semilinear.verification.problems import cache

KINDS = [kind for kinds, _ in names.GATHERED.values() for kind in kinds]
HEAVY = {"torch", "sympy", "numpy", "scipy", "mpmath"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    """Where what is kept is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "semilinear" / "names"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: Any) -> Iterator[dict[str, str]]:
    """The environment of processes that find all names kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("kept")))
        for kind in KINDS:
            names.named(kind)
        yield dict(os.environ)


def told(commands: list[str], environment: dict[str, str]) -> tuple[list[str], set[str]]:
    """What commands say, one after another in a process of their own, and what that has imported."""
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from semilinear.verification.commands.cli import main;"
        "sys.exit(sum(main(command.split()) != 2 for command in sys.argv[1:]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *commands], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    *lines, modules = result.stderr.splitlines()
    return lines, set(modules.split())


@pytest.mark.slow
def test_what_is_kept_is_what_there_is(folder: Path) -> None:
    for _ in range(2):  # gathered, then read
        assert list(names.named("solvers")) == list(SOLVERS)
        assert list(names.named("tableaux")) == list(CATALOGUE)
        for kinds, gather in names.GATHERED.values():
            made = json.loads(json.dumps(gather()))
            assert {kind: names.named(kind) for kind in kinds} == made


def test_names_are_gathered_once_for_each_version_of_the_code(folder: Path, monkeypatch: Any) -> None:
    made: list[str] = []

    def gather() -> dict[str, Any]:
        made.append("")
        return {"number": len(made)}

    assert [cache.kept_names("a", gather)["number"] for _ in range(2)] == [1, 1]
    (file,) = folder.glob("*/a.json")
    for broken in ("", "[]", "{"):
        file.write_text(broken)
        before = len(made)
        assert cache.kept_names("a", gather)["number"] == before + 1
    monkeypatch.setattr(cache, "source", lambda: "another")
    assert cache.kept_names("a", gather)["number"] == len(made)
    assert json.loads(file.read_text())["number"] == len(made) - 1  # of the code before


def test_names_are_right_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "semilinear").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert list(names.named("problems"))[:1] == ["gaussian"]


REFUSED = {
    "order nosuch": "expected a listed solver",
    "order dpm-solver++2m": "nearest are dpm-solver++-2m",
    "order dpm-solver-2:r3=1": "solver 'dpm-solver-2' does not take r3",
    "order dpm-solver-2 --param r3=1": "solver 'dpm-solver-2' does not take r3",
    "order ddim --schedule vp": "--schedule must be one of vp-linear",
    "order ddim --grid karras:a=0": "--grid karras:a=0: karras does not take a; its parameters are: power",
    "order ddim --grid alternating:base=karras,powr=5": "alternating does not take powr",
    "order ddim --grid karras:power=-1": "--grid karras:power=-1: power must be a positive number, got -1",
    "order ddim --grid alternating:base=nsr,k=-1": "k must be a non-negative number, got -1",
    "order ddim --schedule discrete": "betas must be one of linear, scaled-linear, cosine, and has no",
    "order ddim --schedule discrete:betas=linear,n=1": "n must be an integer from 2 to 100000, got 1",
    "order dpm-solver-2:r1=2": "r1 must be a number in (0, 1] or none, got 2",
    "order dpm-solver-v3-2m:corrector=tru": "nearest are true",
    "order ddim --problem nope": "--problem must be one of gaussian",
    "order ddim --lam-end -9": "--lam-end must exceed",
    "order ddim --max-steps 3": "--max-steps must be an integer >= 8",
    "order /nowhere/file.py:f": "/nowhere/file.py is no Python file that can be read",
    "prove nosuch": "expected a listed solver",
    "prove diffusers:DDIMScheduler": "target must be a solver or a tableau, got a sampler",
    "prove /nowhere/file.json": "/nowhere/file.json cannot be read",
    "stability nosuch": "expected a listed solver",
    "stability ddim --linear -1": "--linear needs --mu",
    "derive --order 2 --embedded nosuch": "expected a listed solver",
    "derive --order 2": "--stages, --abscissae",
    "distance nosuch": "or PACKAGE:NAME of diffusers",
    "work-precision ddim --grid nope": "--grid must be one of",
    "sample ddim --schedule vp": "--schedule must be one of vp-linear",
    "likelihood --problem nope": "--problem must be one of gaussian",
    "audit ddim --only nope": "--only must be one of linear",
    "audit ddim ddim": "targets must be given once each",
    "audit k_diffusion:sample_dpmp_2m": "nearest are sample_dpmpp_2m",
    "same ddim ddim --as nope": "--as must be one of run",
    "same ddim ddim --as plain": "--as is for FILE.py:function",
    "claims scire-phi1-limit nope": "no claim has an id like 'nope'",
    "replay /nowhere.json": "/nowhere.json cannot be read",
    "bench --compare /nowhere.json": "--compare: /nowhere.json cannot be read",
    "train --steps 0": "--steps must be an integer >= 1",
    "ordr ddim": "the nearest are order",
}


def test_what_can_be_told_by_names_is_refused_without_the_numerics(warm: dict[str, str]) -> None:
    lines, modules = told(list(REFUSED), warm)
    assert len(lines) == len(REFUSED)
    for command, line in zip(REFUSED, lines):
        assert REFUSED[command] in line, command
    assert not HEAVY & modules


def test_a_completion_script_is_written_without_the_numerics(warm: dict[str, str]) -> None:
    program = (
        "import sys; from semilinear.verification.commands.cli import main;"
        "main(['completion', 'bash']); sys.exit(' '.join(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=warm)
    assert "er-sde-2-corrected" in result.stdout
    assert not HEAVY & set(result.stderr.split())


def test_values_are_refused_without_torch(warm: dict[str, str]) -> None:
    given = {
        "sample ddim --grid karras:power=-1": "--grid karras:power=-1: power must be a positive number",
        "likelihood --schedule vp-linear:beta_1=-1": "--schedule vp-linear:beta_1=-1: beta_1 must be",
        "order ddim --schedule discrete": "betas must be one of linear, scaled-linear, cosine",
    }
    lines, modules = told(list(given), warm)
    assert all(text in line for text, line in zip(given.values(), lines, strict=True))
    assert "torch" not in modules


def test_without_what_was_kept_the_answer_is_the_same(tmp_path: Path) -> None:
    cold = dict(os.environ) | {"XDG_CACHE_HOME": str(tmp_path)}
    lines, modules = told(["order ddim --schedule vp", "prove nosuch"], cold)
    assert "--schedule must be one of vp-linear" in lines[0]
    assert "expected a listed solver" in lines[1]
    assert "torch" not in modules


def test_what_is_listed_is_kept(capsys: Any, folder: Path) -> None:
    for _ in range(2):
        assert main(["list", "--of", "grids", "--json"]) == 0
    before, after = capsys.readouterr().out.split("\n}\n")[:2]
    assert before == after
    assert list(folder.glob("*/list-grids.json"))


DOCUMENT = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text()
ROWS = re.findall(r"^\| `semilinear ([a-z-]+)(.*)$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize(("command", "row"), ROWS, ids=lambda value: value.split(" ")[0].strip("`"))
def test_the_document_tells_a_commands_options_and_no_others(capsys: Any, command: str, row: str) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"^ +(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert set(re.findall(r"--[a-z][a-z-]*", row)) == options - {"--help", "--json"}


@pytest.mark.parametrize("text", sorted(set(re.findall(r"`([a-z0-9+-]+:[a-z_0-9]+=[^`|]+)`", DOCUMENT))))
def test_what_the_document_gives_as_an_example_is_taken(text: str) -> None:
    takes = [*(names.part(kind).check for kind in ("schedule", "grid")), names.target(FORMULAS).check]
    refused = 0
    for check in takes:
        try:
            check("", text)
        except ValueError:
            refused += 1
    assert refused == len(takes) - 1
