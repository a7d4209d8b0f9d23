"""Linear stability: what one step of a method does to u' = L u + mu u, with mu u treated as the nonlinearity.

With z = h L and w = h mu every row of a tableau is  U_c = e^(cz) u_n + w sum_j a_cj(z) V_j,  where V_j is
the state that evaluation j was made at.  Everything that the method carries from step to step is its memory

    (u_n, V of the carried evaluation where there is one, V of the starts of the last `past` steps),

and a step multiplies it by the amplification matrix M(z, w): entries polynomial in w, whose coefficients
are functions of z in phi(k, c) and exp(c z).  A one-step method is the 1 x 1 case, the stability function
R(z, w); a multistep method's characteristic polynomial is det(zeta - M).  PEC adds the carried evaluation,
made at the predicted state, to the memory, and with it a root.

The method is stable at (z, w) if the powers of M are bounded: by the root condition, all eigenvalues in the
closed unit disc and those on the circle simple.  With additive noise the same condition bounds the variance.
Sources: Hairer & Wanner, Solving ODEs II, Sec. IV.2, V.1; Beylkin, Keiser & Vozovoi 1998 (exact linear part).

What L and mu are for diffusion: `form.weight.rate` is L, and h the step in the form's variable (negative in
rho, which decreases).  data_in_lambda: u = x/alpha, L = -1, N = x_0; Gaussian data of variance s^2 have
mu = s^2/(s^2 + rho^2) in (0, 1).  noise_in_lambda: u = x/sigma, L = +1, N = -eps; mu = -rho^2/(s^2 + rho^2):
u itself grows like e^z, because sigma falls.  noise_in_rho: u = x/alpha, L = 0, mu = rho/(s^2 + rho^2).
Guidance of scale g multiplies differences of mu by g, and takes mu out of those ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.numerics.arithmetic import FLOAT64, Value, multiprecision
from semilinear.integrators.tableaux.tableau import Tableau, Weights, at_zero, omega, phi, z
from sympy import Expr, Integer, Rational, Symbol

from .root_condition import DIGITS, Point, eigenvalues, has_pole, root_condition, spectrum

w, zeta, q = Symbol("w"), Symbol("zeta"), Symbol("mu/L")


@dataclass(frozen=True)
class _Rows:
    """The rows of one step of the cycle, output last: abscissae and weights, exact, as functions of z."""

    decay: tuple[Expr, ...]
    weights: tuple[Weights, ...]
    length: Expr


@dataclass(frozen=True)
class Amplification:
    """M(z, w) of a tableau: exact, in float64 over arrays, and in multiprecision.

    steps: lengths of the steps of one period, which is repeated for ever, as exact numbers; z and w are
    those of a step of length 1, and M is the product over the period.  (1,): equal steps.
    parameters: values of the tableau's free symbols.
    Raises TypeError for what is no tableau; ValueError for steps that are not positive, and for parameters
    that are missing or unknown.
    """

    tableau: Tableau
    steps: Sequence[Any] = (1,)
    parameters: Mapping[Symbol, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.instance("tableau", self.tableau, Tableau)
        lengths = tuple(_exact("steps", s) for s in self.steps)
        if not lengths or not all(s > 0 for s in lengths):
            raise ValueError(f"steps must be positive numbers, at least one, got {shown(list(self.steps))}")
        needed = {s for s in self._symbols if s != z and not s.name.startswith("omega")}
        if self.parameters.keys() != needed:
            names = ", ".join(sorted(s.name for s in needed)) or "none"
            given = ", ".join(sorted(str(s) for s in self.parameters)) or "none"
            raise ValueError(f"parameters must set exactly the formula's free symbols ({names}), got {given}")
        object.__setattr__(self, "steps", lengths)

    @property
    def _symbols(self) -> set[Symbol]:
        rows = [*self.tableau.a, self.tableau.b]
        return {s for e in [*self.tableau.c, *(e for r in rows for e in r.values())] for s in e.free_symbols}

    @cached_property
    def past(self) -> int:
        """How many starts of earlier steps the formulas use."""
        return max((-j for row in (*self.tableau.a, self.tableau.b) for j in row), default=0)

    @property
    def size(self) -> int:
        """The length of the memory, and the order of M."""
        return 1 + (self.tableau.carry is not None) + self.past

    @cached_property
    def _cycle(self) -> tuple[_Rows, ...]:
        return tuple(self._rows(i) for i in range(len(self.steps)))

    def _rows(self, i: int) -> _Rows:
        own: Expr = self.steps[i]
        known: dict[Any, Any] = {s: _exact(s.name, v) for s, v in self.parameters.items()}
        known |= {
            omega(j): sum((self.steps[(i - k) % len(self.steps)] for k in range(1, j + 1)), Integer(0)) / own
            for j in range(1, self.past + 1)
        }

        def exact(expression: Expr) -> Expr:
            """An expression of this step, its z being `own` times that of the period."""
            scaled = expression.xreplace(known).xreplace({z: own * z})
            return scaled.replace(phi, lambda k, c: phi(k, own * c))

        abscissae = [c.xreplace(known) for c in (*self.tableau.c, Integer(1))]
        return _Rows(
            tuple(sympy.exp(own * c * z) for c in abscissae),
            tuple({j: exact(e) for j, e in row.items()} for row in (*self.tableau.a, self.tableau.b)),
            own,
        )

    def _run(self, value: Callable[[Expr], Value], at: Value, memory: list[Value]) -> list[Value]:
        """The memory after a period, from the memory before it, in the number system of `value`."""
        for rows in self._cycle:
            memory = self._step(rows, value, at * value(rows.length), memory)
        return memory

    def _step(
        self, rows: _Rows, value: Callable[[Expr], Value], at: Value, memory: list[Value]
    ) -> list[Value]:
        u, *before = memory
        start, *past = before if self.tableau.carry is not None else memory
        known = {0: start} | {-j: v for j, v in enumerate(past, 1)}
        for i, (decay, weights) in enumerate(zip(rows.decay, rows.weights, strict=True), 1):
            increments = [value(e) * known[j] for j, e in weights.items()]
            known[i] = value(decay) * u + at * sum(increments) if increments else value(decay) * u
        carried = [] if self.tableau.carry is None else [known[self.tableau.carry]]
        return [known[len(rows.decay)], *carried, *[start, *past][: self.past]]

    # --- exact ---

    @cached_property
    def exact(self) -> sympy.Matrix:
        """M as sympy expressions, expanded in w."""
        unit = list(np.array(sympy.eye(self.size).tolist(), dtype=object))
        rows = self._run(lambda e: e, w, unit)
        return sympy.Matrix([[_by_powers(e, w) for e in row] for row in rows])

    @cached_property
    def characteristic_polynomial(self) -> Expr:
        """det(zeta - M), expanded in zeta."""
        return _by_powers(self.exact.charpoly(zeta).as_expr(), zeta)

    @property
    def function(self) -> Expr:
        """The stability function R(z, w) of a one-step method, expanded in w; with a memory,
        det(zeta - M), whose roots zeta take its place.
        """
        return self.exact[0, 0] if self.size == 1 else self.characteristic_polynomial

    # --- numbers ---

    def matrix(self, at_z: Any, at_w: Any) -> np.ndarray:
        """M at numbers: complex arrays that broadcast, to shape (..., size, size).  Infinite or NaN where a
        coefficient is.
        """
        a, b = np.broadcast_arrays(np.asarray(at_z, dtype=complex), np.asarray(at_w, dtype=complex))
        given = np.asarray(at_z, dtype=complex)  # coefficients are computed at as few points as given
        known = Point(given, FLOAT64) if given.ndim else _at_one(given.tobytes())
        zero = np.zeros(a.shape, dtype=complex)
        unit = [np.stack([zero + (i == j) for j in range(self.size)]) for i in range(self.size)]
        with np.errstate(all="ignore"):
            rows = self._run(known.value, b, unit)
        return np.moveaxis(np.stack(rows), (0, 1), (-2, -1))

    def radius(self, at_z: Any, at_w: Any) -> np.ndarray:
        """The spectral radius of M over complex arrays; infinite where M is not finite."""
        return spectrum(self.matrix(at_z, at_w), at_z)[0]

    def stable(self, at_z: Any, at_w: Any) -> np.ndarray:
        """Whether the root condition holds, over complex arrays; decided at 100 digits where float64 cannot
        tell.
        """
        radius, doubt = spectrum(self.matrix(at_z, at_w), at_z)
        a, b = (np.broadcast_to(np.asarray(v, dtype=complex), radius.shape) for v in (at_z, at_w))
        stable: np.ndarray = np.asarray(radius < 1)
        for i in np.argwhere(~(abs(radius - 1) > doubt)):
            stable[tuple(i)] = self._decide(complex(a[tuple(i)]), complex(b[tuple(i)]))
        return stable

    def precise(self, at_z: Any, at_w: Any, digits: int = DIGITS) -> Any:
        """M at one pair of numbers, as an mpmath matrix with that many digits.

        Raises ZeroDivisionError where a coefficient has a pole.
        """
        xp = multiprecision(digits)
        point = Point(xp.context.mpc(at_z), xp)
        unit = list(np.array([[xp.context.mpc(i == j) for j in range(self.size)] for i in range(self.size)]))
        return xp.context.matrix([list(r) for r in self._run(point.value, xp.context.mpc(at_w), unit)])

    def _decide(self, at_z: complex, at_w: complex) -> bool:
        if not (np.isfinite(at_z) and np.isfinite(at_w)):
            return False
        try:
            matrix = self.precise(at_z, at_w, DIGITS + int(max(at_z.real, 0)))
        except ZeroDivisionError:
            return False
        return root_condition(eigenvalues(matrix))

    # --- h -> 0 ---

    @cached_property
    def limit(self) -> sympy.Matrix:
        """M as h -> 0 with L and mu fixed: free of q = mu/L unless a weight has a pole at z = 0."""
        if any(has_pole(e) for rows in self._cycle for row in rows.weights for e in row.values()):
            return self.exact.applyfunc(lambda e: at_zero(sympy.expand(e.subs(w, q * z))))
        unit = list(np.array(sympy.eye(self.size).tolist(), dtype=object))
        return sympy.Matrix(self._run(lambda e: Integer(1), Integer(0), unit))  # e^0; weights times w = 0

    @cached_property
    def zero_stable(self) -> bool:
        """The root condition as h -> 0, for every L and mu.

        Earlier steps enter a tableau through evaluations only, hence with a factor w: weights that are
        regular at z = 0 leave the roots 1, 0, .., 0.  A pole at z = 0 lets roots depend on mu/L, and then
        they cannot stay in the disc for all of its values: a bounded entire function is constant.
        """
        if self.limit.has(sympy.oo, sympy.zoo, sympy.nan):
            return False
        polynomial = sympy.Poly(self.limit.charpoly(zeta).as_expr(), zeta)
        if sympy.simplify(polynomial.as_expr()).has(q):
            return False
        factors = polynomial.sqf_list()[1]
        return root_condition([r for f, m in factors for r in f.nroots(n=DIGITS) * m])


@lru_cache(maxsize=64)
def _at_one(bits: bytes) -> Point:
    """The coefficients at one z, given by its bits, of which a scan over w asks again and again."""
    return Point(np.frombuffer(bits, dtype=complex).reshape(()), FLOAT64)


def _exact(name: str, value: Any) -> Expr:
    """A real number as an exact expression."""
    if isinstance(value, Expr) and value.is_number and value.is_real:
        return value
    try:
        return Rational(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a real number, got {shown(value)}") from error


def _by_powers(expression: Expr, symbol: Symbol) -> Expr:
    """An expression expanded, with one coefficient for each power of a symbol."""
    coefficients: dict[Expr, Expr] = {}
    for term in sympy.Add.make_args(sympy.expand(expression)):
        coefficient, power = term.as_independent(symbol, as_Add=False)
        coefficients[power] = coefficients.get(power, Integer(0)) + coefficient
    return sympy.Add(*(c * p for p, c in coefficients.items()))
