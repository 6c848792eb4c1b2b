"""Logarithm, exponential and normal quantile out of nothing but + - * / and sqrt.

Those five are rounded alike on every machine and in scalar and array form; the ones of libm and numpy are not, and an
object whose size differs by a byte between two hosts looks like corruption.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from sai3tui.workload.rng import F64

Real = TypeVar("Real", float, F64)

_LN2 = 0.6931471805599453
_INVERSE_LN2 = 1.4426950408889634
_SQRT_HALF = 0.7071067811865476
# Acklam's rational approximation of the inverse of the normal distribution, relative error below 1.15e-9.
_A = (
    -39.69683028665376,
    220.9460984245205,
    -275.9285104469687,
    138.357751867269,
    -30.66479806614716,
    2.506628277459239,
)
_B = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1.0)
_C = (
    -0.007784894002430293,
    -0.3223964580411365,
    -2.400758277161838,
    -2.549732539343734,
    4.374664141464968,
    2.938163982698783,
)
_D = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0)
_TAIL = 0.02425
_EXP_TERMS = tuple(1.0 / math.factorial(k) for k in range(14, -1, -1))
_LOG_TERMS = tuple(2.0 / k for k in range(21, 0, -2))


def _polynomial(coefficients: tuple[float, ...], x: Real) -> Real:
    result = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        result = result * x + coefficient
    return result


def log(x: float) -> float:
    """Natural logarithm of a positive number, to about 1e-15 relative to max(1, |ln x|)."""
    mantissa, exponent = math.frexp(x)
    if mantissa < _SQRT_HALF:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * _LN2 + s * _polynomial(_LOG_TERMS, s * s)


def exp(x: float) -> float:
    """Exponential of a number in [-700, 700], to about 1e-14 relative."""
    power = math.floor(x * _INVERSE_LN2 + 0.5)
    return math.ldexp(_polynomial(_EXP_TERMS, x - power * _LN2), power)


def normal_quantile(p: float) -> float:
    """The standard normal number below which a share `p`, in (0, 1), of all lie."""
    q = p - 0.5
    edge = min(p, 1.0 - p)
    if edge >= _TAIL:
        r = q * q
        return q * _polynomial(_A, r) / _polynomial(_B, r)
    t = math.sqrt(-2.0 * log(edge))
    tail = _polynomial(_C, t) / _polynomial(_D, t)
    return tail if q < 0.0 else -tail


def log_array(x: F64) -> F64:
    """`log` of every element, to the same bits."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    result: F64 = (exponent - small) * _LN2 + s * _polynomial(_LOG_TERMS, s * s)
    return result


def exp_array(x: F64) -> F64:
    """`exp` of every element, to the same bits."""
    power = np.floor(x * _INVERSE_LN2 + 0.5)
    result: F64 = np.ldexp(_polynomial(_EXP_TERMS, x - power * _LN2), power.astype(np.int32))
    return result


def normal_quantile_array(p: F64) -> F64:
    """`normal_quantile` of every element, to the same bits."""
    q = p - 0.5
    r = q * q
    result: F64 = q * _polynomial(_A, r) / _polynomial(_B, r)
    edge = np.minimum(p, 1.0 - p)
    outer = edge < _TAIL
    if outer.any():
        t = np.sqrt(-2.0 * log_array(edge[outer]))
        tail = _polynomial(_C, t) / _polynomial(_D, t)
        result[outer] = np.where(q[outer] < 0.0, tail, -tail)
    return result
