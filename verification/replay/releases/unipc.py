"""wl-zhao/UniPC, rebuilt from a case's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semilinear.integrators.common.choices import Interpolated
from semilinear.integrators.solvers import unipc

from .dpm_solver import SPACINGS
from .rebuild import (
    Case,
    Family,
    Pairs,
    Record,
    initial,
    integer,
    look_up,
    mixture,
    noise_schedule,
    of,
    recorded,
    run_plan,
)

VARIANTS: dict[str, unipc.Variant] = {"bh1": "bh1", "bh2": "bh2", "vary_coeff": "vary-released"}
PREDICTIONS: dict[str, Interpolated] = {"noise_prediction": "noise", "data_prediction": "data"}


def _run_unipc(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options = case["options"]
    noise = noise_schedule(of(data, case, "noise_schedule"))
    model = mixture(of(data, case, "problem")).model(noise)
    solver = unipc.unipc(
        integer(options, "order"),
        look_up(VARIANTS, "variant_code", options["variant_code"]),
        look_up(PREDICTIONS, "prediction", options["prediction"]),
    )
    arguments = {
        "grid": look_up(SPACINGS, "spacing", options["spacing"]),
        "t_start": options["start_time"],
        "t_end": options["end_time"],
        "steps": integer(options, "steps"),
        "final": "released" if options.get("lower_order_final_flag", False) else "full",
        "denoise": bool(options.get("denoise_to_zero", False)),
    }
    name, final = run_plan(solver, noise, model, initial(case), record, case, arguments)
    return name, recorded(case, record, final)


UNIPC = Family(lambda options: "variant_code" in options, _run_unipc)
