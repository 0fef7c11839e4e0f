"""Holes in images, and mixtures of two."""

import jax
import jax.numpy as jnp

from jaxdl.data.augment.basic import Transform, each, on, real
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Array = jax.Array


def cutout(size: int, *, fill: float = 0.0, column: str = 'x') -> Transform:
    """A square of size x size pixels of each image erased (DeVries and Taylor 2017). Any dtype.

    Its centre is any pixel, so part of it may lie outside the image.
    """

    def transform(key: Key, x: Array) -> Array:
        hole = _rectangle(key, x, jnp.full((len(x), 2), size))
        return jnp.where(each(hole, x), jnp.asarray(fill, x.dtype), x)

    return on(column, transform)


def mixup(
    alpha: float = 0.2, *, classes: int, image: str = 'x', label: str = 'y', mask: str = 'mask'
) -> Transform:
    """Images and labels l x_i + (1 - l) x_j, l ~ Beta(alpha, alpha) (Zhang et al. 2018, eq. 1).

    Each image has an l of its own, and a partner j that is no other's: one random cycle through the
    rows whose mask is true. The others stay as they are.

    label: int [B], or probabilities [B, classes]; the result are probabilities.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        x = real(batch[image], 'mixup')
        partner, mixed = _partners(key_for(key, 'partner'), batch, len(x), mask)
        part = jax.random.beta(key_for(key, 'part'), alpha, alpha, (len(x),))
        part = jnp.where(mixed, part, 1.0)
        x = each(part, x) * x + each(1 - part, x) * x[partner]
        return {**batch, image: x, label: _mixed_labels(batch[label], partner, part, classes)}

    return transform


def cutmix(
    alpha: float = 1.0, *, classes: int, image: str = 'x', label: str = 'y', mask: str = 'mask'
) -> Transform:
    """A rectangle of each image taken from another (Yun et al. 2019, section 3.1). Any dtype.

    Its sides are sqrt(1 - l) of the image's, l ~ Beta(alpha, alpha), its centre is any pixel; the
    label is weighed by what part of the image is left after clipping. The rest is as in `mixup`.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        x = batch[image]
        partner, mixed = _partners(key_for(key, 'partner'), batch, len(x), mask)
        part = jax.random.beta(key_for(key, 'part'), alpha, alpha, (len(x),))
        sides = jnp.sqrt(1 - part)[:, None] * jnp.array([x.shape[1:3]], jnp.float32)
        patch = _rectangle(key_for(key, 'patch'), x, sides.astype(jnp.int32))
        patch = patch & mixed[:, None, None]
        left = 1 - patch.mean((1, 2))
        x = jnp.where(each(patch, x), x[partner], x)
        return {**batch, image: x, label: _mixed_labels(batch[label], partner, left, classes)}

    return transform


def _rectangle(key: Key, x: Array, sides: Array) -> Array:
    """Bool [B, H, W], true on rectangles of `sides` [B, 2] around a random pixel of each image."""
    inside = []
    for axis, length in enumerate(x.shape[1:3]):
        centre = jax.random.randint(jax.random.fold_in(key, axis), (len(x), 1), 0, length)
        first = centre - sides[:, axis, None] // 2
        at = jnp.arange(length)[None]
        inside.append((at >= first) & (at < first + sides[:, axis, None]))
    down, across = inside
    return down[:, :, None] & across[:, None, :]


def _partners(key: Key, batch: Batch, rows: int, mask: str) -> tuple[Array, Array]:
    """The rows' partners [B], themselves where there is none, and whether there is one [B]."""
    valid = batch.get(mask, jnp.ones(rows, bool))
    count = valid.sum()
    # The valid rows in a random order, the others behind them; each looks at the next one.
    order = jnp.argsort(jnp.where(valid, jax.random.uniform(key, (rows,)), 2.0))
    place = jnp.arange(rows)
    following = order[jnp.where(place + 1 < count, place + 1, 0)]
    partner = place.at[order].set(jnp.where(place < count, following, order))
    return partner, partner != place


def _mixed_labels(y: Array, partner: Array, part: Array, classes: int) -> Array:
    if jnp.issubdtype(y.dtype, jnp.integer):
        y = jax.nn.one_hot(y, classes)
    if y.shape != (len(partner), classes):
        raise UsageError(f'labels of shape {y.shape}; {(len(partner), classes)} is needed')
    return part[:, None] * y + (1 - part)[:, None] * y[partner]
