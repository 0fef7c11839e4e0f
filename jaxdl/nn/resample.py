"""Resampling of images through a short filter, which keeps high frequencies from folding back.

Separable filters of a few taps are sums of shifted images here: XLA makes one loop of them on every
backend, where a convolution with a group for each channel is slow.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.errors import UsageError

Array = jax.Array

# The binomial filter that StyleGAN2 resamples with, normalised to a sum of one.
BINOMIAL = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def upfirdn(
    x: Array,
    taps: Sequence[float] = BINOMIAL,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Array:
    """Upsample, filter, downsample: [B, H, W, C] -> [B, H', W', C] with H' as W' below.

    Between the columns stand `up` - 1 zeros and after the last as many; then come `padding` zeros
    before and after; then each column is the sum of the taps times those from it on; then each
    `down`-th is kept: W' = ceil((up W + before + after - taps + 1) / down). Rows likewise. The taps
    stand in the order of a convolution: the last meets the first column.
    Raises UsageError where nothing would be left.
    """
    for axis in (1, 2):
        x = _along(x, axis, taps, up, down, padding)
    return x


def upsample(x: Array, taps: Sequence[float] = BINOMIAL) -> Array:
    """[B, H, W, C] -> [B, 2 H, 2 W, C]; what is constant stays so, but at the border.

    taps: of a sum of one; of those of the two phases each sums up to a half.
    """
    n = len(taps)
    return 4 * upfirdn(x, taps, up=2, padding=((n + 1) // 2, (n - 2) // 2))


def downsample(x: Array, taps: Sequence[float] = BINOMIAL) -> Array:
    """[B, H, W, C] -> [B, H / 2, W / 2, C], of even H and W. taps: of a sum of one."""
    n = len(taps)
    return upfirdn(x, taps, down=2, padding=((n - 1) // 2, (n - 2) // 2))


def _along(
    x: Array, axis: int, taps: Sequence[float], up: int, down: int, padding: tuple[int, int]
) -> Array:
    """`upfirdn` along one axis. Output `o` has the phase o mod up; the taps share the phases."""
    before, after = padding
    long = x.shape[axis] * up + before + after - len(taps) + 1
    if long < 1:
        raise UsageError(
            f'upfirdn: {x.shape[axis]} rows or columns and padding {padding} are too few for '
            f'{len(taps)} taps'
        )
    if up > 1 and down > 1:
        full = _along(x, axis, taps, up, 1, padding)
        return lax.slice_in_dim(full, 0, long, down, axis)
    each = -(-long // up)
    weights = list(reversed(list(taps)))
    phases = [
        [((p + t - before) // up, w) for t, w in enumerate(weights) if (p + t - before) % up == 0]
        for p in range(up)
    ]
    first = [start for phase in phases for start, _ in phase]
    low, high = max(0, -min(first)), max(0, max(first) + each - x.shape[axis])
    x = jnp.pad(x, [(low, high) if i == axis else (0, 0) for i in range(x.ndim)])

    def shifted(start: int) -> Array:
        return lax.slice_in_dim(x, start + low, start + low + each, down, axis)

    made = [sum((w * shifted(s) for s, w in phase), jnp.zeros((), x.dtype)) for phase in phases]
    if up == 1:
        return made[0]
    shape = [*x.shape[:axis], up * each, *x.shape[axis + 1 :]]
    whole = jnp.stack(made, axis + 1).reshape(shape)
    return lax.slice_in_dim(whole, 0, long, 1, axis)
