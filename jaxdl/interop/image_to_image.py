"""Networks from images to images in other implementations: SRGAN, CycleGAN, the context encoder.

SRGAN's layout `public` has the names of a PyTorch tutorial on it that many weights come from, whose
generator ends in a tanh; CycleGAN's those of its authors' PyTorch implementation, in which layers
are counted in a row; the context encoder's those of a row of layers, `main.0`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxdl.interop.reference import (
    TORCH,
    UPWARDS,
    Place,
    Reference,
    Rule,
    Shape,
    flattened,
    layered,
    reshaped,
)
from jaxdl.models.context_encoder import ContextCritic, ContextEncoder
from jaxdl.models.cyclegan import PatchGAN, ResNetGenerator
from jaxdl.models.pix2pix import UNetGenerator
from jaxdl.models.srgan import SRDiscriminator, SRResNet


def _image(side: int, channels: int = 3) -> tuple[Shape, ...]:
    return ((1, side, side, channels),)


def _parts(pattern: str, path: str) -> tuple[str, ...]:
    """The groups of a pattern of a layer's path, '' for those that are not there."""
    if not (found := re.fullmatch(pattern, path)):
        raise KeyError(f'{path} needs a place of its own')
    return found.groups(default='')


def _srresnet_name(path: str) -> str:
    part, _, layer = path.partition('/')
    if found := re.fullmatch(r'block(\d+)', part):
        kind, i = layer[:-1], layer[-1]
        place = {'conv': 0, 'norm': 1, 'act': 2}[kind]
        block = f'residual_blocks.{int(found[1]) - 1}.conv_block{i}'
        return f'{block}.conv_block.{place}'
    if found := re.fullmatch(r'up(\d)(_act)?', part):
        kind = 'prelu' if found[2] else 'conv'
        return f'subpixel_convolutional_blocks.{int(found[1]) - 1}.{kind}'
    kind, i = part[:-1], part[-1]
    place = {'conv': 0, 'norm': 1, 'act': 1}[kind]
    return f'conv_block{i}.conv_block.{place}'


def _slope(path: str) -> Place:
    return Place(f'{_srresnet_name(path)}.weight', reshaped((), (1,)))


def _sr_discriminator_name(path: str) -> str:
    if path.startswith('fc'):
        return path
    kind, i = path[:4], int(path[4:]) - 1
    return f'conv_blocks.{i}.conv_block.{0 if kind == "conv" else 1}'


def _sr_discriminator_rule(width: int = 64, **_: Any) -> Rule:
    lie = flattened(8 * width, 6, 6)
    return layered(TORCH, _sr_discriminator_name, axes={'fc1/kernel': lie})


def _generator_rule(blocks: int = 9, **_: Any) -> Rule:
    """Layers are counted: padding, convolution, norm, ReLU, ..."""

    def rename(path: str) -> str:
        part, _, layer = path.partition('/')
        if found := re.fullmatch(r'block(\d+)', part):
            return f'model.{9 + int(found[1])}.conv_block.{1 if layer == "conv1" else 5}'
        kind, i = _parts(r'(first|down|up|last)(\d?)', part)
        first = {'first': 1, 'down': 1, 'up': 7 + blocks, 'last': 17 + blocks}[kind]
        return f'model.{first + 3 * int(i or 0)}'

    return layered(TORCH, rename, axes={r'up\d/kernel': UPWARDS})


def _unet_generator_rule(depth: int = 8, **_: Any) -> Rule:
    """Each level is a list of layers in that of the level above: model.model.1.model.3.model.1."""

    def rename(path: str) -> str:
        kind, i, norm = _parts(r'(down|up)(\d)(_norm)?', path)
        level = int(i)
        block = 'model.model' + ('' if level == 1 else '.1.model' + '.3.model' * (level - 2))
        up = 3 if level in (1, depth) else 5
        place = (0 if level == 1 else 1) if kind == 'down' else up
        return f'{block}.{place + bool(norm)}'

    return layered(TORCH, rename, axes={r'up\d/kernel': UPWARDS})


def _patchgan_rule(layers: int = 3, **_: Any) -> Rule:
    def rename(path: str) -> str:
        i = layers + 2 if path == 'score' else int(path.removeprefix('conv'))
        return f'model.{0 if i == 1 else 3 * i - 4}'

    return layered(TORCH, rename)


def _encoder_rule(depth: int = 5, **_: Any) -> Rule:
    """conv, act, then conv, norm, act each; the last layer has a tanh alone."""

    def rename(path: str) -> str:
        kind, i, norm = _parts(r'(down|code|up)(\d?)(_norm)?', path)
        index = {'down': int(i or 1), 'code': depth + 1, 'up': depth + 2 + int(i or 0)}[kind]
        first = 0 if index == 1 else 3 * index - 4
        return f'main.{first + bool(norm)}'

    return layered(TORCH, rename, axes={r'up\d/kernel': UPWARDS})


def _critic_rule(depth: int = 4, **_: Any) -> Rule:
    def rename(path: str) -> str:
        i = depth + 1 if path == 'score' else int(path[4:])
        first = 0 if i == 1 else 3 * i - 4
        return f'main.{first + path.startswith("norm")}'

    return layered(TORCH, rename)


def _discriminator(width: int = 64, hidden: int = 1024) -> SRDiscriminator:
    return SRDiscriminator([width, 2 * width, 4 * width, 8 * width], hidden)


def _srresnet(blocks: int = 16, width: int = 64, factor: int = 4) -> SRResNet:
    return SRResNet(blocks, width, factor, final=jnp.tanh)


def _generator(blocks: int = 9, base: int = 64, channels: int = 3) -> ResNetGenerator:
    return ResNetGenerator(blocks, base, channels=channels)


def _unet_generator(base: int = 64, depth: int = 8) -> UNetGenerator:
    return UNetGenerator(base, depth)


def _patchgan(base: int = 64, layers: int = 3) -> PatchGAN:
    return PatchGAN(base, layers)


def _encoder(base: int = 64, bottleneck: int = 4000, depth: int = 5) -> ContextEncoder:
    return ContextEncoder(base, bottleneck, depth)


def _critic(base: int = 64, depth: int = 4) -> ContextCritic:
    return ContextCritic(base, depth)


def _always(rule: Rule) -> Callable[..., Rule]:
    return lambda **_: rule


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('srresnet', 'public'): Reference(
        _srresnet,
        lambda **_: _image(8),
        _always(layered(TORCH, _srresnet_name, places={r'(.*act\d?)/negative_slope': _slope})),
    ),
    ('srgan_discriminator', 'public'): Reference(
        _discriminator, lambda **_: _image(32), _sr_discriminator_rule
    ),
    ('cyclegan_generator', 'public'): Reference(
        _generator, lambda channels=3, **_: _image(16, channels), _generator_rule
    ),
    ('pix2pix_unet', 'public'): Reference(
        _unet_generator, lambda depth=8, **_: _image(1 << depth), _unet_generator_rule
    ),
    ('patchgan', 'public'): Reference(_patchgan, lambda **_: _image(64), _patchgan_rule),
    ('context_encoder', 'torch'): Reference(
        _encoder, lambda depth=5, **_: _image(4 << depth), _encoder_rule
    ),
    ('context_critic', 'torch'): Reference(
        _critic, lambda depth=4, **_: _image(4 << depth), _critic_rule
    ),
}
