"""Tasks over executors: the same rows wherever they are decided, whoever dies on the way."""

from __future__ import annotations

import os
import signal
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from semilinear.verification.campaign import executors, measure
from semilinear.verification.campaign.executors import check, opened
from semilinear.verification.campaign.prove import ProofTask
from semilinear.verification.campaign.runner import Named, Task, decide
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.commands.cli import main


@dataclass(frozen=True)
class Deadly(Named):
    """A task that kills its worker, so many times; every start is a line in a file."""

    folder: str
    times: int = 1
    part: ClassVar[str] = "deadly"

    def run(self) -> dict[str, Any]:
        log = Path(self.folder) / self.name
        with log.open("a") as stream:
            stream.write("begun\n")
        if len(log.read_text().splitlines()) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"name": self.name}


def some() -> list[Task]:
    """Proofs, and an order that is measured."""
    (ddim,) = (e for e in EXPECTATIONS if e.solver == "ddim")
    return [*map(ProofTask, EXPECTATIONS[:8]), measure.OrderTask(measure.MAIN, ddim, long=False)]


@pytest.mark.parametrize(
    ("where", "workers", "message"),
    [
        ("dask://", None, "must be processes, dask or dask://HOST:PORT"),
        ("dask://host", None, "must be processes, dask or dask://HOST:PORT"),
        ("dask://host:70000", None, "must be processes, dask or dask://HOST:PORT"),
        ("dask://host:1;rm", None, "must be processes, dask or dask://HOST:PORT"),
        ("threads", None, "must be processes, dask or dask://HOST:PORT"),
        ("dask://host:8786", 2, "are those of the cluster"),
        ("processes", 0, "workers must be an integer from 1 to 1024"),
    ],
)
def test_what_is_no_executor_is_refused(
    where: str, workers: int | None, message: str, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        check(where, workers)
    given = [] if workers is None else ["--workers", str(workers)]
    assert main(["verify", "--executor", where, *given, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_task_refuses_to_be_decided_by_other_code() -> None:
    from semilinear.verification.campaign.runner import run

    with pytest.raises(RuntimeError, match="holds other code"):
        run(some()[0], code="another")


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'semilinear\[dask\]'"), opened("dask"):
        pass


def test_a_pool_that_loses_a_worker_says_so(tmp_path: Path) -> None:
    with pytest.raises(BrokenExecutor), ProcessPoolExecutor(1) as pool:
        list(decide([Deadly("one", str(tmp_path))], pool))


# --- over a real cluster of this machine ---


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is an optional extra")
    monkeypatch.setattr(executors, "SECONDS", 1)
    with pytest.raises(ValueError, match="no scheduler answers there"), opened("dask://127.0.0.1:1"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_changes_no_row(workers: int, tmp_path: Path) -> None:
    """Nothing is lost, nothing counted twice, and every row is the one that this process decides."""
    pytest.importorskip("distributed", reason="Dask is an optional extra")
    deadly: list[Task] = [Deadly(name, str(tmp_path)) for name in ("a", "b")]
    tasks = [*some()[:4], *deadly, *some()[4:]]
    with opened("dask", workers) as cluster:
        found = list(decide(tasks, cluster))
    assert sorted(task.key for task, _ in found) == sorted(task.key for task in tasks)
    rows = dict(found)
    assert all((tmp_path / task.key).read_text().count("begun") >= 2 for task in deadly)
    assert [rows[task] for task in some()] == [task.run() for task in some()]
    assert [rows[task] for task in deadly] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.slow
def test_a_task_that_kills_every_worker_ends_the_run(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is an optional extra")
    with pytest.raises(BrokenExecutor, match="died"), opened("dask", 1) as cluster:
        list(decide([Deadly("always", str(tmp_path), times=99)], cluster))


@pytest.mark.slow
def test_the_workers_of_an_address_are_looked_at_before_any_work() -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is an optional extra")
    options = {"dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=0, **options) as cluster:
        where = cluster.scheduler_address.replace("tcp", "dask")
        with pytest.raises(ValueError, match="has no workers"), opened(where):
            pass
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
        where = cluster.scheduler_address.replace("tcp", "dask")
        with pytest.raises(ValueError, match="must have one thread"), opened(where):
            pass
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        where = cluster.scheduler_address.replace("tcp", "dask")
        with opened(where) as pool:
            assert len(list(decide(some()[:2], pool))) == 2
        assert len(cluster.scheduler_info["workers"]) == 1  # it goes on
