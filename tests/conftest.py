"""Shared settings: hypothesis profiles and one thread per test process."""

from __future__ import annotations

import os
from typing import Any

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
