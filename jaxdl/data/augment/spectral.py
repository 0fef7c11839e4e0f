"""Waves into features, and holes in these: transforms of batches of sound.

A batch has waves x [B, N] and `lengths` [B] in samples; `as_features` makes x [B, T, n] with
lengths in frames, which `spec_augment` takes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.data.augment.basic import Transform, real
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.lengths import within
from jaxdl.task import Batch

Array = jax.Array


def as_features(
    function: Callable[[Array], Array],
    frames: Callable[[Array], Array],
    *,
    column: str = 'x',
    lengths: str = 'lengths',
) -> Transform:
    """Waves [B, N] -> function(waves) [B, T, n], zero beyond frames(lengths); lengths in frames.

    ``as_features(partial(log_mel, filters=filters, hop=80), partial(frame_count, hop=80))``. What
    stands beyond a row's length is taken for silence.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        x, n = real(batch[column], 'as_features'), batch[lengths]
        x = jnp.where(within(n, x.shape[1]), x, 0)
        count = frames(n)
        y = function(x)
        y = jnp.where(within(count, y.shape[1])[..., None], y, 0)
        return {**batch, column: y, lengths: count}

    return transform


def spec_augment(
    *,
    times: int = 2,
    time: int = 40,
    part: float = 1.0,
    frequencies: int = 2,
    frequency: int = 27,
    fill: float = 0.0,
    column: str = 'x',
    lengths: str = 'lengths',
) -> Transform:
    """Stripes of features [B, T, n] erased (Park et al. 2019, section 2), without their warping.

    Each row has draws of its own: `frequencies` stripes of 0 .. `frequency` channels, and `times`
    stripes of 0 .. `time` frames, but at most `part` of the row's own frames (their p). The
    defaults are their policy LD without p. Features should have mean 0 where `fill` is 0.
    """
    if times < 0 or frequencies < 0 or time < 0 or frequency < 0 or not 0 <= part <= 1:
        raise UsageError(
            f'spec_augment: times={times}, time={time}, frequencies={frequencies}, '
            f'frequency={frequency}, part={part}: none is below 0, and part at most 1'
        )

    def transform(key: Key, batch: Batch) -> Batch:
        x, n = real(batch[column], 'spec_augment'), batch[lengths]
        rows, steps, channels = x.shape
        most = jnp.minimum(time, jnp.floor(part * n).astype(jnp.int32))
        holes = jnp.zeros((rows, steps, channels), bool)
        for i in range(times):
            stripe = _stripe(jax.random.fold_in(key_for(key, 'time'), i), most, n, steps)
            holes |= stripe[:, :, None]
        every = jnp.full(rows, channels)
        widest = jnp.full(rows, min(frequency, channels))
        for i in range(frequencies):
            draw = jax.random.fold_in(key_for(key, 'frequency'), i)
            holes |= _stripe(draw, widest, every, channels)[:, None]
        holes &= within(n, steps)[..., None]
        return {**batch, column: jnp.where(holes, jnp.asarray(fill, x.dtype), x)}

    return transform


def _stripe(key: Key, most: Array, size: Array, places: int) -> Array:
    """Bool [B, places]: a stripe of 0 .. most [B] places, somewhere within the first size [B]."""
    wide = jax.random.randint(key_for(key, 'wide'), size.shape, 0, most + 1)
    wide = jnp.minimum(wide, size)
    first = jax.random.randint(key_for(key, 'first'), size.shape, 0, size - wide + 1)
    at = jnp.arange(places)[None]
    return (at >= first[:, None]) & (at < (first + wide)[:, None])
