from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.verification.claims.expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS, unmeasured
from semilinear.verification.commands import terminal
from semilinear.verification.commands.cli import main
from semilinear.verification.commands.listing import said
from semilinear.verification.problems.named import PROBLEMS
from semilinear.verification.replay.golden import DATA
from semilinear.verification.reporting.orders import markdown
from semilinear.verification.targets.named import target

from tests.roundings import SLOPE

CHEAP = ["--batch", "4", "--max-steps", "64"]
SHORT = ["--batch", "8", "--max-steps", "96"]
"""Enough to decide between orders 2 and 3."""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_list_names_every_solver(capsys: Any) -> None:
    code, out, _ = run(capsys, "list", "--json")
    assert gc.isenabled()
    rows = json.loads(out)["solvers"]
    assert code == 0
    assert [r["solver"] for r in rows] == list(SOLVERS)
    assert all(r["claimed"] >= 1 and r["source"] and r["form"] and r["paper"] for r in rows)
    assert "dpm-solver++-2m" in run(capsys, "list")[1]


@pytest.mark.parametrize(("of", "key"), [("solvers", "solver"), ("schedules", "schedule"), ("grids", "grid")])
def test_what_is_listed_can_be_asked_for(capsys: Any, of: str, key: str) -> None:
    rows = json.loads(run(capsys, "list", "--of", of, "--json")[1])[of]
    given = {"solvers": ["order", "{}:none-such=1"]}.get(of, ["order", "ddim", f"--{key}", "{}:none-such=1"])
    for row in rows:
        assert row["parameters"].keys() >= row["values"].keys() | row["parts"].keys()
        code, _, err = run(capsys, *(part.format(row[key]) for part in given))
        assert code == 2  # the name is known, the parameter is not
        assert "must be KEY=VALUE, got 'none-such=1'" in err
    printed = run(capsys, "list", "--of", of)[1]
    assert all(row[key] in printed for row in rows)


def test_problems_are_listed(capsys: Any) -> None:
    data = json.loads(run(capsys, "list", "--of", "problems", "--json")[1])
    assert {row["problem"] for row in data["problems"]} == PROBLEMS.keys()
    assert "gradient-3d" in run(capsys, "list", "--of", "problems")[1]


def test_what_is_listed_is_what_solvers_say() -> None:
    """Of the catalogue's too, which are listed without being built."""
    schedule = vp_linear()
    for name in SOLVERS:
        made = make(name)
        assert said(name) == {
            "paper": made.paper,
            "form": made.form(schedule).name,
            "claimed": made.claimed,
            "stochastic": made.stochastic,
            "source": made.source,
        }, name


def test_the_texts_that_were_asked_for_are_kept(capsys: Any) -> None:
    solver, schedule, grid = "dpm-solver-2:r1=1/3", "discrete:betas=linear,n=1000", "rho:power=5"
    code, out, _ = run(
        capsys, "order", solver, "--schedule", schedule, "--grid", grid, *CHEAP, "--claimed", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["asked"] == {"solver": solver, "schedule": schedule, "grid": grid}


def test_both_ways_of_giving_a_parameter_are_one(capsys: Any) -> None:
    found = [
        json.loads(run(capsys, "order", *solver, *CHEAP, "--json")[1])["points"]
        for solver in (["dpm-solver-2:r1=1/3"], ["dpm-solver-2", "--param", "r1=1/3"], ["dpm-solver-2"])
    ]
    assert found[0] == found[1] != found[2]


HEAVY = {"torch", "sympy", "numpy", "scipy"}


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], HEAVY),
        (["order", "--help"], HEAVY),
        (["orders"], HEAVY),
        (
            [
                *("order", "dpm-solver++2m", ";", "order", "ddim", "--schedule", "vp", ";"),
                *("list", "--of", "grids", ";", "list"),
            ],
            {"torch", "rich.progress", "concurrent.futures"},
        ),
    ],
)
def test_help_and_refusals_import_no_more_than_they_need(arguments: list[str], unused: set[str]) -> None:
    """A semicolon is between commands of one process, which import together what each imports."""
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from semilinear.verification.commands.cli import main;"
        "[main(command.split()) for command in ' '.join(sys.argv[1:]).split(';')]"
    )
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    modules = result.stderr.splitlines()[-1].split()
    assert "semilinear.verification.commands.cli" in modules
    assert not unused & set(modules)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_commands_options_and_names(capsys: Any, shell: str) -> None:
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    words = (
        "order",
        "max-steps",
        "er-sde-2-corrected",
        "krogstad4",
        "rectified-flow",
        "karras",
        "mixture-1d",
    )
    assert [word for word in words if word not in out] == []
    assert json.loads(run(capsys, "completion", shell, "--json")[1])["script"] == out.removesuffix("\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("compl", "completion"),
        ("order er-sde-2-c", "er-sde-2-corrected"),
        ("order ddim --sch", "--schedule"),
        ("order ddim --schedule rect", "rectified-flow"),
        ("prove krog", "krogstad4"),
        ("list --of gr", "grids"),
    ],
)
def test_bash_completes(capsys: Any, tmp_path: Path, typed: str, completed: str) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(run(capsys, "completion", "bash")[1])
    press_tab = (
        f"source {script}; COMP_WORDS=(semilinear {typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        '_shtab_semilinear; echo "${COMPREPLY[@]}"'
    )
    found = subprocess.run(["bash", "-c", press_tab], capture_output=True, text=True)
    assert found.stdout.split() == [completed]


def test_order_reports_the_keys_that_are_promised(capsys: Any) -> None:
    code, out, _ = run(capsys, "order", "dpm-solver++-2s", "--json")
    data = json.loads(out)
    assert code == 0
    assert {"solver", "claimed", "observed", "low", "high", "verdict", "points"} <= data.keys()
    assert data["verdict"] == "consistent"
    assert data["low"] <= 2 <= data["high"]
    assert all({"N", "NFE", "error"} <= p.keys() for p in data["points"])
    assert [p["NFE"] for p in data["points"]] == [2 * p["N"] for p in data["points"]]


def test_a_refuted_claim_is_exit_code_1(capsys: Any) -> None:
    code, out, _ = run(capsys, "order", "dpm-solver++-3m-released", "--start", "exact", *SHORT)
    assert code == 1
    assert "claimed 3" in out
    assert "lower" in out


def test_the_claim_can_be_given(capsys: Any) -> None:
    for claimed in ("2", "1"):  # at least 1: higher
        assert (
            run(capsys, "order", "dpm-solver++-3m-released", "--claimed", claimed, *SHORT, "--json")[0] == 0
        )


def test_an_inconclusive_measurement_is_exit_code_1(capsys: Any) -> None:
    code, out, _ = run(capsys, "order", "dpm-solver-3", "--batch", "2", "--max-steps", "12", "--json")
    assert code == 1
    assert json.loads(out)["verdict"] == "inconclusive"
    data = json.loads(out)
    assert "the interval is wide" in data["reason"]
    assert data["steps_needed"] > 12
    assert f"{data['steps_needed']} steps would tell" in data["reason"]


def test_order_in_multiprecision(capsys: Any) -> None:
    code, out, _ = run(
        capsys, "order", "dpm-solver-2", "--problem", "mixture-1d", "--digits", "30", "--batch", "2", "--json"
    )
    assert code == 0
    assert json.loads(out)["observed"] == pytest.approx(2, abs=1e-3)  # O(h), on the finest ladder


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots_are_written(capsys: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plot.{suffix}"
    run(capsys, "order", "ddim", *CHEAP, "--plot", str(path))
    assert path.stat().st_size > 5000
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_parameters_reach_the_solver(capsys: Any) -> None:
    """r2 = 0.8 makes DPM-Solver-3 second order."""
    code, out, _ = run(
        capsys, "order", "dpm-solver-3", "--param", "r1=2/5", "--param", "r2=4/5", *SHORT, "--json"
    )
    assert code == 1
    assert json.loads(out)["observed"] == pytest.approx(2, abs=SLOPE)


def test_replay_prints_a_line_per_case(capsys: Any) -> None:
    code, out, _ = run(capsys, "replay", str(DATA / "deis.json"))
    lines = out.strip().splitlines()
    assert code == 0
    assert len(lines) == 57
    assert "NFE ok" in lines[0]
    assert lines[-1] == "56 of 56 cases agree with the released code"


def test_replay_fails_on_a_wrong_case(capsys: Any, tmp_path: Path) -> None:
    data = json.loads((DATA / "deis.json").read_text())
    data["cases"] = data["cases"][:2]
    data["cases"][1]["x_final"][0][0] += 1e-6
    (tmp_path / "wrong.json").write_text(json.dumps(data))
    code, out, _ = run(capsys, "replay", str(tmp_path / "wrong.json"), "--json")
    result = json.loads(out)
    assert code == 1
    assert [c["ok"] for c in result["cases"]] == [True, False]
    assert result["cases"][1]["difference"] > 1e-10
    assert run(capsys, "replay", str(tmp_path / "wrong.json"))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["orders"], "got 'orders'; the nearest are order"),
        (["order"], "required: TARGET"),
        (["order", "dpm-solver++2m"], "nearest are"),
        (["order", "ddim", "--problem", "mixture"], "problem must be one of gaussian"),
        (["order", "ddim", "--schedule", "vp"], "--schedule must be"),
        (["order", "ddim", "--grid", "uniform"], "--grid must be"),
        (
            ["order", "ddim", "--schedule", "ve:sigma=2"],
            "parameters are: sigma_min=0.01, sigma_max=50.0; the",
        ),
        (["order", "ddim", "--schedule", "discrete"], "betas must be one of linear, scaled-linear, cosine"),
        (["order", "ddim", "--grid", "karras:power=0"], "--grid karras:power=0: power must be a positive"),
        (["order", "er-sde-2-corected:scale=sde-4"], "nearest are er-sde-2-corrected"),
        (["order", "er-sde-2-corrected:scale=sde"], "scale must be one of ode, reverse-sde, sde-1"),
        (["order", "dpm-solver-2:r1=1/2", "--param", "r1=1/3"], "a parameter once, got r1"),
        (
            ["order", "dpm-solver-2:r=1/2"],
            "its parameters are: r1=none, r2=none, abscissae=constant, low=false",
        ),
        (["list", "--of", "solver"], "--of must be one of solvers, schedules, grids, problems, got 'solver'"),
        (["completion", "cmd"], "shell must be one of bash, zsh, fish, got 'cmd'"),
        (["order", "ddim", "--start", "warm"], "--start must be one of own, exact"),
        (["order", "ddim", "--digits", "0"], "digits must be"),
        (["order", "ddim", "--digits", "x"], "--digits must be an integer"),
        (["order", "ddim", "--digits", "20", "--problem", "golden-mixture"], "exact flow"),
        (["order", "ddim", "--batch", "0"], "--batch must be"),
        (["order", "ddim", "--batch", "1000000000"], "--batch must be an integer from 1 to 1000000"),
        (["order", "ddim", "--digits", "9995"], "--digits must be an integer from 1 to 1000, got '9995'"),
        (["order", "seeds-1", "--digits", "9995"], "--digits must be an integer from 1 to 1000, got '9995'"),
        (["order", "ddim", "--residue", "1000", "0"], "residue must leave step counts from 1 to 512"),
        (["order", "dpm-solver-2", "--param", "r1=1/2", "--param", "r1=1/3"], "a parameter once, got r1"),
        (["order", "dpm-solver-2", "--param", "low=maybe"], "low must be true or false, got 'maybe'"),
        (["order", "ddim", "--plot", "/nonexistent/a.png"], "/nonexistent cannot be written to"),
        (["order", "ddim", "--max-steps", "3"], "--max-steps must be"),
        (["order", "ddim", "--lam-end", "-1"], "--lam-end must exceed"),
        (["order", "ddim", "--lam-start", "-50"], "lam must be reached"),
        (["order", "ddim", "--lam-start", "nan"], "must be a finite number"),
        (["order", "ddim", "--lam-end", "inf"], "must be a finite number"),
        (["order", "ddim", "--claimed", "nan"], "must be a finite number"),
        (["order", "ddim", "--claimed", "0"], "must be positive"),
        (["order", "ddim", "--plot", "x.doc"], "--plot must end in"),
        (["order", "ddim", "--plot", f"{__file__}/x.png"], "cannot be written to"),
        (["order", "ddim", "--param", "r1"], "KEY=VALUE"),
        (["order", "dpm-solver-3", "--param", "r1=2"], "r1 must be a number"),
        (["order", "sde-dpm-solver++-1", "--start", "exact"], "--start does not apply"),
        (["order", "sde-dpm-solver++-1", "--paths", "256"], "--paths does not apply"),
        (["order", "sde-dpm-solver++-1", "--batch", "3"], "--batch does not apply"),
        (["order", "sde-dpm-solver++-1", "--lam-end", "-1"], "--lam-end must exceed"),
        (["replay"], "required: FILE"),
        (["replay", "/nonexistent.json"], "No such file"),
        (["replay", __file__], "not JSON"),
        (["replay", "/"], "/ cannot be read: Is a directory"),
        (["verify", "--workers", "0"], "--workers must be"),
        (["verify", "--out", __file__], "--out must be a folder"),
        (["verify", "--out", f"{__file__}/reports"], "--out must be a folder, got the file"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys: Any, arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 2
    assert "error" in json.loads(err)


@given(
    st.lists(
        st.text(max_size=8)
        | st.sampled_from(["order", "list", "replay", "--json", "--digits", "ddim", "-1", "--param", "a=b"]),
        max_size=4,
    )
)
def test_arbitrary_arguments_never_crash(arguments: list[str]) -> None:
    if "verify" in arguments or ("order" in arguments and "ddim" in arguments):
        return
    try:
        code: Any = main(arguments)
    except SystemExit as stop:  # --help
        code = stop.code
    assert code in (0, 1, 2)


def test_every_measured_solver_has_one_expectation_per_budget_class() -> None:
    keys = [(e.solver, e.residue) for e in EXPECTATIONS]
    assert len(keys) == len(set(keys))
    stochastic = {e.solver for e in STOCHASTIC_EXPECTATIONS}
    assert {e.solver for e in EXPECTATIONS} | stochastic | set(unmeasured()) == set(SOLVERS)
    assert all(make(name).stochastic for name in stochastic | set(unmeasured()))
    assert all(unmeasured().values())  # each with its reason
    assert all(e.reason for e in EXPECTATIONS if e.own != e.build().claimed)


def test_the_installed_command_runs() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "semilinear.verification.commands.cli", "list", "--json"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert json.loads(result.stdout)["solvers"]


@pytest.mark.slow
def test_quick_verification_passes_and_writes_its_reports(capsys: Any, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "verify", "--quick", "--no-cache", "--out", str(tmp_path), "--json")
    data = json.loads(out)
    assert code == 0
    assert data["quick"] is True
    assert all(row["as_expected"] in (True, None) for row in data["rows"])
    assert all(c["ok"] for c in data["replay"])
    names = {p.name for p in tmp_path.iterdir()}
    assert {"orders.md", "orders.json"} <= names
    committed = {p.name for p in (Path(__file__).parents[1] / "reports").iterdir()}
    assert {"convergence-stochastic.png", "convergence-others.png"} <= names <= committed


def test_the_start_reaches_the_study(capsys: Any) -> None:
    codes = [
        main(["order", "dpm-solver++-3m-corrected", "--start", s, *SHORT, "--json"]) for s in ("own", "exact")
    ]
    assert codes == [1, 0]
    capsys.readouterr()


def test_a_stochastic_solver_has_a_weak_and_a_strong_order(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    code, out, _ = run(
        capsys, "order", "sde-dpm-solver-2m", "--max-steps", "64", "--plot", str(path), "--json"
    )
    data = json.loads(out)
    assert code == 0
    assert data["observed"] == pytest.approx(2, abs=SLOPE)
    assert data["strong"]["observed"] == pytest.approx(1, abs=SLOPE)
    assert set(data["studies"]) == {"mean", "variance", "strong"}
    assert data["points"][0]["N"] == data["points"][0]["NFE"] == 16  # fewer end lower
    assert path.stat().st_size > 5000


def test_the_claim_of_a_stochastic_solver_can_be_refuted(capsys: Any) -> None:
    code, out, _ = run(capsys, "order", "seeds-3", "--max-steps", "96")
    assert code == 1
    assert "claimed 3, observed weak order 2." in out
    assert ": lower; strong order 1.000" in out


def test_a_sampler_that_goes_back_to_noisier_times_has_no_strong_order(capsys: Any) -> None:
    code, out, _ = run(capsys, "order", "dpm++-2s-ancestral", "--max-steps", "96")
    assert code == 0
    assert "marginals" in out
    assert "strong order: none" in out


def test_defaults_in_multiprecision_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    from semilinear.verification.commands.order_setting import experiment_of

    def take(options: Any) -> int:
        asked.append(options)
        return 0

    ddim, asked = target("ddim"), list[Any]()
    monkeypatch.setattr("semilinear.verification.commands.order.run", take)
    for extra, batch, top in (([], 64, 512), (["--digits", "30"], 4, 128)):
        assert main(["order", "ddim", "--problem", "mixture-1d", *extra]) == 0
        e: Any = experiment_of(asked.pop(), ddim)
        assert (e.batch, e.ladder[-1], e.digits) == (batch, top, 30 if extra else None)


def test_an_interrupt_is_exit_code_130(capsys: Any, monkeypatch: Any) -> None:
    from semilinear.verification.commands import listing

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "run", interrupted)
    assert main(["list"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: None, 0),
        (lambda d: d["rows"][1].update(as_expected=None), 0),
        (lambda d: d["rows"][1].update(as_expected=False), 1),
        (lambda d: d["stochastic"][1].update(as_expected=None), 0),
        (lambda d: d["stochastic"][1].update(as_expected=False), 1),
        (lambda d: d["identities"][1].update(defects=["step 0"]), 1),
        (lambda d: d["replay"][1].update(ok=False), 1),
        (lambda d: d["proofs"]["solvers"][0].update(as_expected=False), 1),
        (lambda d: d["proofs"]["mutations"][0].update(disagreeing=1), 1),
    ],
)
def test_verify_fails_on_what_is_not_as_expected_not_proved_or_not_as_released(
    change: Any, code: int, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    """With the measurements replaced: what the exit code is made of."""
    from semilinear.verification.campaign import plan, records
    from semilinear.verification.campaign import prove as proofs
    from semilinear.verification.reporting import orders as report
    from semilinear.verification.reporting import proofs as proof_report

    reports = Path(__file__).parents[1] / "reports"
    data = json.loads((reports / "orders.json").read_text())
    data |= {key: data[key][:2] for key in ("rows", "stochastic", "identities", "replay")}
    data["proofs"] = json.loads((reports / "proofs.json").read_text())
    change(data)
    monkeypatch.setattr(plan, "tasks", lambda _: [])
    monkeypatch.setattr(records, "orders_json", lambda *_: data)
    monkeypatch.setattr(proofs, "proofs_json", lambda _: data["proofs"])
    for module in (report, proof_report):
        monkeypatch.setattr(module, "write", lambda *_: [])
    assert main(["verify", "--quick", "--no-cache", "--out", str(tmp_path)]) == code
    assert list(tmp_path.iterdir()) == []  # nothing but reports is written there
    capsys.readouterr()


def _without_seconds(text: str) -> str:
    return re.sub(r"; \d+ s", "", text)


def test_verify_tells_of_each_row_as_it_is_decided(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    from semilinear.verification.campaign import measure, plan, work
    from semilinear.verification.claims import identities
    from semilinear.verification.reporting import orders as report

    monkeypatch.setattr(identities, "IDENTITIES", identities.IDENTITIES[:1])  # all are proved in test_exact
    ddim = next(t for t in measure.tasks(True) if t.key.startswith("main: ddim"))
    monkeypatch.setattr(plan, "tasks", lambda _: [ddim, plan.ReplayTask("unipc.json")])
    monkeypatch.setattr(report, "write", lambda *_: [tmp_path / "orders.md"])
    # Of no row; test_work_campaign.py has some.
    monkeypatch.setattr(work, "work_json", lambda _: {"rows": []})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ("verify", "--quick", "--workers", "1", "--out", str(tmp_path))
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    kept = list((tmp_path / "semilinear" / "rows").rglob("*.json"))
    assert len(kept) == 2
    monkeypatch.setattr(measure.OrderTask, "run", None)  # a second run takes the rows that there are
    again = run(capsys, *arguments)
    assert (again[0], _without_seconds(again[1])) == (0, _without_seconds(out))
    assert re.search(r"main +ddim +claimed 1  observed 1\.0\d\d ± 0\.\d+  consistent  as expected", out)
    assert re.search(r"released code +unipc.json +(\d+) of \1 cases agree", out)
    assert "Of 1 claims on solvers of the probability flow 1 hold" in out


def test_verify_only_needs_a_name_that_is_there(capsys: Any, tmp_path: Path) -> None:
    for arguments, message in (
        (["--only", "nosuch"], "nothing is measured or proved of nosuch"),
        (["--only", "ddim", "--quick"], "--only goes into full reports"),
    ):
        code, _, err = run(capsys, "verify", *arguments, "--out", str(tmp_path))
        assert code == 2
        assert message in err


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    from semilinear.verification.reporting import orders as report

    data = json.loads((Path(__file__).parents[1] / "reports" / "orders.json").read_text())
    data["rows"] = [row for row in data["rows"] if row["solver"].startswith(("ddim", "unip"))]
    report.write(tmp_path, data)
    assert {p.name for p in tmp_path.glob("*.png")} >= {
        "convergence-unipc-multistep.png",
        "convergence-stochastic.png",
    }
    assert json.loads((tmp_path / "orders.json").read_text()) == data
    assert (tmp_path / "orders.md").read_text() == markdown(data)


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError()])
def test_every_refusal_is_json_where_json_is_asked_for(
    capsys: Any, monkeypatch: Any, error: Exception
) -> None:
    def fail(options: Any) -> int:
        raise error

    monkeypatch.setattr("semilinear.verification.commands.listing.run", fail)
    assert main(["list", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert list(json.loads(err)) == ["error"]


@pytest.mark.parametrize("value", ["1e400000000", "1e30000", "1/0"])
def test_a_parameter_too_large_to_be_one_is_refused_at_once(capsys: Any, value: str) -> None:
    assert main(["order", "dpm-solver-2", "--param", f"r1={value}"]) == 2
    assert f"r1 must be a number in (0, 1] or none, got '{value}'" in capsys.readouterr().err


def test_the_finest_run_on_coupled_paths_is_any_step_count(capsys: Any) -> None:
    arguments = ["--problem", "mixture-1d", "--paths", "128", "--max-steps", "16", "--json"]
    main(["order", "seeds-1", *arguments])
    points = json.loads(capsys.readouterr().out)["studies"]["weak"]["points"]
    assert [point["N"] for point in points] == [4, 6, 8, 12, 16]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(
            ["order", "seeds-1", "--problem", "mixture-1d", "--paths", "2048", "--grid", "t-quadratic"],
            "the interval is wide",
            marks=pytest.mark.slow,
        ),
        (
            ["order", "seeds-1", "--problem", "mixture-1d", "--paths", "128", "--max-steps", "8"],
            "usable point",
        ),
        (["order", "seeds-2", "--max-steps", "8"], "usable point"),
        (["order", "dpm-solver-3", "--max-steps", "12", "--batch", "4"], "the interval is wide"),
    ],
)
def test_an_inconclusive_verdict_has_a_reason(arguments: list[str], reason: str, capsys: Any) -> None:
    assert main([*arguments, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["verdict"] == "inconclusive"
    assert reason in data["reason"]
    assert main(arguments) == 1
    assert f"inconclusive ({data['reason']})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "most"),
    [(["ddim"], 4096), (["seeds-1"], 1536), (["seeds-1", "--problem", "mixture-1d"], 256)],
)
def test_more_steps_than_the_longest_ladder_are_refused(arguments: list[str], most: int, capsys: Any) -> None:
    assert main(["order", *arguments, "--max-steps", str(most + 1)]) == 2
    assert f"--max-steps must be from 8 to {most}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["list", "--of", "grids", "--json"]])
def test_a_reader_that_stops_reading_is_no_failure(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "semilinear.verification.commands.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "SECONDS", 0.0)
    assert run(capsys, "order", "ddim", *CHEAP)[2].startswith("running ddim: 1 of 9 after 0 s\n")
    with terminal.progress_bar("measuring orders") as progress:
        progress(3, 7)
    captured = capsys.readouterr()
    assert captured.err.startswith("measuring orders: 3 of 7 after ")
    assert not captured.out
    monkeypatch.setattr(terminal, "SECONDS", 3600.0)
    assert run(capsys, "order", "ddim", *CHEAP)[2] == ""
