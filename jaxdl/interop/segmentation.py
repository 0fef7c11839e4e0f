"""FCN and U-Net in other implementations.

U-Net's layout `public` has the names of the PyTorch implementation that most public weights were
trained with: inc.double_conv.0.weight, down1.maxpool_conv.1.double_conv.0.weight, up1.up.weight,
outc.conv.weight. The network of 2015 has the same names where it has the same layers.
"""

import re
from collections.abc import Mapping

from jaxdl.interop.reference import TORCH, UPWARDS, Reference, Rule, layered
from jaxdl.models.unet import UNet, unet_original


def _unet(convolutions: tuple[int, int]) -> Rule:
    """convolutions: the places of the two 3x3 convolutions in the list of a block's layers."""

    def rename(path: str) -> str:
        path = re.sub(r'^(up\d+)_', r'\1.', path)
        block, _, layer = path.partition('/')
        if not layer:
            return 'outc.conv' if block == 'outc' else block
        kind, i = layer[:-1], int(layer[-1]) - 1
        place = convolutions[i] + (kind == 'norm')
        inner = '.maxpool_conv.1' if block.startswith('down') else ''
        return f'{block}{inner}.double_conv.{place}'

    return layered(TORCH, rename, axes={r'up\d+_up/kernel': UPWARDS})


def _public_unet(channels: int = 3, classes: int = 2, base: int = 64, depth: int = 4) -> UNet:
    return UNet(classes=classes, base=base, depth=depth)


def _original_unet(channels: int = 1, classes: int = 2, base: int = 64, depth: int = 4) -> UNet:
    return unet_original(classes=classes, base=base, depth=depth)


def _image(side: int, channels: int) -> tuple[tuple[int, ...], ...]:
    return ((1, side, side, channels),)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('unet', 'public'): Reference(
        _public_unet,
        lambda channels=3, depth=4, **_: _image(1 << depth, channels),
        lambda **_: _unet((0, 3)),
    ),
    ('unet_original', 'public'): Reference(
        _original_unet,
        # The smallest image there is: one position after the last pooling's two convolutions.
        lambda channels=1, depth=4, **_: _image(12 * (1 << depth) - 4, channels),
        lambda **_: _unet((0, 2)),
    ),
}
