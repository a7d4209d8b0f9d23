"""What needs Triton: it is imported by `fused.py`, where a kernel is asked for, and by nothing else."""

from __future__ import annotations

import triton
import triton.language as tl


# Triton reads a kernel's annotations, and knows no others.
@triton.jit  # type: ignore[untyped-decorator]
def combine(values, weights, into, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The sum of weights[k] values[k] to `into`, each of `count` numbers, added in order in into's dtype."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    kind = into.dtype.element_ty
    total = tl.load(values[0] + place, inside).to(kind) * tl.load(weights)
    for k in tl.static_range(1, len(values)):
        total = tl.fma(tl.load(values[k] + place, inside).to(kind), tl.load(weights + k), total)
    tl.store(into + place, total, inside)
