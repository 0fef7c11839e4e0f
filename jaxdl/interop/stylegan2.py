"""StyleGAN2 in its authors' PyTorch implementation.

The layout `nvlabs` has the names of stylegan2-ada-pytorch: mapping.fc0.weight, mapping.w_avg,
synthesis.b8.conv0.affine.weight, synthesis.b8.torgb.bias; b32.fromrgb.weight, b32.skip.weight,
b4.fc.weight. Its filters (`resample_filter`) are constants here. Where it doubles an image it
convolves, and so does not mirror kernels as PyTorch does elsewhere: ours are mirrored there.
"""

import re
from collections.abc import Mapping

import flax.linen as nn

from jaxdl.interop.reference import (
    TORCH,
    Axes,
    Place,
    Reference,
    Rule,
    Shape,
    flattened,
    layered,
)
from jaxdl.models.stylegan2 import (
    MappingNetwork,
    StyleGAN2,
    StyleGAN2Discriminator,
    SynthesisNetwork,
    resolutions,
)

MIRRORED = Axes(
    lambda x: x.transpose(2, 3, 1, 0)[::-1, ::-1],
    lambda x: x[::-1, ::-1].transpose(3, 2, 0, 1),
)
CHANNELS_FIRST = Axes(lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1))
FILTERS = r'.*resample_filter'


def _generating(prefix: str = '') -> Rule:
    """prefix: of the synthesis network's modules, 'synthesis/' in a generator."""

    def rename(path: str) -> str:
        return re.sub(r'\b(b\d+)_', r'\1.', path).replace('/', '.')

    def own(layer: str, name: str) -> Place:
        return Place(f'{rename(layer)}.{name}')

    def first() -> Place:
        return Place(f'{rename(prefix)}b4.const', CHANNELS_FIRST)

    return layered(
        TORCH,
        rename,
        axes={r'.*b\d+_conv0/kernel': MIRRORED},
        places={
            r'(.*)/(noise_strength|noise_const)': own,
            r'(mapping)/(w_avg)': own,
            r'w_avg': lambda: Place('w_avg'),
            rf'{prefix}const': first,
        },
    )


def _mapping(latent: int = 512, depth: int = 8) -> nn.Module:
    return MappingNetwork(latent, depth)


def _synthesis(
    size: int = 1024, channels: int = 3, base: int = 32768, most: int = 512, latent: int = 512
) -> nn.Module:
    return SynthesisNetwork(size, channels, base, most)


def _generator(
    size: int = 1024,
    channels: int = 3,
    latent: int = 512,
    depth: int = 8,
    base: int = 32768,
    most: int = 512,
) -> nn.Module:
    return StyleGAN2(size, channels, latent, depth, base, most)


def _discriminator(
    size: int = 1024, channels: int = 3, base: int = 32768, most: int = 512
) -> nn.Module:
    return StyleGAN2Discriminator(size, base, most)


def _styles(size: int = 1024, latent: int = 512, **_: int) -> tuple[Shape, ...]:
    return ((1, 2 * len(resolutions(size, least=4)), latent),)


def _judging(size: int = 1024, base: int = 32768, most: int = 512, **_: int) -> Rule:
    def rename(path: str) -> str:
        if path == 'fromrgb':
            return f'b{size}.fromrgb'
        return re.sub(r'^b4_', 'b4.', path).replace('/', '.')

    last = flattened(min(base // 4, most), 4, 4)
    return layered(TORCH, rename, axes={'b4_fc/kernel': last})


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('stylegan2_mapping', 'nvlabs'): Reference(
        _mapping, lambda latent=512, **_: ((1, latent),), lambda **_: _generating(), FILTERS
    ),
    ('stylegan2_synthesis', 'nvlabs'): Reference(
        _synthesis, _styles, lambda **_: _generating(), FILTERS
    ),
    ('stylegan2', 'nvlabs'): Reference(
        _generator,
        lambda latent=512, **_: ((1, latent),),
        lambda **_: _generating('synthesis/'),
        FILTERS,
    ),
    ('stylegan2_discriminator', 'nvlabs'): Reference(
        _discriminator,
        lambda size=1024, channels=3, **_: ((1, size, size, channels),),
        _judging,
        FILTERS,
    ),
}
