"""Shared settings: hypothesis profiles, one thread per test process, modules that are compiled once."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# The commands that tests start import the same modules again and again: what is compiled is kept, and what
# was installed compiled is read as it is.
sys.dont_write_bytecode = False
os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "OMP_NUM_THREADS": "1"}
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
