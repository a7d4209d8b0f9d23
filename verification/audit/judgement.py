"""A judgement: what an assertion found, as a row of a table.

Imports nothing that is not in Python: the plugin is loaded in every run of pytest.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

COLUMNS = ("target", "of", "claimed", "measured", "verdict")


@dataclass(frozen=True)
class Judgement:
    """What was asserted of a target.

    target: the sampler.  of: what was judged.  claimed, measured, verdict: as they are shown.  passed:
    whether the assertion holds.  pin: the file of the numbers that it was held against, "" where there is
    none.
    """

    target: str
    of: str
    claimed: str
    measured: str
    verdict: str
    passed: bool
    pin: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """By `COLUMNS`."""
        return self.target, self.of, self.claimed, self.measured, self.verdict

    def json(self) -> str:
        """As text, in which it travels between the processes of a run."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(text: str) -> Judgement:
        """The judgement that `json` wrote."""
        return Judgement(**json.loads(text))
