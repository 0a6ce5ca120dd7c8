"""Softplus and sigmoid of a few hundred float32 numbers, in loops that use vector registers.

Import it where it is used, not at the head of a module: it brings numba.
"""

import numpy as np

from encoder_ablations.utils.kernels import compiled

LARGEST = np.float32(87)
"""exp(-87) is the last normal float32."""
MAGIC = np.float32(1.5 * 2**23)
"""Added to a float32 it rounds it to an integer, which then stands in the lowest bits."""
LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""Their sum is ln 2; products of the first with small integers are exact."""
ONE, TWO, HALF, ZERO = np.float32(1), np.float32(2), np.float32(0.5), np.float32(0)
E2, E3, E4, E5, E6 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720))
L3, L5, L7, L9, L11, L13 = (np.float32(1 / n) for n in (3, 5, 7, 9, 11, 13))


@compiled("contract", inline=True)
def activations(logits: np.ndarray, work: np.ndarray, soft: np.ndarray, sure: np.ndarray) -> None:
    """Fill in softplus and sigmoid of logits, to about 3e-7; NaN gives NaN.

    Args:
        logits: N float32.
        work: 2×N float32 or more, overwritten.
        soft: N, log(1 + exp(x)).
        sure: N, 1 / (1 + exp(-x)).
    """
    count = logits.shape[0]
    powers, rest = work[0], work[1]
    # exp(-|x|) = 2^n · exp(r) with an integer n and |r| ≤ ln(2) / 2
    for q in range(count):
        size = abs(logits[q])
        size = LARGEST if size > LARGEST else size
        shifted = MAGIC - size * LOG2_E
        n = shifted - MAGIC
        rest[q] = -size - n * LN2_HIGH - n * LN2_LOW
        powers[q] = shifted
    # the lowest bits hold n; moved to the exponent they are 2^n
    bits = powers.view(np.int32)
    for q in range(count):
        bits[q] = (bits[q] + 127) << 23
    for q in range(count):
        x, r = logits[q], rest[q]
        small = ONE + r * (ONE + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))))
        small *= powers[q]
        # log(1 + e) = 2·artanh(e / (2 + e)), a series in z ≤ 1/9
        s = small / (TWO + small)
        z = s * s
        series = ONE + z * (L3 + z * (L5 + z * (L7 + z * (L9 + z * (L11 + z * L13)))))
        soft[q] = HALF * (x + abs(x)) + TWO * s * series
        sure[q] = (small if x < ZERO else ONE) / (ONE + small)
