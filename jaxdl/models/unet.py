"""U-Net (Ronneberger et al. 2015): as published, with valid convolutions, and as it is used today.

What a level of the contracting path hands over to the expansive path is a function, `merge(skip,
x)`: `crop_and_concatenate`, `pad_and_concatenate`, `no_skip`, or any other.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.layers import BatchNorm, Conv, ConvTranspose, max_pool

Array = jax.Array
Layer = Callable[..., Any]
Merge = Callable[[Array, Array], Array]

# Gaussian of standard deviation sqrt(2 / N), N the inputs of a unit (section 3). A unit of a 2x2
# up-convolution of stride 2 sees one position, a quarter of what its kernel's shape says.
he_normal = initializers.variance_scaling(2.0, 'fan_in', 'normal')
he_normal_up = initializers.variance_scaling(8.0, 'fan_in', 'normal')


def crop_and_concatenate(skip: Array, x: Array) -> Array:
    """[B, H', W', C], [B, H, W, D] -> [B, H, W, C + D]: of the skip the middle (figure 1)."""
    sides = [big - small for big, small in zip(skip.shape[1:3], x.shape[1:3], strict=True)]
    if any(side < 0 or side % 2 for side in sides):
        raise ValueError(
            f'a skip of {skip.shape[1:3]} has no middle of {x.shape[1:3]}: the sizes of the image '
            'must be such that every pooling sees an even one'
        )
    top, left = (side // 2 for side in sides)
    middle = skip[:, top : top + x.shape[1], left : left + x.shape[2]]
    return jnp.concatenate((middle, x), axis=-1)


def pad_and_concatenate(skip: Array, x: Array) -> Array:
    """[B, H, W, C], [B, <= H, <= W, D] -> [B, H, W, C + D]: zeros around x where pooling cut."""
    sides = [big - small for big, small in zip(skip.shape[1:3], x.shape[1:3], strict=True)]
    around = [(side // 2, side - side // 2) for side in sides]
    return jnp.concatenate((skip, jnp.pad(x, ((0, 0), *around, (0, 0)))), axis=-1)


def no_skip(skip: Array, x: Array) -> Array:
    """x alone: the contracting path hands nothing over, U-Net becomes an encoder and a decoder."""
    return x


def no_norm(**options: Any) -> Callable[[Array], Array]:
    """No normalisation, where a layer for it is asked for."""
    return lambda x: x


conv3x3 = partial(Conv, kernel_size=(3, 3), padding='SAME', use_bias=False, kernel_init=he_normal)


class DoubleConv(nn.Module):
    """Twice a 3x3 convolution, a norm and ReLU."""

    width: int
    conv: Layer = conv3x3
    norm: Layer = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, width]; four less of H and W with valid convolutions."""
        for i in (1, 2):
            x = self.conv(self.width, name=f'conv{i}')(x)
            x = nn.relu(self.norm(use_running_average=not train, name=f'norm{i}')(x))
        return x


class UNet(nn.Module):
    """A contracting path of poolings and an expansive path of 2x2 up-convolutions (figure 1).

    The default is the form of today: zero padding, so that the output has the size of the input,
    and BatchNorm; with 3 channels and 2 classes it has 31,037,698 parameters.

    classes: maps of the output.
    base: maps of the first level; each level below has twice as many.
    depth: poolings. Sides that are multiples of 2^depth need no padding in `merge`.
    conv: the 3x3 convolutions.
    norm: after each of them.
    merge(skip, x): what the two convolutions after an up-convolution see.
    dropout: share of units dropped at the end of the contracting path, its two last levels.
    """

    classes: int = 2
    base: int = 64
    depth: int = 4
    conv: Layer = conv3x3
    norm: Layer = BatchNorm
    merge: Merge = pad_and_concatenate
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, H, W, classes]; less of H and W with valid convolutions."""
        block = partial(DoubleConv, conv=self.conv, norm=self.norm)
        x = block(self.base, name='inc')(x, train=train)
        skips = []
        for level in range(1, self.depth + 1):
            skips.append(x)
            x = block(self.base << level, name=f'down{level}')(max_pool(x), train=train)
            if level >= self.depth - 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for i, skip in enumerate(reversed(skips), 1):
            width = self.base << (self.depth - i)
            up = partial(ConvTranspose, strides=(2, 2), padding='VALID', kernel_init=he_normal_up)
            x = self.merge(skip, up(width, (2, 2), name=f'up{i}_up')(x))
            x = block(width, name=f'up{i}_conv')(x, train=train)
        return Conv(self.classes, (1, 1), kernel_init=he_normal, name='outc')(x)


# As published: 572x572 -> 388x388, 31,030,658 parameters with 1 channel and 2 classes.
unet_original = partial(
    UNet,
    conv=partial(conv3x3, padding='VALID', use_bias=True),
    norm=no_norm,
    merge=crop_and_concatenate,
    dropout=0.5,
)


def overlap_tile(
    predict: Callable[[Array], Array], images: Array, *, tile: int = 572, stride: int | None = None
) -> Array:
    """The overlap-tile strategy (figure 2): [B, H, W, C] -> [B, H, W, K] for images of any size.

    What a tile needs from beyond the image is its mirror image.

    predict: [N, tile, tile, C] -> [N, inside, inside, K], the middle of each tile. It is given all
        tiles of all images at once.
    stride: from tile to tile; None: `inside`, so that every pixel is predicted once. With a
        multiple of 2^depth a pixel's prediction does not depend on the tile it lies in.
    """
    batch, high, wide, channels = images.shape
    one = jax.ShapeDtypeStruct((1, tile, tile, channels), images.dtype)
    inside = jax.eval_shape(predict, one).shape[1]
    step, border = stride or inside, (tile - inside) // 2
    if not 1 <= step <= inside:
        raise ValueError(f'tiles whose middle is {inside} wide cannot be {step} apart')
    rows, columns = -(-high // step), -(-wide // step)
    sides = [
        (border, (n - 1) * step + tile - border - x) for n, x in ((rows, high), (columns, wide))
    ]
    padded = jnp.pad(images, ((0, 0), *sides, (0, 0)), mode='reflect')
    corners = [(i * step, j * step) for i in range(rows) for j in range(columns)]
    tiles = jnp.stack([padded[:, i : i + tile, j : j + tile] for i, j in corners])
    middles = predict(tiles.reshape(-1, tile, tile, channels))[:, :step, :step]
    grid = middles.reshape(rows, columns, batch, step, step, -1).transpose(2, 0, 3, 1, 4, 5)
    return grid.reshape(batch, rows * step, columns * step, -1)[:, :high, :wide]
