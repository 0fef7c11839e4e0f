"""Faster R-CNN in other implementations.

torchvision's transform of images (their mean, deviation and size) is no part of either network.
Its classes have the background as number 0, ours do not count it: `classes` is one less there.
"""

import re
from collections.abc import Mapping
from functools import partial

from jaxdl.interop.reference import TORCH, Reference, Rule, flattened, layered
from jaxdl.models.faster_rcnn import (
    BoxHead,
    BoxHidden,
    FasterRCNN,
    fasterrcnn_resnet50_fpn,
)
from jaxdl.models.resnet import BasicBlock, Stages
from jaxdl.nn.fpn import FeaturePyramid

NAMES = {
    r'^trunk/layer(\d)_(\d+)/': r'backbone.body.layer\1.\2.',
    r'^trunk/': 'backbone.body.',
    r'^fpn/(inner|layer)(\d)': r'backbone.fpn.\1_blocks.\2.0',
    r'^rpn/conv': 'rpn.head.conv.0.0',
    r'^rpn/': 'rpn.head.',
    r'^head/hidden/fc': 'roi_heads.box_head.fc',
    r'^head/': 'roi_heads.box_predictor.',
    r'downsample_': 'downsample.',
}


def _rename(path: str) -> str:
    for ours, theirs in NAMES.items():
        path = re.sub(ours, theirs, path)
    return path.replace('/', '.')


def _rule(features: int = 256, **_: object) -> Rule:
    return layered(TORCH, _rename, axes={'head/hidden/fc6/kernel': flattened(features, 7, 7)})


def _resnet50(classes: int = 90, epsilon: float = 1e-5, proposals: int = 1000) -> FasterRCNN:
    """proposals: looked at in each level, and of all levels; epsilon: 0 with COCO's weights."""
    network = fasterrcnn_resnet50_fpn(classes=classes, epsilon=epsilon)
    return network.clone(before=(2000, proposals), after=(2000, proposals))


def _resnet18(
    classes: int = 90,
    stages: int = 4,
    blocks: int = 2,
    features: int = 256,
    hidden: int = 1024,
    proposals: int = 1000,
    drawn: int = 512,
) -> FasterRCNN:
    """On a ResNet-18 whose norms are trained, or on a part of it.

    stages: of the trunk, the first ones, and `blocks` in each; features: of the pyramid; hidden:
    units of the head. proposals: looked at in each level, and of all levels; drawn: anchors and
    regions of an image that are learned from.
    """
    trunk = partial(Stages, (blocks,) * stages, BasicBlock, (64, 128, 256, 512)[:stages])
    return FasterRCNN(
        trunk,
        classes=classes,
        pyramid=partial(FeaturePyramid, features),
        head=partial(BoxHead, hidden=partial(BoxHidden, units=(hidden, hidden))),
        sizes=FasterRCNN.sizes[: stages + 1],
        before=(proposals, proposals),
        after=(proposals, proposals),
        anchors_drawn=drawn,
        regions_drawn=drawn,
    )


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('fasterrcnn_resnet50_fpn', 'torchvision'): Reference(
        _resnet50, lambda **_: ((1, 64, 64, 3),), _rule
    ),
    ('fasterrcnn_resnet18_fpn', 'torchvision'): Reference(
        _resnet18, lambda **_: ((1, 64, 64, 3),), _rule
    ),
}
