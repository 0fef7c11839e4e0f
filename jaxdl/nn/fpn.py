"""Feature pyramids: maps of one width at every scale of a trunk, and regions pooled from them.

Lin et al. 2017, *Feature pyramid networks for object detection*. A level k has a stride of 2^k.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.boxes import area
from jaxdl.nn.layers import Conv
from jaxdl.nn.regions import roi_align

Array = jax.Array
Layer = Callable[..., nn.Module]

# Uniform of variance 1 / fan-in, torchvision's.
UNIFORM = initializers.variance_scaling(1.0, 'fan_in', 'uniform')


def doubled(x: Array, shape: tuple[int, int]) -> Array:
    """Nearest neighbours at twice the resolution, [B, h, w, C] -> [B, *shape, C].

    shape: 2h or 2h - 1, and so for w: the trunk rounded odd sizes up.
    """
    if shape not in {(2 * x.shape[1] - i, 2 * x.shape[2] - j) for i in (0, 1) for j in (0, 1)}:
        raise ValueError(f'{shape} is not twice the resolution {x.shape[1:3]}')
    return x.repeat(2, axis=1).repeat(2, axis=2)[:, : shape[0], : shape[1]]


class FeaturePyramid(nn.Module):
    """The top-down pathway with lateral connections (figure 3), and one level more.

        T_k = conv1x1(C_k) + doubled(T_{k+1}),    P_k = conv3x3(T_k)

    The level above the last is every second position of it: anchors larger than all others stand on
    it (section 4.1).

    features: channels of every level (d in the paper).
    """

    features: int = 256
    conv: Layer = Conv

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> tuple[Array, ...]:
        """C2 to C5, [B, H/4, W/4, ...] to [B, H/32, W/32, ...] -> P2 to P6, all of `features`."""
        conv = partial(self.conv, self.features, kernel_init=UNIFORM)
        levels: list[Array] = []
        above: Array | None = None
        for i in reversed(range(len(maps))):
            x = conv((1, 1), padding=0, name=f'inner{i}')(maps[i])
            above = x if above is None else x + doubled(above, (x.shape[1], x.shape[2]))
            levels.insert(0, conv((3, 3), padding=1, name=f'layer{i}')(above))
        return *levels, levels[-1][:, ::2, ::2]


def level_of(boxes: Array, *, canonical: float = 224.0) -> Array:
    """The level of a region before rounding down, k = 4 + log2(sqrt(w h) / 224) (eq. 1).

    boxes [..., 4] -> [...]; -inf of an empty one. canonical: the size that belongs to level 4, on
    which a network for images without a pyramid would look at it.
    """
    return 4 + jnp.log2(jnp.sqrt(area(boxes)) / canonical)


def pyramid_align(
    maps: Sequence[Array],
    boxes: Array,
    *,
    size: tuple[int, int],
    output: tuple[int, int] = (7, 7),
    samples: int = 2,
    canonical: float = 224.0,
) -> Array:
    """RoIAlign of each region on the level of its size: boxes [R, 4] -> [R, *output, C].

    maps: of one image, the finest first, [h, w, C]. size: of the image, (height, width).
    """
    strides = [round(math.log2(size[0] / one.shape[0])) for one in maps]
    # What is a power of two but for its rounding belongs above.
    level = jnp.floor(level_of(boxes, canonical=canonical) + 1e-6)
    level = jnp.clip(level, strides[0], strides[-1])
    found: Array | None = None
    for one, k in zip(maps, strides, strict=True):
        pooled = roi_align(one, boxes, output=output, scale=0.5**k, samples=samples)
        # Choices, one after another, and not a sum of those with level == k: were a level computed
        # twice, with other rounding, a region would be on two levels, or on none.
        above = (level >= k)[:, None, None, None]
        found = pooled if found is None else jnp.where(above, pooled, found)
    assert found is not None
    return found
