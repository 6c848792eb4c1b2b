"""splitmix64 as a function of a counter: random numbers that need no sequence, alike on every machine.

Everything here is exact integer or correctly rounded IEEE arithmetic, so that scalars, arrays and other hosts agree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

MASK = 0xFFFF_FFFF_FFFF_FFFF
GAMMA = 0x9E37_79B9_7F4A_7C15
_MIX1 = 0xBF58_476D_1CE4_E5B9
_MIX2 = 0x94D0_49BB_1331_11EB


def splitmix64(x: int) -> int:
    """The 64-bit hash of `x`: one step of splitmix64 from the state `x`."""
    z = (x + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * _MIX1) & MASK
    z = ((z ^ (z >> 27)) * _MIX2) & MASK
    return z ^ (z >> 31)


def combine(*words: int) -> int:
    """One 64-bit hash of several words, of which only the low 64 bits count; their order matters."""
    state = 0
    for word in words:
        state = splitmix64(state ^ (word & MASK))
    return state


def uniform(bits: int) -> float:
    """64 random bits as a float in the open interval (0, 1)."""
    return ((bits >> 12) + 0.5) * 2.0**-52


def below(bits: int, bound: int) -> int:
    """64 random bits as a whole number in [0, bound); the bias is at most bound / 2^64."""
    return (bits * bound) >> 64


def splitmix64_array(x: U64) -> U64:
    """`splitmix64` of every element."""
    z = x + np.uint64(GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX2)
    return z ^ (z >> np.uint64(31))


def extend_array(state: int, words: U64) -> U64:
    """`combine(*earlier, word)` for every word, where `state` is `combine(*earlier)`."""
    return splitmix64_array(words ^ np.uint64(state))


def uniform_array(bits: U64) -> F64:
    """`uniform` of every element."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def below_array(bits: U64, bound: int) -> U64:
    """`below` of every element: the upper half of a 128-bit product, from 32-bit pieces."""
    low = np.uint64(0xFFFF_FFFF)
    half = np.uint64(32)
    bound_high, bound_low = np.uint64(bound >> 32), np.uint64(bound & 0xFFFF_FFFF)
    bits_high, bits_low = bits >> half, bits & low
    cross = bits_high * bound_low + ((bits_low * bound_low) >> half)
    other = bits_low * bound_high + (cross & low)
    product: U64 = bits_high * bound_high + (cross >> half) + (other >> half)
    return product
