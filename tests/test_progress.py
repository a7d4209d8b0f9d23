"""What a study tells while it runs."""

from __future__ import annotations

from typing import Any

import pytest
from semilinear.integrators.solvers import make
from semilinear.verification.problems.named import problem
from semilinear.verification.studies import coupled
from semilinear.verification.studies import flow as study
from semilinear.verification.studies import gaussian as stochastic
from semilinear.verification.studies.progress import counted


def test_what_is_done_is_told_once_the_next_is_asked_for() -> None:
    told: list[tuple[int, int]] = []
    items = counted("ab", lambda *count: told.append(count))
    assert next(items) == "a"
    assert told == []
    assert list(items) == ["b"]
    assert told == [(1, 2), (2, 2)]


LADDER = (4, 6, 8, 12)


def experiments() -> Any:
    """A study of each kind and how many runs it makes."""
    flow = study.Experiment(problem("gaussian"), batch=2, ladder=LADDER)
    on_paths = coupled.CoupledExperiment(problem("mixture-1d"), paths=128, ladder=LADDER)
    yield study.run, "ddim", flow, 4
    yield stochastic.study, "seeds-1", stochastic.StochasticExperiment(ladder=LADDER), 4
    yield coupled.study, "seeds-1", on_paths, 6


@pytest.mark.parametrize(("measure", "name", "experiment", "runs"), list(experiments()))
def test_a_study_tells_every_run(measure: Any, name: str, experiment: Any, runs: int) -> None:
    told: list[tuple[int, int]] = []
    measure(make(name), experiment, progress=lambda *count: told.append(count))
    assert told == [(done, runs) for done in range(1, runs + 1)]
