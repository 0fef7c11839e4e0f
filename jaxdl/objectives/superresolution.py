"""Super-resolution: large images from small ones, by their pixels or against a discriminator.

A batch has small images x [B, h, w, 3] and what they were made of, y [B, H, W, 3], both 0..1, and
where those are of several sizes `sizes` [B, 2], the height and width of each in y.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.game import Nets, Shadow
from jaxdl.keys import Key
from jaxdl.metrics import Better, Each, Mean
from jaxdl.metrics.images import (
    inner_pixels,
    luma,
    patch_distance,
    psnr,
    spectral_distance,
    ssim,
)
from jaxdl.nn.resize import resize_bicubic
from jaxdl.objectives.reconstruction import (
    SQUARED,
    Content,
    adversarial_reconstructor,
    make,
    reconstructor,
)
from jaxdl.samples import Images
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array

BETTER: Mapping[str, Better] = {
    'psnr': 'higher',
    'ssim': 'higher',
    'spectrum': 'lower',
    'patches': 'lower',
}


def super_resolver(
    generator: nn.Module,
    opt: optax.GradientTransformation,
    *,
    content: Content = SQUARED,
    border: int = 4,
    shadow: Shadow | None = None,
) -> Task:
    """SRResNet's objective (Ledig et al. 2017, section 2.2): the content loss alone.

    Measures what `scores` says; border: the pixels that are cut off there.
    """
    return reconstructor(generator, opt, _measure(border), content=content, shadow=shadow)


def srgan(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    generator_opt: optax.GradientTransformation,
    discriminator_opt: optax.GradientTransformation,
    weight: float = 1e-3,
    content: Content = SQUARED,
    border: int = 4,
    shadow: Shadow | None = None,
) -> Task:
    """SRGAN's objective (Ledig et al. 2017, eq. 3): content + weight x adversarial loss.

    The generator begins as one that has been trained by its content loss: see `jaxdl.transfer`'s
    ``graft(nets={'generator': 'generator'})``. Measures what `scores` says.
    """
    return adversarial_reconstructor(
        generator,
        discriminator,
        _measure(border),
        generator_opt=generator_opt,
        critic_opt=discriminator_opt,
        weight=weight,
        content=content,
        shadow=shadow,
    )


def scores(made: Array, batch: Batch, *, border: int = 4) -> dict[str, Array]:
    """What is measured of images [B, H, W, 3] beside those of a batch, by name, one each, [B].

    As the field does it: colours and luma are rounded to 8 bits, `border` pixels are cut off all
    sides, and only the luma counts. 'psnr' in decibels and 'ssim'; 'spectrum', the distance of
    power spectra in decibels, and 'patches', that of textures in 255ths (see
    `jaxdl.metrics.images`).
    """
    _, high, wide, _ = made.shape
    counts = inner_pixels((high, wide), batch.get('sizes'), border=border)
    a, b = (_rounded(luma(_rounded(x))) for x in (made, batch['y']))
    return {
        'psnr': psnr(a, b, counts=counts),
        'ssim': ssim(a, b, counts=counts),
        'spectrum': spectral_distance(a, b, counts=counts),
        'patches': 255 * patch_distance(a, b, counts=counts),
    }


def show_resolved(
    nets: Nets, batch: Batch, key: Key, *, window: int = 120, count: int = 4
) -> dict[str, Any]:
    """Side by side: bicubic, what the generator makes, and the truth, of the middle of images."""
    few = {name: batch[name][:count] for name in ('x', 'y')}
    up = resize_bicubic(few['x'], few['y'].shape[1:3])
    whole = jnp.array([few['y'].shape[1:3]] * len(few['y']))
    corners = (batch.get('sizes', whole)[: len(whole)] - window) // 2

    def middle(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (window, window, image.shape[-1]))

    columns = [jax.vmap(middle)(x, corners) for x in (up, make(nets, few), few['y'])]
    pixels = jnp.stack(columns, 1).reshape(-1, window, window, few['y'].shape[-1])
    return {'resolved': Images(jnp.clip(pixels, 0, 1), columns=3)}


def _measure(border: int) -> Any:
    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        found, mask = scores(make(nets, batch), batch, border=border), batch['mask']
        means: dict[str, Any] = {
            name: Mean.of(values, mask, better=BETTER[name]) for name, values in found.items()
        }
        return means | {f'{name}/each': Each.of(x, mask) for name, x in found.items()}

    return measure


def _rounded(x: Array) -> Array:
    return jnp.floor(jnp.clip(x, 0, 1) * 255 + 0.5) / 255
