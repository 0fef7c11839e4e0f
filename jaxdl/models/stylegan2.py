"""StyleGAN2 (Karras et al. 2020): mapping, synthesis with skips, residual discriminator.

The defaults are configuration F of the paper: at 1024 pixels the generator has 30,370,060
parameters, of which the mapping network has 2,101,248, and the discriminator 29,012,513.
"""

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal, zeros
from jax import lax

from jaxdl.errors import UsageError
from jaxdl.nn.equalised import EqualConv, EqualDense, convolve, convolve_up, leaky, modulate
from jaxdl.nn.resample import upsample

Array = jax.Array
# Each image's own, or the network's, the same for all images and every call.
Noise = Literal['drawn', 'constant']


def resolutions(size: int, *, least: int) -> list[int]:
    """4, 8, ..., size. Raises UsageError where that is no power of two from `least` on."""
    if size < least or size & (size - 1):
        raise UsageError(f'StyleGAN2: size is {size}; it is a power of two from {least} on')
    return [1 << i for i in range(2, size.bit_length())]


class MappingNetwork(nn.Module):
    """z to w: normalised to length sqrt(latent), then dense layers that learn slowly.

    Its memory is w's running mean, towards which `StyleGAN2.truncate` draws.
    decay: of that mean.
    """

    features: int = 512
    depth: int = 8
    rate: float = 0.01
    decay: float = 0.995

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False) -> Array:
        """[B, latent] -> w [B, features]."""
        mean = self.variable('averages', 'w_avg', jnp.zeros, (self.features,))
        w = z * lax.rsqrt((z**2).mean(-1, keepdims=True) + 1e-8)
        for i in range(self.depth):
            w = leaky(EqualDense(self.features, self.rate, name=f'fc{i}')(w))
        if train and not self.is_initializing():
            now = w.mean(0)
            mean.value = now + self.decay * (mean.value - now)
        return w


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution, noise of learned strength, bias, leaky ReLU (figure 2d)."""

    features: int
    convolve: Callable[[Array, Array], Array] = convolve

    @nn.compact
    def __call__(self, x: Array, w: Array, *, noise: Array | None) -> Array:
        """[B, H, W, I], [B, style] -> [B, H', W', features], H' and W' as `convolve` has them.

        noise: [B, H', W'], or None for the layer's own, which is constant.
        """
        kernel = self.param('kernel', normal(1.0), (3, 3, x.shape[-1], self.features))
        strength = self.param('noise_strength', zeros, ())
        bias = self.param('bias', zeros, (self.features,))
        style = EqualDense(x.shape[-1], start=1.0, name='affine')(w)
        x = modulate(x, kernel, style, convolve=self.convolve)
        shape = x.shape[1:3]
        own = self.variable(
            'constants', 'noise_const', lambda: jax.random.normal(self.make_rng('params'), shape)
        )
        noise = own.value[None] if noise is None else noise
        return leaky(x + strength * noise[..., None] + bias[None, None, None])


class ToRGB(nn.Module):
    """A modulated 1x1 convolution without demodulation, and a bias."""

    channels: int

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """[B, H, W, I], [B, style] -> [B, H, W, channels]."""
        inputs = x.shape[-1]
        kernel = self.param('kernel', normal(1.0), (1, 1, inputs, self.channels))
        bias = self.param('bias', zeros, (self.channels,))
        style = EqualDense(inputs, start=1.0, name='affine')(w) / math.sqrt(inputs)
        return modulate(x, kernel, style, demodulate=False) + bias[None, None, None]


class SynthesisNetwork(nn.Module):
    """Styles to images: each resolution adds to the upsampled image (figure 7b, with skips).

    size: of the images, a power of two from 4 on.
    base, most: the maps at resolution r are base / r, and `most` at most.
    """

    size: int = 1024
    channels: int = 3
    base: int = 32768
    most: int = 512

    @property
    def layers(self) -> int:
        """How many styles it takes: 2 log2(size) - 2."""
        return 2 * len(resolutions(self.size, least=4))

    @nn.compact
    def __call__(self, styles: Array, *, noise: Noise = 'drawn') -> Array:
        """[B, layers, W] -> images [B, size, size, channels]; 'drawn' draws from stream 'noise'.

        Raises UsageError for another kind of noise, and for styles of another number of layers.
        """
        if noise not in ('drawn', 'constant'):
            raise UsageError(f"StyleGAN2: noise is {noise!r}; it is 'drawn' or 'constant'")
        if styles.shape[1] != self.layers:
            raise UsageError(
                f'StyleGAN2: {styles.shape[1]} styles; images of {self.size} take {self.layers}'
            )
        sides = resolutions(self.size, least=4)
        # All at once: a generator for each layer makes programs that compile for long.
        areas = [r * r for r in sides for _ in range(1 if r == 4 else 2)]
        maps: list[Array | None] = [None] * len(areas)
        if noise == 'drawn':
            rows = len(styles)
            drawn = jax.random.normal(self.make_rng('noise'), (rows, sum(areas)))
            ends = np.cumsum(areas)[:-1]
            maps = [
                part.reshape(rows, math.isqrt(area), -1)
                for part, area in zip(jnp.split(drawn, ends, 1), areas, strict=True)
            ]
        layer = iter(maps)
        first = min(self.base // 4, self.most)
        start = self.param('const', normal(1.0), (4, 4, first))
        x = jnp.broadcast_to(start[None], (len(styles), *start.shape))
        image, at = jnp.zeros(()), 0
        for r in sides:
            features = min(self.base // r, self.most)
            if r > 4:
                x = SynthesisLayer(features, convolve_up, name=f'b{r}_conv0')(
                    x, styles[:, at - 1], noise=next(layer)
                )
            x = SynthesisLayer(features, name=f'b{r}_conv1')(x, styles[:, at], noise=next(layer))
            # The layer of an image's colours has the style of the next resolution's first.
            rgb = ToRGB(self.channels, name=f'b{r}_torgb')(x, styles[:, at + 1])
            image = rgb if r == 4 else upsample(image) + rgb
            at += 2
        return image


class StyleGAN2(nn.Module):
    """The generator: z to a style w, which every layer of the synthesis is told.

        images, net = net(z, key=key, train=True)  # noise is drawn; w's mean moves
        images, _ = net(z)                         # constant noise
        images, _ = net(z, 0.7, method='still')    # and truncated styles

    latent: of z and of w alike. depth: layers of the mapping network. The rest is as in
    `SynthesisNetwork`.
    """

    size: int = 1024
    channels: int = 3
    latent: int = 512
    depth: int = 8
    base: int = 32768
    most: int = 512

    @property
    def layers(self) -> int:
        """How many styles the synthesis takes: 2 log2(size) - 2."""
        return 2 * len(resolutions(self.size, least=4))

    def setup(self) -> None:
        """The two networks."""
        self.mapping = MappingNetwork(self.latent, self.depth)
        self.synthesis = SynthesisNetwork(self.size, self.channels, self.base, self.most)

    def __call__(self, z: Array, *, noise: Noise | None = None, train: bool = False) -> Array:
        """[B, latent] -> images [B, size, size, channels].

        noise: None is drawn in training, and constant otherwise.
        """
        noise = noise or ('drawn' if train else 'constant')
        return self.synthesis(self.spread(self.mapping(z, train=train)), noise=noise)

    def map(self, z: Array, *, train: bool = False) -> Array:
        """[B, latent] -> styles w [B, latent]."""
        return self.mapping(z, train=train)

    def spread(self, w: Array) -> Array:
        """The same style for every layer: [B, latent] -> [B, layers, latent]."""
        return jnp.broadcast_to(w[:, None], (len(w), self.layers, w.shape[-1]))

    def mix(self, first: Array, second: Array, crossover: Array) -> Array:
        """Two styles [B, latent] -> [B, layers, latent]: the first one up to a layer, int [B].

        Style mixing (Karras et al. 2019, section 3.1): crossover 0 is the second alone, `layers`
        the first.
        """
        layer = jnp.arange(self.layers)
        earlier = layer[None] < crossover[:, None]
        return jnp.where(earlier[..., None], self.spread(first), self.spread(second))

    def synthesise(self, styles: Array, *, noise: Noise = 'drawn') -> Array:
        """[B, layers, latent] -> images [B, size, size, channels]."""
        return self.synthesis(styles, noise=noise)

    def truncate(self, w: Array, psi: float | Array) -> Array:
        """E[w] + psi (w - E[w]) (Karras et al. 2019, appendix B), [B, latent] of both."""
        mean: Array = self.get_variable('averages', 'mapping')['w_avg'][None]
        return mean + psi * (w - mean)

    def still(self, z: Array, psi: float | Array = 1.0) -> Array:
        """Images [B, size, size, channels] of truncated styles, with constant noise."""
        w = self.truncate(self.mapping(z), psi)
        return self.synthesis(self.spread(w), noise='constant')

    def still_mix(self, first: Array, second: Array, crossover: Array) -> Array:
        """Images of z [B, latent] and another z, mixed at `crossover` [B], with constant noise."""
        styles = self.mix(self.mapping(first), self.mapping(second), crossover)
        return self.synthesis(styles, noise='constant')


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a 1x1 beside them; halves the image (figure 7c, residual)."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, I] -> [B, H / 2, W / 2, features]."""
        y = leaky(EqualConv(x.shape[-1], name='conv0')(x))
        y = leaky(EqualConv(self.features, down=True, name='conv1')(y))
        x = EqualConv(self.features, 1, use_bias=False, down=True, name='skip')(x)
        return (x + y) * math.sqrt(0.5)


def batch_deviation(x: Array, *, group: int = 4) -> Array:
    """How much the images of a group differ, beside x: [B, H, W, C] -> [B, H, W, C + 1].

    The standard deviation over the images of a group, in the mean over pixels and channels: one
    number for each group (Karras et al. 2018, section 3). Image i is of group i mod (B / group).
    group: of fewer images all are one. Raises UsageError where B is no multiple of it.
    """
    rows = len(x)
    group = min(group, rows)
    if rows % group:
        raise UsageError(f'StyleGAN2: {rows} images do not make groups of {group}; take a multiple')
    grouped = x.reshape(group, rows // group, -1)
    variance = ((grouped - grouped.mean(0, keepdims=True)) ** 2).mean(0)
    deviation = jnp.sqrt(variance + 1e-8).mean(-1)
    map_ = jnp.broadcast_to(jnp.tile(deviation, group)[:, None, None, None], (*x.shape[:3], 1))
    return jnp.concatenate((x, map_), -1)


class StyleGAN2Discriminator(nn.Module):
    """The residual discriminator with the batch's standard deviation as one more map.

    size: of the images, a power of two from 8 on. base, most: as in `SynthesisNetwork`.
    group: how many images that deviation is taken over.
    """

    size: int = 1024
    base: int = 32768
    most: int = 512
    group: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Images [B, size, size, C] -> logits [B, 1].

        Raises UsageError for images of another size, and where B is no multiple of the group.
        """
        if x.shape[1:3] != (self.size, self.size):
            raise UsageError(f'StyleGAN2: images {list(x.shape)}; height and width are {self.size}')
        widths = {r: min(self.base // r, self.most) for r in resolutions(self.size, least=8)}
        x = leaky(EqualConv(widths[self.size], 1, name='fromrgb')(x))
        for r in sorted(widths, reverse=True)[:-1]:
            x = ResidualBlock(widths[r // 2], name=f'b{r}')(x)
        x = leaky(EqualConv(widths[4], name='b4_conv')(batch_deviation(x, group=self.group)))
        x = leaky(EqualDense(widths[4], name='b4_fc')(x.reshape(len(x), -1)))
        return EqualDense(1, name='b4_out')(x)
