"""The plugin of pytest, in a repository of its own: what passes, what fails and says so, pins, the table."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.verification.audit.audit import audit as audit_of
from semilinear.verification.audit.judgement import COLUMNS, Judgement
from semilinear.verification.audit.subject import FAST, FULL
from semilinear.verification.plugin import assertions, hooks, pins
from semilinear.verification.plugin.folder import FOLDER
from semilinear.verification.plugin.pins import Bound, Pin, PinError

from tests.roundings import SOME_ULP

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "pytest.md").read_text()
PLUGIN = "semilinear.verification.plugin.hooks"
QUIET = "filterwarnings = ignore:Module already imported:pytest.PytestAssertRewriteWarning"
SAMPLERS = '''
"""A folder that has the name of one of ours."""

def steps(model, x, sigmas, weight=lambda h, before: h / (2 * before), floor=0.0):
    old = None
    for i in range(len(sigmas) - 1):
        sigma, target = sigmas[i], sigmas[i + 1]
        data = mean = model(x, sigma.expand(len(x)))
        if old is not None and target > floor:
            h, before = (sigma / target).log(), (sigmas[i - 1] / sigma).log()
            mean = data + (data - old) * weight(h, before)
        x = target / sigma * x - (target / sigma - 1) * mean
        old = data
    return x

def right(model, x, sigmas):
    return steps(model, x, sigmas)

def wrong(model, x, sigmas):
    return steps(model, x, sigmas, lambda h, before: 1 / 3)

def slightly(model, x, sigmas):
    return steps(model, x, sigmas, lambda h, before: h / (2 * before) * (1 + 1e-7))

def nan(model, x, sigmas):
    return steps(model, x, sigmas, floor=-1.0)

def mixing(model, x, sigmas):
    return steps(lambda y, s: model(y, s) + 1e-3 * y.mean(), x, sigmas)

def coarse(model, x, sigmas):
    def rounded(h, before):
        found = h / (2 * before)
        return found.half().to(found.dtype) if found.element_size() == 4 else found
    return steps(model, x, sigmas, rounded)

def crashing(model, x, sigmas):
    raise RuntimeError("out of order")

def short(model, x, sigmas):
    if len(sigmas) < 4:
        raise ValueError("at least 3 steps")
    return steps(model, x, sigmas)
'''
AUDIT = 'audit(samplers.{name}, convention="k-diffusion")'


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Another's repository, in which the plugin is loaded once, whether it is installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        f"[pytest]\npythonpath = .\naddopts = -p {PLUGIN} -p no:cacheprovider --strict-markers\n{QUIET}"
    )
    write(pytester, "analysis/__init__.py", "")
    write(pytester, "analysis/samplers.py", SAMPLERS)
    return pytester


def write(pytester: pytest.Pytester, name: str, text: str) -> Path:
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mine(pytester: pytest.Pytester, *bodies: str, file: str = "tests/test_mine.py") -> Path:
    """A file of tests, one for each body."""
    made = [f"def test_{k}(audit):\n    {body}\n" for k, body in enumerate(bodies)]
    return write(pytester, file, "\n".join(["from analysis import samplers", *made]))


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*options)


def closing(result: pytest.RunResult) -> list[str]:
    """The lines below the heading."""
    lines = result.outlines
    starts = [k for k, line in enumerate(lines) if re.fullmatch(r"=+ semilinear =+", line)]
    if not starts:
        return []
    later = lines[starts[0] + 1 :]
    return later[: next(k for k, line in enumerate(later) if line.startswith("==") or " in " in line)]


# --- what holds, and what does not ---


def test_a_right_sampler_passes_and_is_in_the_table(repository: pytest.Pytester) -> None:
    right = AUDIT.format(name="right")
    mine(
        repository,
        f"{right}.assert_order(2)",
        f"{right}.assert_order(1)",
        f'{right}.assert_order(2, start="exact")',
        f'{right}.assert_same("dpm-solver++-2m", final="full")',
        f"{right}.assert_finite(range(1, 21))",
        f"{right}.assert_batch_independent()",
        f"{right}.assert_float32(1e-5)",
        f'{right}.assert_checks("repeat", "linear")',
    )
    result = run(repository, "--semilinear-fast", "-W", "error::RuntimeWarning")
    result.assert_outcomes(passed=8)
    head, *rows = closing(result)
    assert head.split() == list(COLUMNS)
    assert [row.split()[0] for row in rows] == ["right"] * 9
    assert [row.split()[-1] for row in rows] == [
        *("consistent", "higher", "consistent", "same", "holds", "holds", "holds", "holds", "holds")
    ]
    assert re.search(r"order as run +2 +\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] +consistent", rows[0])


WRONG = {
    "wrong.assert_order(2)": "wrong: claimed 2, observed order as run 1.0*: lower",
    'wrong.assert_order(2, start="exact")': "wrong: claimed 2, observed order of the formula *: lower",
    'wrong.assert_same("dpm-solver++-2m")': (
        "is not dpm-solver++-2m: in 14 steps the first row that differs is 2, evaluation 2 (t = 1.45763): "
        "output 1: 0.197* against 0.223*"
    ),
    'slightly.assert_same("dpm-solver++-2m")': "the first row that differs is 2*",
    'right.assert_same("dpm-solver++-2m", final="lower")': "the first row that differs is 14, the final *",
    'right.assert_same("dpm-solver-2")': "has no run of 14 steps, 14 evaluations and without noise",
    "nan.assert_finite([3, 5])": "finite: states are not finite from sigma = 80 to 0 in 3, 5 steps",
    "short.assert_finite([1, 2, 3])": "refuses runs from sigma = 80 to 0 in 1, 2 steps*at least 3 steps*",
    'short.assert_finite([2], ends=["sigma_min"])': "refuses runs from sigma = 80 to sigma_min in 2 steps*",
    "crashing.assert_finite([3])": "RuntimeError: out of order*",
    "mixing.assert_batch_independent()": "a sample in a batch of 3 and the same alone differ by *",
    "coarse.assert_float32(1e-5)": "in float32 coefficients are off by up to * with 20 steps, 1.0e-05 is *",
    "mixing.assert_float32(1e-5)": "cannot be read off as coefficients: *",
    'crashing.assert_pinned("a", ulp=1)': "crashing: raises RuntimeError: out of order",
    "crashing.assert_order(1)": "crashing: claimed 1, no order as run: *out of order*",
}


@pytest.mark.parametrize("assertion", WRONG)
def test_what_does_not_hold_fails_with_a_sentence(repository: pytest.Pytester, assertion: str) -> None:
    name, _, call = assertion.partition(".")
    mine(repository, f"{AUDIT.format(name=name)}.{call}")
    result = run(repository, "--semilinear-fast")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *AssertionError: {name}: *"])
    result.stdout.fnmatch_lines([f"*{WRONG[assertion].replace('[', '[[]')}*"])
    [_, row] = closing(result)
    assert row.split()[-1] in ("lower", "differs", "fails", "none")


def test_an_order_that_is_left_undecided_fails(repository: pytest.Pytester) -> None:
    mine(repository, 'audit("deis-tab3").assert_order(4, start="exact")')
    result = run(repository, "--semilinear-fast")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*claimed 4, observed order of the formula *: inconclusive (the slopes may*"]
    )


def test_a_sampler_with_noise_has_a_weak_order_and_no_formula(repository: pytest.Pytester) -> None:
    mine(
        repository,
        'audit("euler-ancestral").assert_order(1)',
        'audit("euler-ancestral").assert_order(3)',
        'audit("euler-ancestral").assert_order(1, start="exact")',
    )
    result = run(repository, "--semilinear-fast")
    result.assert_outcomes(passed=1, failed=2)
    rows = closing(result)[1:]
    assert [("weak order" in row, row.split()[-1]) for row in rows] == [
        *((True, "consistent"), (True, "lower"), (False, "none"))
    ]
    result.stdout.fnmatch_lines(["*no order of the formula: it draws noise*"])


ASKED_WRONGLY = {
    "assert_order(0)": "order must be a positive number, got 0",
    "assert_order()": "order must be given: nothing is claimed of right",
    'assert_order(2, start="late")': "start must be one of own, exact, got 'late'",
    'assert_same("nothing")': "*nothing*",
    'assert_same("ddim", final="first")': "final must be one of full, last, lower, got 'first'",
    "assert_finite([])": "steps must hold a step count, got none",
    "assert_finite([0])": "steps must be an integer >= 1, got 0",
    'assert_finite([1], ends="0")': "ends must be some of 0, sigma_min, sigma_min twice, got '0'",
    'assert_finite([1], ends=["1"])': "ends must be one of 0, sigma_min, sigma_min twice, got '1'",
    "assert_float32(0)": "bound must be a positive number, got 0",
    'assert_pinned("a")': "one of ulp and relative must be given, got None and None",
    'assert_pinned("a", ulp=1, relative=1)': "one of ulp and relative must be given, got 1 and 1",
    'assert_pinned("a", ulp=-1)': "ulp must be a non-negative number, got -1",
    'assert_pinned("../a", ulp=1)': "name must be of letters, digits and _ . + -, got '../a'",
    'assert_pinned("a", ulp=1, steps=0)': "steps must be an integer >= 1, got 0",
    'assert_checks("speed")': "names must be one of linear, *, got 'speed'",
}


@pytest.mark.parametrize("call", ASKED_WRONGLY)
def test_what_cannot_be_asked_is_named_before_any_run(call: str, tmp_path: Path) -> None:
    def right(run: Any) -> Any:
        raise AssertionError("nothing runs")

    rows: list[Judgement] = []
    subject = assertions.Audited(audit_of(right), rows.append, pins.Pins(tmp_path, "test_a.py::test_b"))
    name, _, arguments = call.removesuffix(")").partition("(")
    given = parsed(arguments)
    with pytest.raises(ValueError, match=re.escape(ASKED_WRONGLY[call]).replace(r"\*", ".*")):
        getattr(subject, name)(*given[0], **given[1])
    assert rows == []


def parsed(arguments: str) -> tuple[list[Any], dict[str, Any]]:
    """Literal arguments as they are written."""
    call = ast.parse(f"f({arguments})", mode="eval").body
    assert isinstance(call, ast.Call)
    return (
        [ast.literal_eval(a) for a in call.args],
        {str(k.arg): ast.literal_eval(k.value) for k in call.keywords},
    )


# --- the mark ---


def marked(pytester: pytest.Pytester, text: str) -> None:
    write(pytester, "tests/test_marked.py", f"import pytest\nfrom analysis import samplers\n{text}")


MARK = '@pytest.mark.semilinear(claimed=2, convention="k-diffusion"'


def test_the_mark_judges_what_is_returned_and_what_is_taken(repository: pytest.Pytester) -> None:
    marked(
        repository,
        f"""
{MARK}, checks=("batch",))
@pytest.mark.parametrize("name", ["right", "wrong", "mixing"])
def test_returned(name):
    return getattr(samplers, name)

@pytest.fixture
def sampler():
    return samplers.wrong

{MARK}, start="exact")
def test_taken(sampler):
    pass

@pytest.mark.xfail(strict=True)
{MARK})
def test_known(sampler):
    pass

@pytest.fixture
def mine():
    return samplers.right

{MARK})
def test_of_another_name(mine, tmp_path, monkeypatch):
    pass
""",
    )
    result = run(repository, "--semilinear-fast", "-W", "error::pytest.PytestReturnNotNoneWarning")
    result.assert_outcomes(passed=2, failed=3, xfailed=1)
    result.stdout.fnmatch_lines(["wrong: claimed 2, observed order as run *: lower"])
    result.stdout.fnmatch_lines(
        ["mixing: claimed 2, observed order as run *", "mixing: batch: a sample in a *"]
    )
    result.stdout.no_fnmatch_line("*hooks.py*")
    assert [row.split()[0] for row in closing(result)[1:]] == [
        *("right", "right", "wrong", "wrong", "mixing", "mixing", "wrong", "wrong", "right")
    ]


def test_a_marked_test_without_a_sampler_fails(repository: pytest.Pytester) -> None:
    marked(repository, f"{MARK})\ndef test_nothing():\n    pass\n")
    result = run(repository)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*must return a sampler, or take one, as `sampler` or as the one *; it takes none*"]
    )
    assert closing(result) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("2", "the mark semilinear takes claimed, start, checks, convention, settings, got 2"),
        ("order=2", "the mark semilinear takes claimed, start, checks, convention, settings, got order"),
        ('checks="batch"', "checks must be a tuple of names, got 'batch'"),
    ],
)
def test_a_mark_with_arguments_that_there_are_not_stops_the_run(
    repository: pytest.Pytester, arguments: str, message: str
) -> None:
    marked(repository, f"@pytest.mark.semilinear({arguments})\ndef test_it():\n    return samplers.right\n")
    result = run(repository)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_marked.py::test_it: {message}"])


def test_a_check_that_there_is_not_is_named_before_any_run(repository: pytest.Pytester) -> None:
    marked(repository, f'{MARK}, checks=("batch", "speed"))\ndef test_it():\n    return samplers.wrong\n')
    result = run(repository)
    result.stdout.fnmatch_lines(["*ValueError: checks must be one of linear, *, got 'speed'"])
    assert closing(result) == []


# --- pins ---

PINNED = f'{AUDIT.format(name="right")}.assert_pinned("right", ulp=4)'


def pin(pytester: pytest.Pytester, name: str = "right") -> Path:
    return pytester.path / "tests" / FOLDER / f"{name}.json"


@pytest.fixture
def pinned(repository: pytest.Pytester) -> pytest.Pytester:
    """The repository with one pin."""
    mine(repository, PINNED)
    run(repository, "--semilinear-update-new-only").assert_outcomes(passed=1)
    return repository


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_missing_pin_fails_and_is_written_where_it_is_asked_for(repository: pytest.Pytester) -> None:
    mine(repository, PINNED)
    result = run(repository)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no pin right: * is missing; --semilinear-update-new-only writes it"])
    assert not pin(repository).exists()
    result = run(repository, "--semilinear-update-new-only")
    result.assert_outcomes(passed=1)
    assert closing(result)[1].split()[-1] == "written"
    assert json.loads(pin(repository).read_text())["test"] == "test_mine.py::test_0"
    result = run(repository)
    result.assert_outcomes(passed=1)
    assert closing(result)[1].split()[-3:] == ["0", "ULP", "pinned"]


def test_a_changed_coefficient_fails_with_its_place(pinned: pytest.Pytester) -> None:
    before = json.loads(pin(pinned).read_text())["rows"]
    before[3][2] *= 1 + 1e-12
    edited(pin(pinned), rows=before)
    result = run(pinned)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*pin right: evaluation 3 (t = *), output 1: * ULP apart; 4 ULP is allowed (*"]
    )
    mine(pinned, PINNED.replace("ulp=4", "relative=1e-9"))
    run(pinned).assert_outcomes(passed=1)


def test_another_formula_changes_its_pin(pinned: pytest.Pytester) -> None:
    changed = SAMPLERS.replace("h / (2 * before), floor", "h / (2.0000001 * before), floor")
    assert changed != SAMPLERS
    write(pinned, "analysis/samplers.py", changed)
    result = run(pinned)
    result.assert_outcomes(failed=1)
    text = pin(pinned).read_text()
    run(pinned, "--semilinear-update-new-only").assert_outcomes(failed=1)
    assert pin(pinned).read_text() == text
    run(pinned, "--semilinear-update").assert_outcomes(passed=1)
    assert pin(pinned).read_text() != text
    run(pinned).assert_outcomes(passed=1)


def test_another_number_of_steps_is_another_run(pinned: pytest.Pytester) -> None:
    mine(pinned, PINNED.replace("ulp=4", "ulp=4, steps=6"))
    result = run(pinned)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*it makes 6 steps, 6 evaluations and 0 draws, and made 5 steps, 5 evaluations*"]
    )


def test_a_file_that_holds_no_pin_fails_and_is_rewritten(pinned: pytest.Pytester) -> None:
    pin(pinned).write_text("{")
    result = run(pinned)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*right.json: not JSON: *; --semilinear-update rewrites it"])
    run(pinned, "--semilinear-update").assert_outcomes(passed=1)
    run(pinned).assert_outcomes(passed=1)


def test_unused_pins_are_listed_of_files_that_ran_as_a_whole(pinned: pytest.Pytester) -> None:
    stale = pin(pinned, "stale")
    stale.write_text(pin(pinned).read_text())
    line = "unused pin: tests/semilinear-pins/stale.json (pinned by test_mine.py::test_0)"
    assert closing(run(pinned))[-1] == line
    assert line not in closing(run(pinned, "tests/test_mine.py::test_0"))
    mine(pinned, PINNED, "pass")
    assert closing(run(pinned))[-1] == line
    assert line not in closing(run(pinned, "-k", "test_0"))
    mine(pinned, PINNED, "assert False")
    assert line not in closing(run(pinned))
    mine(pinned, PINNED, '__import__("pytest").skip()')
    assert line not in closing(run(pinned))
    mine(pinned, "pass", file="tests/test_other.py")
    assert line not in closing(run(pinned, "tests/test_other.py"))
    edited(stale, test="test_gone.py::test_0")
    assert closing(run(pinned))[-1] == line.replace("test_mine", "test_gone")
    stale.write_text("[]")
    assert closing(run(pinned))[-1] == "unused pin: tests/semilinear-pins/stale.json (pinned by no test)"
    assert stale.exists()


def test_both_updates_at_once_are_refused(repository: pytest.Pytester) -> None:
    result = run(repository, "--semilinear-update", "--semilinear-update-new-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*exclude each other"])


def made(**changes: Any) -> Pin:
    found = Pin(
        "t.py::t", "s", "x0", (2.0, 1.0), (2.0, 1.0), ((2.0, 1.0),), ((1.0, 0.0, 0.0), (0.5, 0.1, 0.2))
    )
    return dataclasses.replace(found, **changes)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_a_pin_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    pin, path = made(rows=((1.0, 0.0, 0.0), tuple(numbers))), tmp_path_factory.getbasetemp() / "pin.json"
    path.write_text(pin.text)
    assert pins.read(path) == pin
    assert pins.change(pin, pin, Bound("ulp", 0)) == pins.Change(0.0, "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "semilinear-pin/2"}, "schema must be one of semilinear-pin/1, got 'semilinear-pin/2'"),
        ({"more": 1}, "a pin must be an object with the keys schema, test, target"),
        ({"test": 1}, "test must be a text, got 1"),
        ({"grid": 1}, "grid must be a list, got 1"),
        ({"times": [True, 1]}, "times must be finite numbers, got True"),
        ({"rows": [[1, 2]]}, "rows must be 2 rows of 3 numbers"),
        ({"increments": [[math.inf]]}, "increments must be finite numbers, got inf"),
    ],
)
def test_a_file_that_is_no_pin_is_named_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(json.loads(made().text) | changes))
    with pytest.raises(PinError, match=rf"a\.json: {re.escape(message)}"):
        pins.read(path)


@pytest.mark.parametrize(
    ("bound", "number", "pinned", "difference"),
    [
        (Bound("ulp", 1), 1.0 + 2**-52, 1.0, 1.0),
        (Bound("ulp", 1), 1.0 - 2**-53, 1.0, 0.5),
        (Bound("ulp", 1), 5e-324, 0.0, 1.0),
        (Bound("ulp", 1), math.nan, 1.0, math.inf),
        (Bound("relative", 1), 1.5, 1.0, 0.5),
        (Bound("relative", 1), 1.0, 0.0, math.inf),
        (Bound("relative", 1), 0.0, 0.0, 0.0),
    ],
)
def test_a_difference_is_in_its_unit(bound: Bound, number: float, pinned: float, difference: float) -> None:
    assert bound.differences([number], [pinned])[0] == difference


def test_a_change_names_the_largest_difference_of_the_first_row_above_the_bound() -> None:
    rows = ((1.0, 1e-9, 0.0), (0.5, 0.1 + 1e-9, 0.3))
    found = pins.change(made(rows=rows), made(), Bound("relative", 1e-12))
    assert found.worst == pytest.approx(0.2, rel=SOME_ULP, abs=0)
    assert found.what == "evaluation 0 (t = 2), output 0: 1e-09, pinned 0.0, 1.0e-09 relative apart"
    noise = pins.change(made(rows=rows), made(), Bound("relative", 1e-6))
    assert noise.what == "the final state (t = 1), increment 0: 0.3, pinned 0.2, 2.0e-01 relative apart"
    other = pins.change(made(prediction="eps"), made(), Bound("ulp", 1))
    assert other == pins.Change(math.inf, "it asks for eps and asked for x0")
    grid = pins.change(made(grid=(2.5, 1.0)), made(), Bound("ulp", 1))
    assert grid.what.startswith("the grid, entry 0: 2.5, pinned 2.0")


# --- the run as a whole ---


def test_nothing_is_printed_where_nothing_was_audited(
    repository: pytest.Pytester,
) -> None:
    mine(repository, "pass")
    result = run(repository)
    result.assert_outcomes(passed=1)
    assert closing(result) == []
    result.stdout.no_fnmatch_line("*semilinear*")


ROW = """
import pytest

@pytest.fixture(autouse=True)
def row(request):
    text = '{"target": "<b>&", "of": "a", "claimed": "", "measured": "", "verdict": "v", "passed": true}'
    request.node.user_properties.append(("semilinear", text))
"""


def test_the_page_is_escaped(repository: pytest.Pytester) -> None:
    mine(repository, f"{AUDIT.format(name='nan')}.assert_finite([2])")
    write(repository, "tests/conftest.py", ROW)
    result = run(repository, "--semilinear-html", "out/page.html")
    result.assert_outcomes(failed=1)
    text = (repository.path / "out" / "page.html").read_text()
    assert "<td>&lt;b&gt;&amp;</td>" in text
    assert "<b>" not in text
    assert "2 judgements, 1 of them failed." in text
    assert '<tr class="failed"><td>nan</td><td>finite</td>' in text
    assert "http" not in text


@pytest.mark.parametrize("file", ["", "."])
def test_a_page_that_is_no_file_is_refused(repository: pytest.Pytester, file: str) -> None:
    result = run(repository, f"--semilinear-html={file}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--semilinear-html must name a file, got '{file}'"])


def test_a_run_that_audits_nothing_imports_nothing_that_computes(repository: pytest.Pytester) -> None:
    heavy = ("torch", "sympy", "numpy", "scipy", "mpmath", "semilinear.integrators", "semilinear.analysis")
    write(
        repository,
        "test_light.py",
        f"import sys\ndef test_light():\n    assert not set({heavy}) & sys.modules.keys()\n"
        f"    assert {PLUGIN!r} in sys.modules\n",
    )
    repository.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.slow  # three pytests, two of them with workers that import everything
def test_workers_of_xdist_send_rows_pins_and_what_they_deselect(pinned: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pin(pinned, "stale").write_text(pin(pinned).read_text())
    mine(pinned, PINNED, "pass")
    mine(pinned, f"{AUDIT.format(name='nan')}.assert_finite([2])", file="tests/test_other.py")
    spread = ("-p", "xdist.plugin", "-n1")
    both = pinned.runpytest_subprocess(*spread)
    both.assert_outcomes(passed=2, failed=1)
    assert [line.split()[0] for line in closing(both)[1:]] == ["right", "nan", "unused"]
    part = pinned.runpytest_subprocess(*spread, "-k", "test_1")
    part.assert_outcomes(passed=1)
    assert closing(part) == []


def test_the_entry_point_is_the_plugin() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert (
        data["project"]["entry-points"]["pytest11"]
        == {"semilinear": PLUGIN}
        == {"semilinear": hooks.__name__}
    )


# --- the document ---


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_document_shows_what_is_printed(repository: pytest.Pytester) -> None:
    for block in blocks("python"):
        name = block.partition("\n")[0].removeprefix("# ")
        write(repository, name, block)
    run(repository, "-k", "numbers", "--semilinear-update-new-only").assert_outcomes(passed=1)
    result = run(repository, "tests/test_samplers.py")
    result.assert_outcomes(passed=7)
    ending, failing = blocks("text")
    assert closing(result) == ending.splitlines()
    run(repository, "tests/test_marked.py", "--semilinear-fast").assert_outcomes(passed=2)
    wrong = re.search(r"With `(mean = [^`]*)`", DOCUMENT)
    sampler = repository.path / "mine" / "samplers.py"
    right = "mean = data + (data - old) * h / (2 * before)"
    assert wrong is not None
    assert right in sampler.read_text()
    sampler.write_text(sampler.read_text().replace(right, wrong.group(1)))
    result = run(repository, "tests/test_samplers.py", "-k", "as_it_is_run")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{failing.strip().replace('[', '[[]')}"])


def test_the_document_names_all_assertions_options_and_keys(repository: pytest.Pytester) -> None:
    asserted = {name for name in dir(assertions.Audited) if name.startswith("assert_")}
    assert set(re.findall(r"^\| `(assert_\w+)\(", DOCUMENT, re.MULTILINE)) == asserted
    options = set(re.findall(r"^\| `(--semilinear[\w-]*)", DOCUMENT, re.MULTILINE))
    assert set(re.findall(r"(--semilinear[\w-]*)", run(repository, "--help").stdout.str())) == options
    run(repository, "--markers").stdout.fnmatch_lines(["@pytest.mark.semilinear(claimed=*"])


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver-2"])
def test_the_fast_profile_decides_what_is_plain(name: str) -> None:
    found = audit_of(name, profile=FAST)
    assert found.as_run is not None
    assert found.formula is not None
    assert (found.as_run.verdict, found.formula.verdict) == ("consistent", "consistent")
    higher = found.claiming(3).as_run
    assert higher is not None
    assert higher.verdict == "lower"


def test_the_document_says_what_the_profiles_run() -> None:
    assert (FAST.ladder[-1], len(FAST.grids), FULL.ladder[-1], len(FULL.grids)) == (64, 1, 192, 2)
    assert "up to 64 steps on one grid in place of 192 on two" in DOCUMENT
