"""An audit finds what is wrong with a sampler, and nothing where nothing is."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from semilinear.analysis.convergence import ENOUGH_FROM
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.plans import files
from semilinear.integrators.solver import FINALS, FinalChoice
from semilinear.integrators.solvers import make
from semilinear.verification.audit import audit as audits
from semilinear.verification.audit import field
from semilinear.verification.audit.audit import Audit, audit
from semilinear.verification.audit.checks import CHECKS, DIGITS
from semilinear.verification.audit.identity import proof_of
from semilinear.verification.audit.subject import FAST as FAST_PROFILE
from semilinear.verification.audit.subject import FULL, Subject, experiment
from semilinear.verification.commands.cli import main
from semilinear.verification.commands.terminal import missing
from semilinear.verification.reporting.audit import markdown
from semilinear.verification.studies.experiment import Run
from semilinear.verification.studies.neighbours import even
from semilinear.verification.targets.named import of_function
from semilinear.verification.targets.ours import of_solver
from semilinear.verification.tracing.compare import compare
from semilinear.verification.tracing.trace import near


def two_step(run: Any, halve: float = 1.0, low_end: bool = False) -> Any:
    """The exponential Adams method with two outputs in data prediction, exact weights."""
    x, model, old, slope = run.x, run.predict("x0"), None, 0.0
    times = [float(t) for t in run.times]
    for k, (a, b) in enumerate(itertools.pairwise(times)):
        d, h = model(x, a), math.log(a / b)
        z = -h
        phi1 = math.expm1(z) / z
        phi2 = (phi1 - 1) / z
        if old is not None and not (low_end and k == len(times) - 2):
            slope = halve * (d - old) / math.log(times[k - 1] / a) * h
        else:
            slope = 0 * d
        x, old = b / a * x + h * (phi1 * d + phi2 * slope), d
    return x


def noisy(run: Any, off: float = 0.0) -> Any:
    """The reverse SDE in data prediction, first order; off: by how much a coefficient is, relative."""
    x, model = run.x, run.predict("x0")
    for a, b in itertools.pairwise(float(t) for t in run.times):
        x = (b / a) ** 2 * (1 + off) * x + (1 - (b / a) ** 2) * model(x, a)
        x = x + math.sqrt(b * b * (1 - (b / a) ** 2)) * run.increment(a, b, x)
    return x


def finest(method: Any, **options: Any) -> tuple[int, Audit]:
    """The finest run of a sampler whose order as run is asked for, and its audit."""
    counts = []

    def sampler(run: Any) -> Any:
        counts.extend([int(run)] if isinstance(run, Run) else [])
        return method(run)

    found = audit(sampler, 2, **options)
    _ = found.identified
    counts.clear()
    assert found.as_run is not None
    return max(counts), found


def test_a_ladder_ends_where_runs_agree_with_the_proof_of_what_was_identified() -> None:
    short, found = finest(two_step)
    assert ENOUGH_FROM <= short < FULL.ladder[-1]
    full, whole = finest(two_step, only=("orders",))
    assert full == FULL.ladder[-1]
    short_order, order = found.as_run, whole.as_run
    assert short_order is not None
    assert order is not None
    assert short_order.verdict == order.verdict == "consistent"
    assert short_order.low < order.observed < short_order.high


def test_a_ladder_goes_on_where_the_proof_says_otherwise_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert finest(partial(two_step, halve=0.9))[0] == FULL.ladder[-1]  # no listed solver
    wrong = prove_solver(make("dpm-solver-3"))
    monkeypatch.setattr(audits, "proof_of", lambda found, residue: wrong)
    assert finest(two_step)[0] == FULL.ladder[-1]


def test_a_ladder_goes_on_where_longer_runs_have_other_coefficients() -> None:
    def late(run: Any) -> Any:
        return two_step(run, halve=0.9 if int(run) == max(DIGITS) else 1.0)

    last, found = finest(late)
    assert last == FULL.ladder[-1]
    assert found.identified is not None
    assert found.identified.same


def test_what_is_proved_is_of_runs_that_end_as_the_sampler_s() -> None:
    found = audit("dpm-solver++-3m-corrected", only=("identity",)).identified
    assert found is not None
    proved = {}
    for longer in FINALS:
        proof = proof_of(replace(found, longer=longer), (1, 0))
        assert proof is not None
        proved[longer] = proof.run(), proof.exact_start()
    assert proved == {"full": (2, 3), "last": (2, 3), "lower": (2, 3)}
    full = proof_of(replace(found, solver="dpm-solver++-2m", longer="full"), (1, 0))
    assert full is not None
    assert full.run() == 2
    without = (
        {"longer": ""},  # runs that end in no way of its own
        {"same": False},
        {"schedule": "rectified-flow"},  # one of another frame than that of runs
        {"solver": "sde-dpm-solver++-2m"},
    )
    assert [proof_of(replace(found, **change), (1, 0)) for change in without] == [None] * 4


FAST = ("linear", "noise", "batch", "repeat", "finite", "dtype", "float32")


def messages(target: Any, *only: str) -> list[str]:
    return [f"{f.check} {f.verdict}: {f.message}" for f in audit(target, 1, only=only).findings]


def test_a_sound_sampler_is_what_it_is() -> None:
    found = audit(two_step, 2)
    assert found.as_run is not None
    assert found.as_run.verdict == "consistent"
    assert found.as_run.low <= 2 <= found.as_run.high
    assert found.formula is not None
    assert found.formula.verdict == "consistent"
    assert (found.weak, found.strong) == (None, None)
    assert found.identified is not None
    assert (found.identified.solver, found.identified.same) == ("ab-norsett2", True)
    assert "moments 0 and 1 right" in str(found.diagnosis)
    assert found.nfe == 20
    # log 0 where runs end at sigma = 0; and in half precision every sampler has a best number of steps
    assert [f for f in found.findings if f.check not in ("finite", "half")] == []


def test_an_end_of_lower_order_lowers_the_order_as_run_not_that_of_the_formula() -> None:
    def sampler(run: Any) -> Any:
        return two_step(run, low_end=True)

    found = audit(sampler, 3)
    assert found.as_run is not None
    assert found.formula is not None
    assert (found.as_run.verdict, found.formula.verdict) == ("lower", "lower")
    assert found.identified is not None
    assert (found.identified.solver, found.identified.final) == ("ab-norsett2", "last")
    assert not found.holds


def test_a_halved_difference_is_diagnosed() -> None:
    found = audit(lambda run: two_step(run, halve=0.5), 2, only=["orders", "diagnosis"])
    assert found.as_run is not None
    assert found.as_run.verdict == "lower"
    assert "moment 1 0.5 of the exact one" in str(found.diagnosis)
    assert not found.holds


def test_coefficients_that_are_off_by_a_fixed_amount_decide_no_order() -> None:
    """The mean of this sampler is exact, but for a constant that adds up over its steps."""
    found = audit(lambda run: noisy(run, off=1e-12), 1, only=["orders"])
    assert found.weak is not None
    assert found.weak.verdict == "consistent"
    assert found.weak.low <= 1 <= found.weak.high
    assert any("grows with N" in f.message for f in found.findings)


def test_a_sampler_with_noise_has_weak_and_strong_orders_and_is_known() -> None:
    found = audit(noisy, 1)
    assert found.as_run is None
    assert found.weak is not None
    assert found.strong is not None
    assert found.weak.verdict == "consistent"
    assert found.strong.verdict is None  # the claim is on its weak order
    assert found.strong.low <= 1 <= found.strong.high
    assert found.identified is not None
    assert found.identified.same
    assert "ddpm" in (found.identified.solver, *found.identified.others)


def test_an_end_that_depends_on_the_number_of_steps_need_not_cost_order() -> None:
    """Two-stage steps over two intervals; an odd interval is left to Euler's method."""

    def sampler(run: Any) -> Any:
        x, model, times = run.x, run.predict("x0"), [float(t) for t in run.times]
        k = 0
        while k < len(times) - 1:
            a, b = times[k], times[min(k + 2, len(times) - 1)]
            d = model(x, a)
            if k + 2 < len(times):
                m = times[k + 1]
                middle = m / a * x + (1 - m / a) * d
                d = d + (model(middle, m) - d) * math.log(a / b) / math.log(a / m) / 2
            x, k = b / a * x + (1 - b / a) * d, k + 2
        return x

    found = audit(sampler, 2, only=["orders"])
    assert found.subject.residues[0] == 2
    (said,) = [f.message for f in found.findings if "depends on the number of steps" in f.message]
    assert said.startswith(
        "the end of runs, and not visibly the order,"
    )  # one step of Euler costs nothing here


def test_an_order_that_depends_on_the_number_of_steps_is_told_by_residue() -> None:
    def sampler(run: Any) -> Any:
        return two_step(run, halve=0.0 if int(run) % 2 else 1.0)

    found = audit(sampler, 2, only=["orders"])
    assert found.as_run is not None
    assert (found.as_run.verdict, found.as_run.where) == ("lower", "karras grid, N = 1 mod 2")
    assert any(f.message.startswith("the order depends on the number of steps") for f in found.findings)


# --- checks ---


def test_checks_find_nothing_on_a_listed_solver() -> None:
    found = audit("ddim", only=[c for c in FAST if c != "finite"])
    assert found.findings == ()


def test_a_draw_without_weight_is_found() -> None:
    assert messages(lambda run: two_step(run) + 0.0 * torch.randn_like(run.x), "noise") == [
        "noise noted: 1 of 1 draws of a run with 20 steps have no weight"
    ]


def test_dependence_on_the_batch_is_found() -> None:
    (found,) = messages(lambda run: two_step(run) + 0.1 * run.x.mean(0, keepdim=True), "batch")
    assert "a sample in a batch of 3 and the same alone differ" in found


def test_memory_between_runs_is_found() -> None:
    runs = []

    def sampler(run: Any) -> Any:
        runs.append(1)
        return two_step(run) * (1 + 0.01 * len(runs))

    assert "two runs from one start and noise differ" in messages(sampler, "repeat")[0]


def test_a_sampler_of_one_thread_is_found() -> None:
    import threading

    def sampler(run: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("no event loop")
        return two_step(run)

    (found,) = messages(sampler, "repeat")
    assert "in another thread it raises RuntimeError: no event loop" in found


def test_crashes_refusals_and_runs_that_are_not_finite_are_told_apart() -> None:
    def sampler(run: Any) -> Any:
        n = int(run)
        if n == 1:
            return [][n]
        if n == 2:
            raise ValueError(f"{n} steps are too few")
        return run.x / (float(run.times[-1]) - float(run.times[-2]))

    found = messages(sampler, "finite")
    assert any("raised: IndexError" in m and "in 1 step" in m for m in found)
    assert any("noted: refuses runs" in m and "2 steps are too few" in m and "in 2 steps" in m for m in found)
    assert any(
        "failed: states are not finite" in m and "sigma_min twice in 3 to 20 steps" in m for m in found
    )


def test_other_dtypes_and_shapes_are_found() -> None:
    assert messages(lambda run: run.x.float(), "dtype") == [
        f"dtype noted: {name} states become float32" for name in ("float64", "float16", "bfloat16")
    ]
    (shape, *_) = messages(lambda run: run.x.flatten(1), "dtype")
    assert shape == "dtype failed: states of shape (3, 1, 2, 3) become (3, 6)"


def test_coefficients_that_float32_spoils_are_found() -> None:
    """A weight that is the difference of two large numbers."""

    def sampler(run: Any) -> Any:
        x, model = run.x, run.predict("x0")
        times = torch.tensor([float(t) for t in run.times], dtype=run.x.dtype)
        for a, b in itertools.pairwise(times):
            weight = ((1 - b / a) + 1e4) - 1e4
            x = b / a * x + weight * model(x, float(a))
        return x

    (first, *_) = messages(sampler, "float32")
    assert "in float32 coefficients are off by up to" in first
    assert "with 20 steps" in first


def test_what_a_sampler_raises_is_a_finding_and_the_audit_goes_on() -> None:
    def sampler(run: Any) -> Any:
        raise KeyError("sigmas")

    found = audit(sampler, 1)
    data = found.json()
    assert data["as_run"] is None
    assert not data["holds"]
    (found,) = [f for f in data["findings"] if f["verdict"] == "raised"]
    assert found["check"] == "linear"
    assert re.search(r"KeyError: 'sigmas' .* other places: .*batch.*orders", found["message"])


def euler(run: Any) -> Any:
    x = run.x
    for a, b in itertools.pairwise(float(t) for t in run.times):
        x = x + (b - a) * run.model(x, a)
    return x


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.empty_like(x).normal_(0.0, std=0.5),
        lambda x: torch.empty_like(x).normal_(mean=0.0, std=0.5),
        lambda x: 0.5 * torch.randn(x.shape, out=torch.empty_like(x)),
        lambda x: 0.5 * torch.randn_like(input=x),
        lambda x: torch.normal(0.0, 0.5, x.shape, out=torch.empty_like(x)),
    ],
    ids=["normal_", "normal_ by name", "randn out", "randn_like by name", "normal out"],
)
def test_noise_is_seen_however_it_is_drawn(draw: Any) -> None:
    found = audit(lambda run: euler(run) + draw(run.x), 1)
    assert found.subject.noisy
    assert found.subject.traced(20).rows[-1, -1] == 0.5


def test_a_sampler_that_tells_samples_different_levels_is_found(tmp_path: Path) -> None:
    def told(model: Any, x: Any, sigmas: Any) -> Any:
        for a, b in itertools.pairwise(sigmas):
            levels = a * x.new_ones(len(x))
            levels[1:] = sigmas[0]
            x = x + (b - a) * (x - model(x, levels)) / a
        return x

    found = audit(told, 1, convention="k-diffusion", only=["linear", "batch"])
    assert any("samples of a batch must be at one noise level" in f.message for f in found.findings)


def test_a_name_is_that_of_more_than_one_run() -> None:
    found = audit(lambda run: euler(run) if int(run) < 15 else run.x, 1, only=["identity"])
    assert found.identified is not None
    assert not found.identified.same


def test_ends_that_few_steps_alone_have_are_told_from_those_of_more() -> None:
    def sampler(run: Any) -> Any:
        final: FinalChoice = "lower" if run < 15 else "full"
        return of_solver(make("dpm-solver++-3m-corrected"), final=final)(run)

    found = audit(sampler, only=["identity"])
    assert found.identified is not None
    assert (found.identified.final, found.identified.longer) == ("lower", "full")
    assert "final='lower', with 20 steps full, to" in str(found)


def test_every_sample_is_looked_at_alone() -> None:
    def sampler(run: Any) -> Any:
        x = euler(run).clone()
        x[1:] += 0.1 * x[:1]
        return x

    assert messages(sampler, "batch") != []


def test_a_crash_in_a_library_is_no_refusal() -> None:
    (found,) = messages(lambda run: euler(run) + math.log(float(run.times[-1])), "finite")
    assert found.startswith("finite raised: ValueError")


def test_what_torch_raises_is_raised_where_it_is_called() -> None:
    def sampler(run: Any) -> Any:
        return run.x[::-1]

    (found,) = audit(sampler, only=["linear"]).findings
    assert re.search(r"ValueError: step must be greater than zero \(test_audit.py:\d+\)", found.message)


def test_an_exception_at_one_number_of_steps_does_not_end_the_audit() -> None:
    def sampler(run: Any) -> Any:
        return euler(run) if int(run) != 14 else [][0]

    data = audit(sampler, 1, only=["identity", "diagnosis"]).json()
    assert data["identified"] is None
    assert any(f["check"] == "identity" and "IndexError" in f["message"] for f in data["findings"])


def test_a_sampler_may_refuse_few_steps() -> None:
    def sampler(run: Any) -> Any:
        if int(run) < 6:
            raise ValueError("at least 6 steps")
        return euler(run)

    found = audit(sampler, 1, only=["orders"])
    assert found.as_run is not None
    assert found.as_run.verdict == "consistent"


def test_lines_repeat_what_a_text_names(tmp_path: Path) -> None:
    path = tmp_path / "own file.py"
    path.write_text(SAMPLER.replace("return x", "return x.mean(0, keepdim=True) + 0 * x"))
    found = audit(f"{path}:euler", 1, convention="k-diffusion", only=["batch"])
    assert found.findings[0].repeat == f"semilinear audit '{path}:euler' --only batch --as k-diffusion"
    assert audit(lambda run: run.x.mean(0), 1, only=["batch"]).findings[0].repeat == ""


def test_no_moment_is_asked_of_stages_nor_beyond_the_order() -> None:
    for name in ("lawson4-three-eighths", "lawson3-ssp"):
        found = audit(name, only=["diagnosis"]).json()
        assert found["diagnosis"] is not None
        assert "diagnosis:" not in markdown({"audits": [found]})


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        (lambda run: euler(run) + 1e-6 * run.x.abs(), "none of the known ones"),
        (
            lambda run: euler(run) + torch.randn(1, 1, 1, 1, dtype=torch.float64),
            "noise is drawn in the shape",
        ),
    ],
    ids=["small nonlinearity", "broadcast noise"],
)
def test_reasons_are_true(sampler: Any, says: str) -> None:
    assert any(says in m for m in messages(sampler, "linear"))


def test_a_state_of_zeros_and_an_empty_interval_are_linear() -> None:
    def sampler(run: Any) -> Any:
        empty = run.increment(run.times[0], run.times[0], run.x)
        return euler(run) + 0 * run.model(0 * run.x, run.times[0]) + 0 * empty

    assert messages(sampler, "linear") == []


def test_an_exception_of_two_arguments_is_told_as_it_is() -> None:
    class OddError(RuntimeError):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    def sampler(run: Any) -> Any:
        if int(run) == 1:
            raise OddError(1, 2)
        return euler(run)

    assert any("OddError: 1 and 2" in m for m in messages(sampler, "finite"))


def test_one_evaluation_more_differs_at_the_end() -> None:
    one = audit(euler, 1).subject.traced(20)
    more = audit(lambda run: euler(run) + 0 * run.model(run.x, run.times[-1]), 1).subject.traced(20)
    assert compare(one, more).first == 20


def test_times_that_are_nearly_right_are_wrong() -> None:
    def sampler(run: Any) -> Any:
        x = run.x
        for a, b in itertools.pairwise(float(t) for t in run.times):
            x = x + (b - a) * run.model(x, a * (1 + 9e-7))
        return x

    assert not compare(audit(euler, 1).subject.traced(20), audit(sampler, 1).subject.traced(20)).same


# --- refusals, commands, reports ---


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (3, {}, "target must be a name"),
        ("ddim", {"claimed": 0}, "claimed must be"),
        ("ddim", {"only": ["speed"]}, "only must be one of linear"),
        ("dimm", {}, "the nearest"),
        (noisy, {"convention": "julia"}, "convention must be one of"),
        (noisy, {"settings": {"order": 3}}, "order"),
    ],
)
def test_what_cannot_be_audited_is_refused(target: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        audit(target, **options)


def command(capsys: Any, *arguments: str) -> tuple[int, Any, str]:
    code = main([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


SAMPLER = """
def euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    for i in range(len(sigmas) - 1):
        d = (x - model(x, sigmas[i] * x.new_ones([x.shape[0]]))) / sigmas[i]
        x = x + d * (sigmas[i + 1] - sigmas[i])
    return x
"""


def test_the_command_audits_a_file_in_its_convention(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SAMPLER)
    arguments = ["audit", f"{path}:euler", "--as", "k-diffusion", "--only", "orders", "identity"]
    kept = ["--save", str(tmp_path / "plan.json"), "--out", str(tmp_path)]
    code, data, _ = command(capsys, *arguments, "--claimed", "1", *kept)
    (row,) = data["audits"]
    assert (code, data["failed"]) == (0, 0), row["findings"]
    assert set(row) >= {"target", "claimed", "as_run", "formula", "weak", "strong", "identified", "findings"}
    assert row["as_run"]["verdict"] == "consistent"
    assert row["identified"]["solver"] == "ddim"
    assert files.load(tmp_path / "plan.json").nfe == 20
    assert json.loads((tmp_path / "audit.json").read_text())["audits"] == data["audits"]
    assert (tmp_path / "audit.md").read_text() == markdown(data)
    refuted, data, _ = command(capsys, *arguments, "--claimed", "2")
    assert (refuted, data["audits"][0]["as_run"]["verdict"]) == (1, "lower")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "dimm"], "nearest"),
        (["audit", "ddim", "ddpm", "--save", "plan.json"], "--save: plan.json cannot be written to"),
        (["audit", "ddim", "--against", "/nowhere"], "--against: /nowhere must hold audit.json"),
        (["audit", "ddim", "--only", "speed"], "only must be one of"),
        (["audit", "ddim", "--as", "plain"], "--as is for FILE.py:function"),
        (["audit", "ddim", "--out", __file__], "--out must be a folder, got the file"),
        (["same", "ddim", "ddim", "--steps", "0"], "--steps must be"),
        (["same", "ddim", "dimm"], "nearest"),
    ],
)
def test_commands_refuse_what_is_none(capsys: Any, arguments: list[str], message: str) -> None:
    code, _, err = command(capsys, *arguments)
    assert code == 2
    assert message in json.loads(err)["error"]


def test_what_changed_between_two_versions_is_told_in_coefficients(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "old" / "plans").mkdir(parents=True)
    path = tmp_path / "own.py"
    path.write_text(SAMPLER + SAMPLER.replace("def euler", "def other"))
    names = [f"{path}:euler", f"{path}:other", "--as", "k-diffusion", "--only", "noise"]
    old = str(tmp_path / "old")
    command(capsys, "audit", *names, "--out", old, "--save", f"{old}/plans")
    path.write_text(
        path.read_text().replace("+ d * (sigmas[i + 1]", "+ d * (1 + (i == 3) * 1e-6) * (sigmas[i + 1]", 1)
    )
    code, data, _ = command(capsys, "audit", *names, "--against", old, "--out", str(tmp_path))
    changed = [row["changed"] for row in data["audits"]]
    assert code == 0
    assert [c["same"] for c in changed] == [False, True]
    assert changed[0]["first_row"] == 4  # the state that the fourth step makes
    report = json.loads((tmp_path / "audit.json").read_text())
    assert len(report["audits"]) == 3  # behind them, of the other version, what is not the same
    assert "**no**" in markdown(report)


def test_two_names_of_one_method_are_the_same_and_others_differ_at_a_row(capsys: Any) -> None:
    code, data, _ = command(capsys, "same", "deis-rhoab3", "lms-4")
    assert (code, data["same"], data["first_row"]) == (0, True, None)
    code, data, _ = command(capsys, "same", "dpm-solver++-3m-released", "dpm-solver++-3m-corrected")
    assert (code, data["same"], data["first_row"]) == (1, False, 3)
    assert data["what"].startswith("output ")


def test_text_and_json_say_the_same(capsys: Any) -> None:
    code = main(["audit", "ddim", "--only", "orders", "identity"])
    text = capsys.readouterr().out
    assert code == 0
    assert "ddim" in text
    assert "consistent" in text
    assert "identified" in text
    main(["same", "ddim", "dpm-solver-2m"])
    assert "they differ in 20 steps (sigma = 2 to 0.15) from evaluation 2 on" in capsys.readouterr().out


def test_checks_may_be_asked_for_one_by_one(capsys: Any) -> None:
    """And those alone are made: neither an order nor a solver is told that nobody asked for."""
    code, data, _ = command(capsys, "audit", "ddim", "--only", "nfe", "--only", "batch", "noise")
    (row,) = data["audits"]
    assert code == 0
    assert row["checks"] == {"nfe": "holds", "batch": "holds", "noise": "holds"}
    assert (row["as_run"], row["formula"], row["identified"]) == (None, None, None)


def test_a_package_that_is_missing_is_said_to_be_so_once() -> None:
    once = missing(ModuleNotFoundError("k_diffusion is not installed", name="k_diffusion"))
    assert once == "k_diffusion is not installed"
    other = missing(ModuleNotFoundError("No module named 'clip'", name="clip"))
    assert other == "clip is not installed: No module named 'clip'"


def test_every_check_is_one_that_the_documentation_names() -> None:
    text = (Path(__file__).parents[1] / "docs" / "audit.md").read_text()
    for check in (*CHECKS, "orders", "identity", "diagnosis"):
        assert f"| `{check}` |" in text


def test_one_target_shared_by_two_processes_is_the_same_row(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def clipped(run):\n    return run.x.clamp(-0.1, 0.1) * run.noise(run.x)\n")
    only = ("diagnosis", "linear", "orders", "batch", "identity")
    (alone,) = field.rows([f"{path}:clipped"], 1, only=only)
    (shared,) = field.rows([f"{path}:clipped"], 1, only=only, workers=2)
    assert shared == alone
    assert {f["check"] for f in shared["findings"]} >= {"linear"}
    assert list(shared) == list(alone)


def guided(run: Any) -> Any:
    """Two states a step in one call, and a claim that forgets one."""
    x = run.x
    for t, s in itertools.pairwise(run.times):
        first, second = run.model(torch.cat([x, 0.5 * x]), t).chunk(2)
        x = x + (s - t) * (0.75 * first + 0.25 * second)
    return x, int(run)


def test_stacked_states_are_evaluations_of_their_own() -> None:
    found = audit(guided, 1, only=("linear", "batch", "repeat", "nfe", "dtype", "half"))
    assert found.nfe == 40
    said = [f.message for f in found.findings if f.check != "half"]
    assert said == [
        "states are stacked: 20 calls of the model in 20 steps are 40 evaluations",
        "20 evaluations are claimed of a run with 20 steps, 40 are made",
    ]
    run = experiment("karras").run(4)
    guided(run)
    assert run.calls == 8


def test_what_drives_a_sampler_does_not_refuse_for_it() -> None:
    """A noise level that is none is the sampler's; noise may be added above the start."""

    def lost(model: Any, x: Any, sigmas: Any) -> Any:
        return model(x, (sigmas[:1] - sigmas[:1]) / 0)

    def churned(model: Any, x: Any, sigmas: Any) -> Any:
        return model(x + sigmas[0] * torch.randn_like(x), 1.4 * sigmas[:1])

    def uniform(model: Any, x: Any, sigmas: Any) -> Any:
        return torch.rand_like(x)

    def found(function: Any, *only: str) -> list[str]:
        target = of_function(function, convention="k-diffusion")
        return [f"{f.verdict}: {f.message}" for f in audit(target, 1, only=only).findings]

    assert found(lost, "finite")[0].startswith("failed: the model is asked at the noise level nan from sigma")
    assert found(churned, "finite") == []
    assert found(uniform, "repeat") == ["noted: it draws numbers that are not normal: rand_like"]


def test_runs_that_do_not_tend_to_the_law_are_told() -> None:
    def consistency(run: Any) -> Any:
        x = run.x
        for t, s in itertools.pairwise(float(t) for t in run.times):
            x = run.predict("x0")(x, t)
            x = x + s * run.noise(x)
        return x

    def said(sampler: Any) -> list[str]:
        made = audit(sampler, only=("orders",), profile=FAST_PROFILE)
        assert made.weak is not None
        return [f.message for f in made.said if "tend" in f.message]

    assert [m.partition(": off by ")[0] for m in said(consistency)] == ["runs do not tend to the exact law"]
    assert said(noisy) == []


# --- samplers that are wrong in one place ---


def skipping(run: Any) -> Any:
    """Heun's method, whose middle step is half of Euler's where the number of steps is odd."""
    x, n = run.x, int(run)
    for k, (a, b) in enumerate(itertools.pairwise(float(t) for t in run.times)):
        d = run.model(x, a)
        if n % 2 and k == n // 2:
            x = x + (b - a) / 2 * d
        else:
            x = x + (b - a) / 2 * (d + run.model(x + (b - a) * d, b))
    return x


def test_a_fault_in_the_middle_of_runs_with_odd_numbers_of_steps_is_seen() -> None:
    """Their ends are alike, and no number of the usual ladder is odd."""
    period, _ = Subject(of_function(skipping), counts=FAST_PROFILE.counts).residues
    assert period == 2
    assert Subject(of_function(two_step), counts=FAST_PROFILE.counts).residues[0] == 1


def noisy_odd(run: Any) -> Any:
    """`noisy`, but with half of the noise where the number of steps is odd."""
    x, model, share = run.x, run.predict("x0"), 0.5 if int(run) % 2 else 1.0
    for a, b in itertools.pairwise(float(t) for t in run.times):
        x = (b / a) ** 2 * x + (1 - (b / a) ** 2) * model(x, a)
        x = x + share * math.sqrt(b * b * (1 - (b / a) ** 2)) * run.increment(a, b, x)
    return x


def test_the_same_with_noise_is_seen_and_the_lowest_of_the_weak_orders_is_told() -> None:
    found = audit(noisy_odd, 1, only=["orders"], profile=FAST_PROFILE)
    assert found.subject.residues[0] == 2
    (said,) = [f.message for f in found.findings if "number of steps" in f.message]
    assert said.startswith("the weak order depends on the number of steps: ")
    assert not found.holds
    assert Subject(of_function(noisy), counts=FAST_PROFILE.counts).residues[0] == 1


@pytest.mark.parametrize("period", [1, 2, 3])
def test_errors_that_jump_with_a_period_are_even_with_that_period_alone(period: int) -> None:
    errors = {n: (3 if n % period else 1) / n**2 for n in range(8, 25)}
    assert [k for k in (1, 2, 3) if even(errors, k)] == [k for k in (1, 2, 3) if k % period == 0]


def late(run: Any, back: int = 1) -> Any:
    """The noise of a step is that which belongs to an earlier one."""
    x, model, times = run.x, run.predict("x0"), [float(t) for t in run.times]
    for k, (a, b) in enumerate(itertools.pairwise(times)):
        start = max(k - back, 0)
        x = (b / a) ** 2 * x + (1 - (b / a) ** 2) * model(x, a)
        x = x + math.sqrt(b * b * (1 - (b / a) ** 2)) * run.increment(times[start], times[start + 1], x)
    return x


def test_noise_of_another_interval_than_the_step_s_is_found() -> None:
    assert messages(lambda run: late(run, 0), "noise") == []
    (said,) = messages(late, "noise")
    assert "noise failed: between t = 1.79329 and 1.60516 it adds the noise" in said
    assert "asked for between 2 and 1.79329" in said


def altered(run: Any, time: float = 1.0, up: bool = False, kept: torch.dtype = torch.float64) -> Any:
    """Euler's method; time: of what the model is told, in the step's.  kept: what outputs pass through."""
    x, times = run.x, [float(t) for t in run.times]
    for a, b in itertools.pairwise(times[::-1] if up else times):
        x = x + (b - a) * run.model(x, a * time).to(kept).to(x.dtype)
    return x


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16])
def test_a_cast_to_half_precision_is_told(kept: torch.dtype) -> None:
    (said,) = messages(lambda run: altered(run, kept=kept), "linear")
    assert "outputs or noise are cast to half precision on the way" in said


def test_a_model_that_is_asked_at_no_time_is_the_sampler_s_fault() -> None:
    (said,) = messages(lambda run: altered(run, time=1000.0), "linear")
    assert (
        said
        == "linear failed: asks the model at a time that is none: t must lie in [0, 80] for edm, got 2000.0"
    )


def test_a_run_that_goes_the_other_way_is_told() -> None:
    first, *_ = messages(lambda run: altered(run, up=True), "times")
    assert first.startswith("times failed: the model is asked at t = 0.15 first and at 1.79329 last")
    assert messages(euler, "times") == []


def test_weights_that_do_not_add_up_fail_however_small_the_rest_of_the_error_is() -> None:
    (said,) = messages(lambda run: altered(run, time=0.999), "diagnosis")
    assert "diagnosis failed: the weights of most steps add up to 1.001" in said
    assert messages(euler, "diagnosis") == []


def test_every_check_that_is_asked_for_is_answered() -> None:
    """By a finding, or that it holds, or why it is not one of such a sampler."""
    stochastic = audit(noisy, 1, only=["half", "ends", "shipped", "batch"])
    assert stochastic.findings == ()
    none = "not asked: it draws noise, and no path is exact for it"
    assert stochastic.checks == {
        "half": none,
        "ends": none,
        "shipped": "not asked: no grid comes with it",
        "batch": "holds",
    }
    assert "not asked  half, ends: it draws noise" in str(stochastic)
    bent = audit(lambda run: run.x.clamp(-1, 1) + 0 * euler(run), only=["noise", "identity", "nfe"])
    assert bent.checks == {
        "noise": "inconclusive",
        "identity": "not asked: it cannot be read off",
        "nfe": "holds",
    }


def test_states_of_the_start_at_times_of_the_grid_may_be_exact() -> None:
    """The first corrected state is made of the start alone, and later steps use what was predicted there."""

    def corrected(run: Any) -> Any:
        x, model, times = run.x, run.predict("x0"), [float(t) for t in run.times]
        y = x
        for k, (a, b) in enumerate(itertools.pairwise(times)):
            d = model(y, a)
            if k:
                x = a / times[k - 1] * x + (1 - a / times[k - 1]) * d
            y = b / a * x + (1 - b / a) * d
        return y

    subject = Subject(of_function(corrected))
    steps = subject.steps(20)
    assert steps.cuts[:3] == (0, 2, 3)
    times = subject.grid("karras", 20)
    found = subject.formula(times).inputs
    assert all(near(t, node) for t, node in zip(found, times[:3], strict=True))


def edged(run: Any, low: float = 0.0, high: float = math.inf) -> Any:
    """Heun's method in sigma, Euler's at noise levels outside of an interval."""
    x = run.x
    for s, e in itertools.pairwise(float(t) for t in run.times):
        d = run.model(x, s)
        end = x + (e - s) * d
        x = x + (e - s) * (d + run.model(end, e)) / 2 if low < s < high else end
    return x


@pytest.mark.parametrize(("low", "high"), [(0.0, 5.0), (0.1, math.inf)])
def test_a_sampler_that_does_otherwise_at_other_noise_levels_is_not_the_solver(
    low: float, high: float
) -> None:
    """Orders are measured between sigma = 2 and 0.15, where it is."""

    def sampler(run: Any) -> Any:
        return edged(run, low, high)

    found = audit(sampler, claimed=2, only=["identity"]).identified
    assert found is not None
    assert (found.solver, found.same) == ("deis-rhork-2heun", False)
    assert "sigma = 80 to 0.002" in found.what
    whole = audit(edged, claimed=2, only=["identity"]).identified
    assert whole is not None
    assert whole.same
