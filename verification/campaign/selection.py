"""Of which methods the report of proofs shows more than orders."""

from __future__ import annotations

SCHEMA = "semilinear-proofs/1"

STABILITY = (
    *("dpm-solver++-1", "dpm-solver++-2s", "dpm-solver++-2s-taylor", "dpm-solver++-3s", "dpm-solver++-2m"),
    *("dpm-solver++-2m-taylor", "dpm-solver++-3m-released", "dpm-solver++-3m-corrected", "unipc-1-bh2"),
    *("unipc-2-bh1", "unipc-2-bh2", "unipc-3-bh2", "unipc-4-bh2", "res-3s", "res-3m-corrected", "etdrk2"),
    *("etdrk4", "krogstad4", "hochbruck-ostermann4", "lawson4", "exprk5s8", "dpm-solver-2", "dpm-solver-2m"),
)
"""The methods whose stability is reported."""
DRAWN = (
    *("dpm-solver++-1", "dpm-solver++-2m", "dpm-solver++-3m-corrected", "unipc-2-bh1", "unipc-2-bh2"),
    *("unipc-3-bh2", "dpm-solver++-3s", "krogstad4", "lawson4"),
)
CONSTANTS = (
    *("ddim", "dpm-solver-2", "dpm-solver-3", "dpm-solver++-2m", "deis-tab1", "deis-rhoab2", "unipc-1-bh2"),
    *("unipc-2-bh2", "dpm-solver-v3-2m", "dpm-solver-v3-2m-c3", "deis-rhork-3kutta", "krogstad4"),
)
"""The solvers whose error constants are measured: one for each kind of form, start, stage and history."""
