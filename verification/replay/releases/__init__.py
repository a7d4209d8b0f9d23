"""The releases whose golden files can be replayed: from a case's options to the family that rebuilds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .deis import DEIS
from .dpm_solver import DPM_SOLVER
from .dpm_solver_v3 import DPM_SOLVER_V3
from .er_sde import ER_SDE
from .rebuild import Family, GoldenError
from .scire import SCIRE
from .score_sde import SCORE_SDE
from .unipc import UNIPC

FAMILIES = (DPM_SOLVER, DPM_SOLVER_V3, DEIS, SCIRE, ER_SDE, UNIPC, SCORE_SDE)


def family(options: Mapping[str, Any]) -> Family:
    """The family whose options these are.  Raises GoldenError when it is none's."""
    for candidate in FAMILIES:
        if candidate.recognises(options):
            return candidate
    raise GoldenError(f"no solver here is built from options with the keys {', '.join(options)}")
