"""The vision transformer: attention over the patches of an image.

Dosovitskiy et al. 2021, *An image is worth 16x16 words*, equations 1 to 4. The names of the layers
are torchvision's.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.blocks import Blocks, in_turn
from jaxdl.errors import UsageError
from jaxdl.nn import layers
from jaxdl.nn.axes import named, over_rows
from jaxdl.nn.layers import Conv, Dense, attention

Array = jax.Array
Layer = Callable[..., nn.Module]

XAVIER = initializers.xavier_uniform()
Attention = partial(
    nn.MultiHeadDotProductAttention,
    kernel_init=named(XAVIER, 'embed', 'heads', None),
    out_kernel_init=named(XAVIER, 'heads', None, 'embed'),
    dropout_rate=0.0,
    attention_fn=attention,
)
LayerNorm = partial(layers.LayerNorm, epsilon=1e-6)


def gelu(x: Array) -> Array:
    """x P(X <= x), X ~ N(0, 1) (Hendrycks and Gimpel 2016), by erf.

    By erfc, as `jax.nn.gelu` has it, a training step takes a tenth longer on CPU.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


class EncoderBlock(nn.Module):
    """Attention, then a perceptron on each token, both on normalised inputs (eq. 2 and 3).

    z' = z + attention(norm(z)),  z'' = z' + MLP(norm(z')).

    mlp: hidden units of the perceptron.
    attention(num_heads=, deterministic=, name=), norm(name=), dropout(deterministic=) -> modules.
    drop() -> module, called (z, train=) on both branches before they are added: stochastic depth.
    """

    heads: int
    mlp: int
    attention: Layer = Attention
    norm: Layer = LayerNorm
    dropout: Layer = partial(nn.Dropout, 0.0)
    drop: Layer | None = None

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False) -> Array:
        """[B, T, width] -> [B, T, width]."""

        def dropped(z: Array) -> Array:
            z = self.dropout(deterministic=not train)(z)
            return self.drop()(z, train=train) if self.drop else z

        y = self.norm(name='ln_1')(z)
        attention = self.attention(
            num_heads=self.heads, deterministic=not train, name='self_attention'
        )
        z = z + dropped(attention(y))
        y = self.norm(name='ln_2')(z)
        dense = partial(Dense, bias_init=initializers.normal(1e-6))
        y = gelu(dense(self.mlp, kernel_init=named(XAVIER, 'embed', 'mlp'), name='mlp_0')(y))
        y = self.dropout(deterministic=not train)(y)
        y = dense(z.shape[-1], kernel_init=named(XAVIER, 'mlp', 'embed'), name='mlp_3')(y)
        return over_rows(z + dropped(y))


class ViT(nn.Module):
    """A vision transformer that classifies; the sizes of the paper (table 1) have names below.

    ViT-B/16 has 86,567,656 parameters and 17.6 G multiply-adds at 224x224. For images of 32x32,
    ``ViT(width=192, depth=6, heads=3, mlp=768, patch=4, classes=10)``. The number of learned
    positions is that of the images it is initialised on; `resize_positions` makes it another.

    width: of every token. depth: number of blocks. mlp: hidden units of their perceptrons.
    patch: side of a patch in pixels.
    attention, norm: see `EncoderBlock`.
    dropout(deterministic=) -> module: after the positions and every dense layer of the blocks,
        ``partial(nn.Dropout, 0.1)``.
    drop(l / L) -> module: stochastic depth of block l of L, ``lambda depth: StochasticDepth(0.1 *
        depth)``.
    remat: whether a block's inside is computed again for its gradient, which saves memory.
    scan: whether blocks are one layer that is scanned, see `jaxdl.blocks`.
        Raises UsageError with `drop`, which is another in each block.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    patch: int = 16
    classes: int = 1000
    attention: Layer = Attention
    norm: Layer = LayerNorm
    dropout: Layer = partial(nn.Dropout, 0.0)
    drop: Callable[[float], nn.Module] | None = None
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, classes]; the patch divides H and W."""
        batch, rows, columns, _ = x.shape
        if rows % self.patch or columns % self.patch:
            raise ValueError(f'patches of {self.patch} do not tile images of {rows}x{columns}')
        side = (self.patch, self.patch)
        x = Conv(self.width, side, strides=side, padding='VALID', name='conv_proj')(x)
        x = x.reshape(batch, -1, self.width)
        token = self.param('class_token', initializers.zeros, (1, 1, self.width))
        z = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, self.width)), x], axis=1)
        z = z + self.param('pos_embedding', initializers.normal(0.02), (1, *z.shape[1:]))
        z = self.dropout(deterministic=not train)(z)
        block = partial(EncoderBlock, self.heads, self.mlp, self.attention, self.norm, self.dropout)
        blocks: Blocks
        if self.scan:
            if self.drop:
                raise UsageError('scan: blocks of unlike stochastic depth are not equal; leave one')
            blocks = block(name='encoder_layer')
        else:
            blocks = [
                block(
                    drop=partial(self.drop, (i + 1) / self.depth) if self.drop else None,
                    name=f'encoder_layer_{i}',
                )
                for i in range(self.depth)
            ]

        def through(block: Any, z: Array, _: None) -> tuple[Array, None]:
            return block(z, train=train), None

        z, _ = in_turn(blocks, through, z, [None] * self.depth, remat=self.remat)
        z = self.norm(name='ln')(z)
        return Dense(self.classes, kernel_init=initializers.zeros, name='head')(z[:, 0])


def resize_positions(
    variables: Mapping[str, Any],
    after: tuple[int, int],
    *,
    before: tuple[int, int] | None = None,
    method: str = 'bicubic',
) -> dict[str, Any]:
    """The variables of a ViT for images of another size: its positions are interpolated in 2D.

    As the paper fine-tunes at higher resolution (section 3.2). The class token's position stays.

    after, before: rows and columns of patches; `before` is a square unless it is given.
    method: of `jax.image.resize`: 'bicubic', 'bilinear', ...
    """
    params = dict(variables['params'])
    token, grid = jnp.split(params['pos_embedding'], [1], axis=1)
    _, patches, width = grid.shape
    side = round(patches**0.5)
    rows, columns = before or (side, side)
    if rows * columns != patches:
        raise ValueError(f'{patches} positions are no grid of {rows}x{columns}')
    grid = grid.reshape(1, rows, columns, width)
    grid = jax.image.resize(grid, (1, *after, width), method).reshape(1, -1, width)
    params['pos_embedding'] = jnp.concatenate([token, grid], axis=1)
    return {**variables, 'params': params}


ViTS = partial(ViT, width=384, depth=12, heads=6, mlp=1536)
ViTB = partial(ViT, width=768, depth=12, heads=12, mlp=3072)
ViTL = partial(ViT, width=1024, depth=24, heads=16, mlp=4096)

vit_s_16, vit_s_32 = partial(ViTS, patch=16), partial(ViTS, patch=32)
vit_b_16, vit_b_32 = partial(ViTB, patch=16), partial(ViTB, patch=32)
vit_l_16, vit_l_32 = partial(ViTL, patch=16), partial(ViTL, patch=32)
