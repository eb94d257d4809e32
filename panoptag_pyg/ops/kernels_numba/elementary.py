"""exp, GELU and layer normalisation as branch-free arithmetic that LLVM turns into vector instructions."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, njit, types
from numba.extending import intrinsic
from numpy.polynomial import chebyshev
from scipy.special import erf

#: Sums may be taken in vector order and a·b + c fused; NaN, infinities and signs of zero stay as they are.
FAST = {"reassoc", "contract"}


def _cumulative_coefficients(degree: int, limit: float) -> tuple[Any, ...]:
    r"""Coefficients of :math:`(\Phi(x) - 1/2) / x` in :math:`u = 2 x^2 / L^2 - 1`, highest first."""

    def function(u: np.ndarray) -> np.ndarray:
        x = np.sqrt(np.maximum((u + 1) * limit**2 / 2, 1e-30))
        return erf(x / np.sqrt(2)) / (2 * x)

    return tuple(chebyshev.cheb2poly(chebyshev.chebinterpolate(function, degree))[::-1].astype(np.float32))


#: Beyond this Φ is 0 or 1 to 2e-8.
LIMIT = 5.5
_C14, _C13, _C12, _C11, _C10, _C9, _C8, _C7, _C6, _C5, _C4, _C3, _C2, _C1, _C0 = _cumulative_coefficients(14, LIMIT)
_SCALE = np.float32(2 / LIMIT**2)
_SQUARE = np.float32(LIMIT**2)
_LIMIT = np.float32(LIMIT)
#: The same for results that are rounded to bfloat16, to 2e-4 of the largest.
COARSE_LIMIT = 4.0
_B7, _B6, _B5, _B4, _B3, _B2, _B1, _B0 = _cumulative_coefficients(7, COARSE_LIMIT)
_COARSE_SCALE = np.float32(2 / COARSE_LIMIT**2)
_COARSE_SQUARE = np.float32(COARSE_LIMIT**2)
_COARSE_LIMIT = np.float32(COARSE_LIMIT)


@intrinsic
def float_of_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def bits_of_float(typingctx: Any, value: Any) -> Any:
    """The 32 bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@njit(inline="always", fastmath={"contract"})
def exp(x):
    """e^x for x ≤ 0 in float32 to 2 units in the last place; 0 below −87."""
    x = max(x, float32(-87.0))
    n = np.rint(x * float32(1.44269504))
    r = x - n * float32(0.693145752)
    r = r - n * float32(1.42860677e-6)
    y = float32(1.9875691500e-4)
    y = y * r + float32(1.3981999507e-3)
    y = y * r + float32(8.3334519073e-3)
    y = y * r + float32(4.1665795894e-2)
    y = y * r + float32(1.6666665459e-1)
    y = y * r + float32(5.0000001201e-1)
    y = y * r * r + r + float32(1.0)
    return y * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@njit(inline="always", fastmath={"contract"})
def cumulative(x):
    """Φ(x), the standard normal's cumulative distribution, to 2e-7 in float32: a polynomial, no division."""
    t = min(x * x, _SQUARE)
    u = t * _SCALE - float32(1.0)
    p = _C14 * u + _C13
    p = p * u + _C12
    p = p * u + _C11
    p = p * u + _C10
    p = p * u + _C9
    p = p * u + _C8
    p = p * u + _C7
    p = p * u + _C6
    p = p * u + _C5
    p = p * u + _C4
    p = p * u + _C3
    p = p * u + _C2
    p = p * u + _C1
    p = p * u + _C0
    return float32(0.5) + min(max(x, -_LIMIT), _LIMIT) * p


@njit(inline="always", fastmath={"contract"})
def gelu(x):
    """x · Φ(x)."""
    return x * cumulative(x)


@njit(inline="always", fastmath={"contract"})
def gelu_slope(x):
    """Φ(x) + x · φ(x), the derivative of GELU."""
    return cumulative(x) + x * float32(0.3989422804) * exp(float32(-0.5) * x * x)


@njit(inline="always", fastmath={"contract"})
def gelu_rounded(x):
    """Bits of the bfloat16 nearest to GELU(x), up to 2e-4 in Φ; ties to even."""
    t = min(x * x, _COARSE_SQUARE)
    u = t * _COARSE_SCALE - float32(1.0)
    p = _B7 * u + _B6
    p = p * u + _B5
    p = p * u + _B4
    p = p * u + _B3
    p = p * u + _B2
    p = p * u + _B1
    p = p * u + _B0
    bits = bits_of_float(x * (float32(0.5) + min(max(x, -_COARSE_LIMIT), _COARSE_LIMIT) * p))
    return np.int16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))
