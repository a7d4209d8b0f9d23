"""A text names one target, and what is said of it; another text is refused with the nearest names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from semilinear.integrators.common.modules import module_of_file
from semilinear.integrators.diffusion.schedule import edm
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.verification.targets.listed import CLAIMS, DISTRIBUTIONS, USUAL
from semilinear.verification.targets.named import PACKAGES, Package, everything, names, target, targets
from semilinear.verification.tracing.trace import trace

from tests.roundings import SOME_ULP
from tests.test_adapters import expected, grid, same

TIMES = grid(edm())
SAMPLERS = """
import itertools
import torch
from semilinear.integrators.solvers import make


def of_run(run, scale=1.0):
    x = run.x
    for t, s in itertools.pairwise(run.times):
        x = x + scale * (s - t) * run.model(x, t)
    return x


def plain(model, x, times):
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * model(x, t)
    return x


def denoised(model, x, sigmas, order=1):
    for t, s in itertools.pairwise(sigmas):
        x = x + (x - model(x, t.expand(x.shape[0]))) / t * (s - t)
    return x


def ours():
    return make("ddim")


number = 3
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: Any) -> str:
    path = tmp_path_factory.mktemp("targets") / "samplers.py"
    path.write_text(SAMPLERS)
    return str(path)


@pytest.mark.parametrize(
    ("function", "convention", "prediction"),
    [
        ("of_run", None, "eps"),
        ("of_run", "run", "eps"),
        ("plain", "plain", "eps"),
        ("plain:prediction=flow", "plain", "flow"),
        ("denoised", "k-diffusion", "x0"),
        ("ours", "solver", "eps"),
        ("ours", None, "eps"),
    ],
)
def test_a_file_s_function(file: str, function: str, convention: str | None, prediction: str) -> None:
    found = target(f"{file}:{function}", convention=convention)
    assert (found.name, found.package) == (f"{file}:{function}", "")
    if function == "ours":  # a solver says what it claims, whoever makes it
        assert (found.kind, found.claimed, found.source) == ("solver", 1, target("ddim").source)
    else:
        assert (found.kind, found.claimed, found.source) == ("sampler", None, file)
    read = trace(found.sampler, edm(), TIMES)
    assert read.prediction == prediction
    assert same(read, expected("ddim", edm(), TIMES))


def test_settings_of_a_file_s_function(file: str) -> None:
    found = target(f"{file}:of_run:scale=1/2", settings={})
    assert trace(found.sampler, edm(), TIMES).rows[1, 1] == pytest.approx(
        (TIMES[1] - TIMES[0]) / 2, rel=SOME_ULP, abs=0
    )
    again = target(f"{file}:of_run", settings={"scale": 0.5})
    assert again.name == f"{file}:of_run:scale=0.5"


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ("{file}:nothing", {}, "must define the function 'nothing'"),
        ("{file}:number", {}, "must define the function 'number'"),
        ("/no/such/file.py:f", {}, "is no Python file that can be read"),
        (
            "{file}:plain",
            {"convention": "comfy"},
            "convention must be one of run, plain, k-diffusion, .*, solver, got 'comfy'",
        ),
        ("ddim", {"convention": "plain"}, "convention is for FILE.py:function, got 'ddim'"),
        (
            "{file}:denoised:eta=1",
            {"convention": "k-diffusion"},
            "does not take eta; its parameters are: order",
        ),
        ("{file}:plain:prediction=noise", {"convention": "plain"}, "prediction must be one of"),
        ("k_diffusion:sample_dpm_2m", {}, "k_diffusion has no sampler .*nearest are .*sample_dpmpp_2m"),
        ("diffusers:LCMScheduler", {}, "LCMScheduler cannot be driven: its boundary scalings"),
        ("diffusers:EulerDiscreteSchedule", {}, "the nearest are EulerDiscreteScheduler"),
        ("sample_dpmpp_2m_sd", {}, "expected a listed solver.* or PACKAGE:NAME of diffusers, .*nearest are"),
        ("dpm-solver++-2", {}, "the nearest are"),
        ("ddim:eta=1", {}, "does not take eta"),
        ("ddim", {"settings": {"form": "phase"}}, "form must be one of lambda, rho, t, got 'phase'"),
        ("ddim", {"settings": {"final": "soon"}}, "final must be one of"),
        ("rosenbrock-euler", {}, "rosenbrock-euler is of Rosenbrock type: its linear part is the Jacobian"),
    ],
)
def test_what_names_nothing_is_refused(file: str, text: str, options: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        target(text.format(file=file), **options)


def test_a_target_is_a_name_or_what_runs() -> None:
    for text in ("", None, 3):
        with pytest.raises(TypeError, match="target must be a name"):
            target(text)


def test_packages_that_are_not_there_are_told(monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "smalldiffusion.diffusion", raising=False)
    with pytest.raises(ModuleNotFoundError, match="smalldiffusion is not installed"):
        target("smalldiffusion:samples")


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "sde-dpm-solver++-2m", "krogstad4"])
def test_our_own_by_name(name: str) -> None:
    found = target(name, settings={"prediction": "x0"})
    assert (found.name, found.claimed, found.package) == (name, make(name).claimed, "semilinear")
    assert same(trace(found.sampler, edm(), TIMES), expected(name, edm(), TIMES))


def test_our_own_with_parameters() -> None:
    found = target("lawson4:form=noise-in-lambda")
    assert (found.name, found.claimed) == ("lawson4:form=noise-in-lambda", 4)
    with pytest.raises(ValueError, match="does not take order"):
        target("ddim", settings={"order": 3})


def test_a_tableau_runs_in_a_form(tmp_path: Path) -> None:
    path = tmp_path / "heun.json"
    path.write_text(json.dumps({"c": ["0", "1"], "a": [[], ["1"]], "b": ["1/2", "1/2"], "claimed": 2}))
    found = target(str(path), settings={"form": "rho"})
    assert found.claimed == 2
    assert same(trace(found.sampler, edm(), TIMES), expected("edm-heun", edm(), TIMES))


def test_everything_of_ours() -> None:
    listed = targets("semilinear:*")
    assert [t.name for t in listed] == list(SOLVERS)
    assert [t.name for t in targets("ddim")] == ["ddim"]
    with pytest.raises(ValueError, match="settings are for one target, got 'semilinear:\\*'"):
        targets("semilinear:*", settings={"final": "full"})
    with pytest.raises(ValueError, match=r"package must be one of diffusers, k_diffusion, .*, got 'jax'"):
        everything("jax")


def test_claims_follow_their_parameters() -> None:
    assert CLAIMS["diffusers:DEISMultistepScheduler"].of({"solver_order": 3}) == 3
    assert CLAIMS["diffusers:UniPCMultistepScheduler"].of({"solver_order": 3}) == 4
    assert CLAIMS["diffusers:UniPCMultistepScheduler"].of({"disable_corrector": True}) == 2
    assert CLAIMS["diffusers:FlowMatchEulerDiscreteScheduler"].of({"stochastic_sampling": True}) is None
    assert CLAIMS["k_diffusion:sample_lms"].of({}) == 4
    assert all(claim.source for claim in CLAIMS.values())


def test_a_package_that_is_found_by_name_has_its_adapter() -> None:
    assert list(PACKAGES) == list(DISTRIBUTIONS)


def test_configurations_differ() -> None:
    for package in PACKAGES:
        for name in names(package):
            usual = [json.dumps(s, sort_keys=True) for s in USUAL.get(f"{package}:{name}", ({},))]
            assert len(set(usual)) == len(usual), name


def test_a_program_by_name() -> None:
    found = target("process:true --order 3", settings={"seconds": 5.0})
    assert (found.name, found.claimed, found.package) == ("process:true --order 3", None, "")
    with pytest.raises(ValueError, match=r"^command must name a program that can be run, got './port'"):
        target("process:./port --order 3")


def test_what_another_version_does_not_take_is_left_out_and_said(monkeypatch: Any, caplog: Any) -> None:
    def adapt(name: str, settings: Any) -> Any:
        if "newer" in settings:
            raise ValueError(f"{name} does not take newer; its parameters are: none")
        return lambda run: run.x

    monkeypatch.setitem(PACKAGES, "azula", Package(lambda name: name, adapt))
    monkeypatch.setitem(cast(dict[str, Any], USUAL), "azula:EulerSampler", ({}, {"newer": True}))
    assert [found.name for found in everything("azula")].count("azula:EulerSampler") == 1
    assert "azula:EulerSampler is left out: EulerSampler does not take newer" in caplog.text


def test_a_file_imports_what_stands_beside_it_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "the_half_beside.py").write_text("half = 0.5\n")
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('the standard library is hidden')\n")
    file = tmp_path / "sampler.py"
    file.write_text("import colorsys\nfrom the_half_beside import half\n")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert module_of_file("a_file_with_another_beside_it", file).half == 0.5
    del sys.modules["a_file_with_another_beside_it"], sys.modules["the_half_beside"]
