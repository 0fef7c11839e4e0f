"""The denoising U-Net in other implementations.

The layout `public` has the names of the PyTorch port in which the weights of the authors are passed
around: temb.dense.0, conv_in, down.0.block.0.conv1, down.1.attn.0.q, mid.block_1, conv_out.
"""

import re
from collections.abc import Mapping, Sequence

from jaxdl.interop.reference import TORCH, Reference, Shape, layered
from jaxdl.models.ddpm import DenoisingUNet

RESIDUAL = {'told': 'temb_proj', 'shortcut': 'nin_shortcut'}
ATTENTION = {'norm': 'norm', 'query': 'q', 'key': 'k', 'value': 'v', 'out': 'proj_out'}
ENDS = {
    'step1': 'temb.dense.0',
    'step2': 'temb.dense.1',
    'inc': 'conv_in',
    'norm': 'norm_out',
    'out': 'conv_out',
}


def _rename(path: str) -> str:
    block, _, layer = path.partition('/')
    if not layer:
        if found := re.fullmatch(r'(down|up)(\d)', block):
            return '{}.{}.{}sample.conv'.format(*found.groups(), found.group(1))
        return ENDS[block]
    block, attends, _ = block.partition('_attention')
    layer = (ATTENTION if attends else RESIDUAL).get(layer, layer)
    kind = 'attn' if attends else 'block'
    if found := re.match(r'middle(\d)', block):
        return f'mid.{kind}_{int(found.group(1)) + 1}.{layer}'
    way, level, i = re.fullmatch(r'(down|up)(\d)_(\d)', block).groups()  # type: ignore[union-attr]
    return f'{way}.{level}.{kind}.{i}.{layer}'


def _build(
    channels: int = 3,
    width: int = 128,
    levels: Sequence[int] = (1, 2, 2, 2),
    blocks: int = 2,
    attention: Sequence[int] = (16,),
    groups: int = 32,
) -> DenoisingUNet:
    return DenoisingUNet(channels, width, levels, blocks, attention, groups, dropout=0.0)


def _inputs(channels: int = 3, attention: Sequence[int] = (16,), **_: object) -> tuple[Shape, ...]:
    # Sides that meet those of the maps that attend, one halving below the first.
    side = 2 * attention[0]
    return (1, side, side, channels), (1,)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('ddpm', 'public'): Reference(_build, _inputs, lambda **_: layered(TORCH, _rename)),
}
