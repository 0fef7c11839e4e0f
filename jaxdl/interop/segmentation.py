"""FCN and U-Net in other implementations.

U-Net's layout `public` has the names of the PyTorch implementation that most public weights were
trained with: inc.double_conv.0.weight, down1.maxpool_conv.1.double_conv.0.weight, up1.up.weight,
outc.conv.weight. The network of 2015 has the same names where it has the same layers. FCN's layout
`public` has the names of its authors' Caffe networks, which ports to PyTorch have kept.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from jaxdl.interop.reference import TORCH, UPWARDS, Reference, Rule, Shape, layered
from jaxdl.interop.residual import torchvision_name
from jaxdl.models.fcn import FCN, DilatedFCN, FCNHead, fcn_resnet50
from jaxdl.models.resnet import Bottleneck, Stages
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


def _image(side: int, channels: int) -> tuple[Shape, ...]:
    return ((1, side, side, channels),)


def _fcn(skips: int) -> Reference:
    def build(classes: int = 21, width: int = 64, hidden: int = 4096) -> FCN:
        features = [width * n for n in (1, 2, 4, 8, 8)]
        return FCN(skips=skips, features=features, hidden=(hidden, hidden), classes=classes)

    def rename(path: str) -> str:
        if found := re.fullmatch(r'block(\d)_conv(\d)', path):
            return 'conv{}_{}'.format(*found.groups())
        return {'upscore_fr': 'upscore2', 'upscore32': 'upscore'}.get(path, path)

    rule = layered(TORCH, rename, axes={r'upscore\w*/kernel': UPWARDS})
    return Reference(build, lambda **_: _image(32, 3), lambda **_: rule)


def _dilated(auxiliary: Callable[..., FCNHead] | None) -> Reference:
    def build(classes: int = 21, stages: Sequence[int] = (3, 4, 6, 3)) -> DilatedFCN:
        backbone = partial(Stages, stages, Bottleneck, dilated=(False, True, True))
        return fcn_resnet50(classes=classes, backbone=backbone, auxiliary=auxiliary)

    def rename(path: str) -> str:
        head, _, layer = path.partition('/')
        place = {'conv': 0, 'norm': 1, 'score': 4}.get(layer)
        return torchvision_name(path) if head == 'backbone' else f'{head}.{place}'

    rule = layered(TORCH, rename)
    return Reference(build, lambda **_: _image(32, 3), lambda **_: rule)


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
    ('fcn32s', 'public'): _fcn(0),
    ('fcn16s', 'public'): _fcn(1),
    ('fcn8s', 'public'): _fcn(2),
    ('fcn_resnet50', 'torchvision'): _dilated(None),
    ('fcn_resnet50_aux', 'torchvision'): _dilated(FCNHead),
}
