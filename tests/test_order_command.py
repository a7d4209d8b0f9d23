"""`semilinear order`: what cannot be measured."""

from __future__ import annotations

from typing import Any

import pytest
from semilinear.verification.commands.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dpm-solver-v3-2m", "--param", "statistics=1"], "semilinear"),
        (["euler-ancestral", "--param", "s_noise=1e400"], "noise_scale must be a finite number"),
        (["score-sde-em-released"], "is not measured: its step is 1/N"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    capsys: Any, arguments: list[str], message: str
) -> None:
    assert main(["order", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
