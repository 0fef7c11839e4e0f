"""CLIP: images and texts in one space, so that what belongs together lies together.

Radford et al. 2021, *Learning transferable visual models from natural language supervision*. With
ViT-B/32 it has 151,277,313 parameters, with ViT-B/16 149,620,737, with ViT-L/14 427,616,513.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.transformer import Block, LayerNorm, Perceptron
from jaxdl.nn.attention import Attention
from jaxdl.nn.axes import named
from jaxdl.nn.layers import Conv

Array = jax.Array
Layer = Callable[..., nn.Module]


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x), the approximation that CLIP was trained with (Hendrycks and Gimpel)."""
    return x * jax.nn.sigmoid(1.702 * x)


class Embedded(NamedTuple):
    """Images [B, width] and texts [C, width] of length 1, and what scales their products, []."""

    images: Array
    texts: Array
    scale: Array

    @property
    def logits(self) -> Array:
        """scale * image . text, [B, C]."""
        return self.scale * self.images @ self.texts.T


def _block(
    depth: int, heads: int, width: int, mlp: int, activation: Callable[[Array], Array], norm: Layer
) -> Callable[..., Block]:
    """(name=) -> a block with its norms first; initial values as in its authors' code."""
    normal = initializers.normal
    attention = partial(
        Attention,
        heads,
        width,
        kernel_init=normal(width**-0.5),
        out_init=normal((2 * depth * width) ** -0.5),
    )
    perceptron = partial(
        Perceptron,
        mlp,
        width,
        activation=activation,
        kernel_init=normal((2 * width) ** -0.5),
        out_init=normal((2 * depth * width) ** -0.5),
    )
    return partial(Block, attention, perceptron, norm=norm)


class ImageTower(nn.Module):
    """CLIP's vision transformer (section 2.4): norms first, one more before the blocks.

    Patches have no bias. The feature of an image is the class token's, after a last norm. The
    number of learned positions is that of the images it is initialised on.

    width, depth, heads, mlp: of the blocks. patch: side of a patch in pixels.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    patch: int = 32
    activation: Callable[[Array], Array] = quick_gelu
    norm: Layer = LayerNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, width]; the patch divides H and W."""
        batch, rows, columns, _ = x.shape
        if rows % self.patch or columns % self.patch:
            raise ValueError(f'patches of {self.patch} do not tile images of {rows}x{columns}')
        side = (self.patch, self.patch)
        patches = Conv(
            self.width, side, strides=side, padding='VALID', use_bias=False, name='patches'
        )
        x = patches(x).reshape(batch, -1, self.width)
        normal = initializers.normal(self.width**-0.5)
        token = self.param('token', normal, (self.width,))
        token = jnp.broadcast_to(token[None, None], (batch, 1, self.width))
        z = jnp.concatenate([token, x], axis=1)
        z = z + self.param('position', named(normal, None, 'embed'), z.shape[1:])[None]
        z = self.norm(name='norm_before')(z)
        block = _block(self.depth, self.heads, self.width, self.mlp, self.activation, self.norm)
        for i in range(self.depth):
            z = block(name=f'block_{i}')(z, train=train)
        return self.norm(name='norm_after')(z[:, 0])


class TextTower(nn.Module):
    """CLIP's Transformer of texts (section 2.4): causal, read at the token that ends the text.

    vocabulary, context: how many tokens there are, and how many are read at most.
    """

    vocabulary: int = 49_408
    context: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp: int = 2048
    activation: Callable[[Array], Array] = quick_gelu
    norm: Layer = LayerNorm

    def setup(self) -> None:
        """Embeddings and blocks."""
        words = named(initializers.normal(0.02), 'vocabulary', 'embed')
        places = named(initializers.normal(0.01), None, 'embed')
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=words)
        self.position = nn.Embed(self.context, self.width, embedding_init=places)
        self.norm_after = self.norm()
        block = _block(self.depth, self.heads, self.width, self.mlp, self.activation, self.norm)
        self.block = [block() for _ in range(self.depth)]

    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> [B, width], of the last of `lengths` [B]; None: of all T.

        What comes after that is not seen. Raises ValueError for more than the context.
        """
        batch, steps = tokens.shape
        if steps > self.context:
            raise ValueError(f'{steps} tokens, and a context of {self.context}')
        x = self.word(tokens) + self.position(jnp.arange(steps)[None])
        for block in self.block:
            x = block(x, causal=True, train=train)
        last = jnp.full(batch, steps) if lengths is None else lengths
        return self.norm_after(x[jnp.arange(batch), last - 1])


class CLIP(nn.Module):
    """Two towers, a projection of each into one space, and a learned temperature (figure 3).

    image(), text() -> modules: called on images and on (tokens, lengths), with `train=`, they give
        features [B, any width]: `ImageTower` and `TextTower`, or others, ``partial(LeNet,
        classes=64)``.
    width: of the space. temperature: t at the start; products are scaled by exp(log(1 / t)), of
        which the logarithm is learned (section 2.5).
    """

    image: Layer = ImageTower
    text: Layer = TextTower
    width: int = 512
    temperature: float = 0.07

    def setup(self) -> None:
        """Towers and projections."""
        self.image_tower, self.text_tower = self.image(), self.text()
        scaled = initializers.variance_scaling(1.0, 'fan_in', 'normal')  # of deviation width^-1/2
        self.image_projection = nn.Dense(self.width, use_bias=False, kernel_init=scaled)
        self.text_projection = nn.Dense(self.width, use_bias=False, kernel_init=scaled)
        start = initializers.constant(math.log(1 / self.temperature))
        self.logit_scale = self.param('logit_scale', start, ())

    def __call__(
        self, images: Array, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Embedded:
        """Images [B, H, W, C] and texts int [C, T], their lengths [C]."""
        return Embedded(
            self.embed_images(images, train=train),
            self.embed_texts(tokens, lengths, train=train),
            jnp.exp(self.logit_scale),
        )

    def embed_images(self, images: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, width], of length 1."""
        return unit_length(self.image_projection(self.image_tower(images, train=train)))

    def embed_texts(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [C, T] -> [C, width], of length 1."""
        return unit_length(self.text_projection(self.text_tower(tokens, lengths, train=train)))


def unit_length(x: Array) -> Array:
    """x / |x| along the last axis."""
    # rsqrt of a sum that is never 0: a row of zeros has a gradient too.
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24))


def _sized(image: Layer, text: Layer, width: int) -> Callable[..., CLIP]:
    return partial(CLIP, image, text, width)


clip_vit_b_32 = _sized(ImageTower, TextTower, 512)
clip_vit_b_16 = _sized(partial(ImageTower, patch=16), TextTower, 512)
clip_vit_l_14 = _sized(
    partial(ImageTower, width=1024, depth=24, heads=16, mlp=4096, patch=14),
    partial(TextTower, width=768, heads=12, mlp=3072),
    768,
)
