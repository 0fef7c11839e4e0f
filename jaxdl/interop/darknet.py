"""YOLOv3 in other implementations: those that number its layers as Darknet's configuration does."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from jaxdl.interop.reference import TORCH, Reference, Rule, layered
from jaxdl.models.yolo import Darknet, TinyYOLOv3, YOLOv3

BLOCKS = (1, 2, 8, 8, 4)


def yolov3(classes: int = 80, width: int = 32, blocks: Sequence[int] = BLOCKS) -> YOLOv3:
    """The network; `blocks` of its backbone's stages."""
    return YOLOv3(classes, width=width, backbone=partial(Darknet, tuple(blocks)))


def tiny(classes: int = 80, width: int = 16) -> TinyYOLOv3:
    """The small one."""
    return TinyYOLOv3(classes, width=width)


def layers(blocks: Sequence[int]) -> Iterator[tuple[str, int]]:
    """(our unit, the number of its layer in yolov3.cfg), in the order of the file.

    Shortcuts, routes, upsampling and outputs are layers there too, and so have numbers.
    """
    yield 'backbone/stem', 0
    at = 1
    for i, count in enumerate(blocks, 1):
        yield f'backbone/stage{i}_down', at
        for j in range(count):
            yield f'backbone/stage{i}_{j}/reduce', at + 1 + 3 * j
            yield f'backbone/stage{i}_{j}/expand', at + 2 + 3 * j
        at += 1 + 3 * count
    for i in range(3):
        if i:
            # From the output: detection, a route back, this, upsampling, a route that joins.
            yield f'scale{i}_lateral', at + 3
            at += 6
        for j in range(3):
            yield f'scale{i}_reduce{j}', at + 2 * j
            yield f'scale{i}_expand{j}', at + 2 * j + 1
        yield f'scale{i}_output', at + 6
        at += 6


# yolov3-tiny.cfg: pooling follows each of the first six.
TINY = {
    **{f'conv{i}': 2 * i for i in range(6)},
    **{'conv6': 12, 'conv7': 13, 'scale0_conv': 14, 'scale0_output': 15},
    **{'scale1_lateral': 18, 'scale1_conv': 21, 'scale1_output': 22},
}
WORDS = {'conv': 'conv', 'norm': 'batch_norm'}


def _rule(numbers: Mapping[str, int]) -> Rule:
    """'scale0_output/conv' -> 'module_list.81.conv_81'."""

    def rename(path: str) -> str:
        unit, _, layer = path.rpartition('/')
        return f'module_list.{numbers[unit]}.{WORDS[layer]}_{numbers[unit]}'

    return layered(TORCH, rename)


def _inputs(**config: object) -> tuple[tuple[int, ...], ...]:
    return ((1, 64, 64, 3),)


def _yolov3_rule(blocks: Sequence[int] = BLOCKS, **config: object) -> Rule:
    return _rule(dict(layers(blocks)))


def _tiny_rule(**config: object) -> Rule:
    return _rule(TINY)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('yolov3', 'darknet'): Reference(yolov3, _inputs, _yolov3_rule),
    ('yolov3_tiny', 'darknet'): Reference(tiny, _inputs, _tiny_rule),
}
