"""The plugin as pytest sees it: the fixture `audit`, the mark `semilinear`, options and the closing table.

It is loaded in every run of pytest where this package is installed: what computes is imported when a test
asks for it.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..audit.judgement import Judgement
from .folder import unused
from .table import lines, page

if TYPE_CHECKING:
    from .assertions import Audited

PROPERTY = "semilinear"
"""Of a report: a row, as JSON text."""
DESELECTED = "semilinear-deselected"
MARK = "semilinear(claimed=.., start='own'|'exact', checks=(..), convention=.., settings={..})"
KEYS = ("claimed", "start", "checks", "convention", "settings")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("semilinear", "audits of samplers")
    group.addoption(
        "--semilinear-fast",
        action="store_true",
        help="run few steps on one grid: under 2 s a sampler, and more is left undecided",
    )
    group.addoption("--semilinear-html", metavar="FILE", help="write the closing table as a page of HTML")
    group.addoption(
        "--semilinear-update", action="store_true", help="write the numbers that tests pin, all of them"
    )
    group.addoption(
        "--semilinear-update-new-only", action="store_true", help="write those that are not pinned yet"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and what gathers the rows."""
    config.addinivalue_line(
        "markers", f"{MARK}: audit the sampler that the test returns, or that it takes from a fixture"
    )
    if config.getoption("semilinear_update") and config.getoption("semilinear_update_new_only"):
        raise pytest.UsageError("--semilinear-update and --semilinear-update-new-only exclude each other")
    file = config.getoption("semilinear_html")
    if file is not None and (not file or Path(file).is_dir()):
        raise pytest.UsageError(f"--semilinear-html must name a file, got {file!r}")
    config.pluginmanager.register(Summary(config), "semilinear-summary")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse marks with arguments that there are not, or where nothing would be judged, before any test
    runs.
    """
    for item in items:
        mark = item.get_closest_marker("semilinear")
        if mark is None:
            continue
        if not isinstance(item, pytest.Function) or issubclass(item.cls or object, unittest.TestCase):
            raise pytest.UsageError(
                f"{item.nodeid}: the mark semilinear is for functions, and methods of pytest"
            )
        wrong = [*map(repr, mark.args), *(key for key in mark.kwargs if key not in KEYS)]
        if wrong:
            allowed = ", ".join(KEYS)
            raise pytest.UsageError(
                f"{item.nodeid}: the mark semilinear takes {allowed}, got {', '.join(wrong)}"
            )
        checks = mark.kwargs.get("checks", ())
        if not isinstance(checks, tuple | list):
            raise pytest.UsageError(f"{item.nodeid}: checks must be a tuple of names, got {checks!r}")


@pytest.fixture
def audit(request: pytest.FixtureRequest) -> Callable[..., Audited]:
    """Audit a sampler: `audit(sampler, claimed, convention=.., settings=..)` has the assertions.

    The sampler is a function of a run, one of another convention, a text that names a target, or a `Target`.
    """
    return functools.partial(_audited, request.node)


def _audited(
    item: pytest.Item,
    target: Any,
    claimed: float | None = None,
    *,
    convention: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Audited:
    from semilinear.verification.audit.audit import audit
    from semilinear.verification.audit.subject import FAST, FULL

    from .assertions import Audited
    from .pins import Pins

    option = item.config.getoption
    found = audit(
        target,
        claimed,
        convention=convention,
        settings=None if settings is None else dict(settings),
        profile=FAST if option("semilinear_fast") else FULL,
    )
    update = "all" if option("semilinear_update") else "new" if option("semilinear_update_new_only") else "no"
    test = "::".join([item.path.name, *item.nodeid.split("::")[1:]])
    pins = Pins(item.path.parent, test, update)  # type: ignore[arg-type]
    return Audited(found, lambda judged: item.user_properties.append((PROPERTY, judged.json())), pins)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Judge what a marked test returns, or the sampler that it takes."""
    mark = pyfuncitem.get_closest_marker("semilinear")
    if mark is None:
        return (yield)
    function, returned = pyfuncitem.obj, []

    @functools.wraps(function)
    def keeping(**given: Any) -> None:
        returned.append(function(**given))

    pyfuncitem.obj = keeping
    try:
        result = yield
    finally:
        pyfuncitem.obj = function
    sampler = next((found for found in returned if found is not None), None)
    if sampler is None:
        taken = _taken(pyfuncitem)
        if len(taken) != 1:
            got = ", ".join(taken) or "none"
            pytest.fail(
                "a test with the mark semilinear must return a sampler, or take one, as `sampler` or as the "
                f"one fixture that is a function; it takes {got}",
                pytrace=False,
            )
        (sampler,) = taken.values()
    failed = list(_failures(pyfuncitem, sampler, **mark.kwargs))
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
    return result


def _taken(item: pytest.Function) -> dict[str, Any]:
    """The samplers that a test takes: `sampler`, else those of its own arguments that are functions, but for
    what pytest and this plugin give.
    """
    if item.funcargs.get("sampler") is not None:
        return {"sampler": item.funcargs["sampler"]}
    own = inspect.signature(item.function).parameters
    given = {name: item.funcargs[name] for name in own if name in item.funcargs}
    return {
        name: value
        for name, value in given.items()
        if callable(value) and name != "audit" and not type(value).__module__.startswith("_pytest")
    }


def _failures(
    item: pytest.Item,
    sampler: Any,
    claimed: float | None = None,
    start: str = "own",
    checks: Sequence[str] = (),
    **options: Any,
) -> Generator[str]:
    """The sentences of what does not hold: the order, where one is claimed or nothing else is asked, and the
    checks.
    """
    from semilinear.integrators.common.checks import one_of
    from semilinear.verification.audit.checks import CHECKS

    for name in checks:
        one_of("checks", name, tuple(CHECKS))
    audited = _audited(item, sampler, claimed, **options)
    if audited.claimed is not None or not checks:
        try:
            audited.assert_order(start=start)
        except AssertionError as error:
            yield str(error)
    for name in checks:
        try:
            audited.assert_checks(name)
        except AssertionError as error:
            yield str(error)


class Summary:
    """What a run of pytest audited, gathered from the reports of its tests, of this process or of others."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.rows: dict[str, list[Judgement]] = {}
        self.unused: list[str] = []
        self._sound: dict[str, bool] = {}
        self._deselected: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the rows of a test when it is over."""
        module = _module(report.nodeid)
        self._sound[module] = self._sound.get(module, True) and report.passed
        if report.when == "teardown":
            found = [
                Judgement.of_json(str(value)) for name, value in report.user_properties if name == PROPERTY
            ]
            if found:
                self.rows[report.nodeid] = found

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember which files are not run as a whole."""
        self._deselected |= {_module(item.nodeid) for item in items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """Take over what a worker of pytest-xdist deselected."""
        self._deselected |= set(getattr(node, "workeroutput", {}).get(DESELECTED, ()))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look for pins that no test used, and write the page."""
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[DESELECTED] = sorted(self._deselected)
            return
        if not (session.shouldstop or session.shouldfail):
            self.unused = list(self._unused())
        if file := self.config.getoption("semilinear_html"):
            from semilinear.integrators.common.files import write_atomically

            write_atomically(self.config.invocation_params.dir / file, page(self.rows, self.unused))

    def _unused(self) -> Generator[str]:
        root = self.config.rootpath
        single = {argument.partition("::")[0] for argument in self.config.args if "::" in argument}
        partly = {(self.config.invocation_params.dir / name).resolve() for name in single}
        whole = {
            (root / name).resolve()
            for name, sound in self._sound.items()
            if sound and name not in self._deselected
        } - partly
        used = {Path(row.pin) for found in self.rows.values() for row in found if row.pin}
        for path, test in unused(whole, used):
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            yield f"{shown} (pinned by {test})"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, where there is one."""
        table = list(lines([row for found in self.rows.values() for row in found]))
        if not table and not self.unused:
            return
        terminalreporter.write_sep("=", "semilinear")
        for line, passed in table:
            terminalreporter.write_line(line, red=not passed)
        for line in self.unused:
            terminalreporter.write_line(f"unused pin: {line}", yellow=True)


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0]
