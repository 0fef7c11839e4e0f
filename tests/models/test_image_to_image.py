"""Networks from images to images: sizes, what a patch sees, and what a layer's place is."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from jaxdl.errors import UsageError
from jaxdl.models.context_encoder import ContextCritic, ContextEncoder
from jaxdl.models.cyclegan import PatchGAN, ResNetGenerator, reflected
from jaxdl.models.pix2pix import UNetGenerator
from jaxdl.models.srgan import SRDiscriminator, SRResNet

KEY = jax.random.key(0)
# As independent PyTorch builds count them (tests/parity/originals/image_to_image.py).
FULL = {
    'srresnet': (SRResNet(), (8, 8, 3), 1_549_462),
    'srgan_discriminator': (SRDiscriminator(), (96, 96, 3), 23_565_505),
    'cyclegan_9': (ResNetGenerator(), (256, 256, 3), 11_378_179),
    'cyclegan_6': (ResNetGenerator(6), (128, 128, 3), 7_837_699),
    'pix2pix_unet': (UNetGenerator(), (256, 256, 3), 54_413_955),
    'patchgan': (PatchGAN(), (256, 256, 3), 2_764_737),
    'context_encoder': (ContextEncoder(), (128, 128, 3), 71_124_544),
    'context_critic': (ContextCritic(), (64, 64, 3), 2_765_568),
}
OUTPUTS = {
    'srresnet': (32, 32, 3),
    'srgan_discriminator': (1,),
    'patchgan': (30, 30, 1),
    'context_encoder': (64, 64, 3),
    'context_critic': (1,),
}


@pytest.mark.parametrize('name', FULL)
def test_parameters_and_outputs_are_those_of_the_paper(name):
    module, image, parameters = FULL[name]
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    y, variables = jax.eval_shape(lambda x: module.init_with_output(KEY, x), x)
    counted = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))
    assert counted == parameters
    assert y.shape == (2, *OUTPUTS.get(name, image))


@pytest.mark.parametrize('layers, first, last', mostly_slow([(1, 5, 20), (3, 17, 86)]))
def test_a_patch_is_as_large_as_its_name(layers, first, last):
    """70x70 with three layers, 16x16 with one."""
    # Without norms: an instance norm lets every patch see the whole image a little.
    net = PatchGAN(1, layers, norm=lambda *, name, train: lambda x: x)
    x = jax.random.normal(KEY, (1, 96, 96, 1))
    variables = net.init(KEY, x)

    @jax.jit
    def seen(x):
        return jax.grad(lambda x: net.apply(variables, x)[0, 5, 5, 0])(x)

    there = np.abs(seen(x)[0, :, :, 0])
    for axis in (0, 1):
        places = np.flatnonzero(there.sum(axis))
        assert (places[0], places[-1]) == (first, last)


@pytest.mark.slow
def test_a_generator_follows_its_image_and_ends_between_minus_one_and_one():
    net = ResNetGenerator(1, 4, downs=1, channels=2)
    x = jax.random.normal(KEY, (2, 12, 8, 3))
    variables = jax.jit(net.init)(KEY, x)
    variables = jax.tree.map(lambda w: 40 * w, variables)
    y = jax.jit(net.apply)(variables, x)
    assert y.shape == (2, 12, 8, 2) and 0.9 < np.abs(y).max() <= 1
    # An instance's norm is its own: another image beside it changes nothing.
    alone = jax.jit(net.apply)(variables, x[:1])
    np.testing.assert_allclose(alone, y[:1], atol=1e-4)
    with pytest.raises(ValueError, match='13x8: sides must be multiples of 2'):
        net.apply(variables, jnp.ones((1, 13, 8, 3)))
    assert reflected(jnp.arange(3.0)[None, :, None, None].repeat(3, 2), 1)[0, :, 1, 0].tolist() == [
        *(1, 0, 1, 2, 1)
    ]


@pytest.mark.slow
def test_a_super_resolver_moves_with_its_image():
    net = SRResNet(1, 4)
    x = jax.random.normal(KEY, (1, 28, 28, 3))
    variables = jax.jit(net.init)(KEY, x)
    apply = jax.jit(net.apply)
    whole, moved = apply(variables, x), apply(variables, jnp.roll(x, 1, (1, 2)))
    inner = slice(44, 68)  # beyond what the border reaches
    np.testing.assert_allclose(
        jnp.roll(whole, 4, (1, 2))[:, inner, inner], moved[:, inner, inner], atol=1e-5
    )
    with pytest.raises(UsageError, match='factor=3; it is a power of 2'):
        SRResNet(1, 4, factor=3).init(KEY, x)


def test_a_context_encoder_is_for_images_of_one_size():
    with pytest.raises(ValueError, match='depth=3 is for images of 32x32, not 32x40'):
        ContextEncoder(2, 4, depth=3).init(KEY, jnp.ones((1, 32, 40, 3)))
