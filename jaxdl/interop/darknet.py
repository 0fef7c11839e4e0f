"""YOLOv3 in other implementations: those that number its layers as Darknet's configuration does."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from jaxdl.errors import UsageError
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


def read_darknet(content: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The tensors of these shapes in a .weights file of Darknet: numbers, in the order of layers.

    Of each layer its biases, scales, means and variances [out], then its kernel [out, in, y, x].
    Raises UsageError where the file has another number of them.
    """
    # Major, minor and revision, then the images seen: 64 bits from version 0.2 on.
    major, minor = (int(x) for x in np.frombuffer(content[:8].ljust(8, b'\0'), '<i4'))
    start = 20 if major * 10 + minor >= 2 else 16
    size = sum(math.prod(shape) for shape in shapes.values())
    there, rest = divmod(len(content) - start, 4)
    if there != size or rest:
        raise UsageError(f'{max(there, 0)} numbers, and the network has {size}')
    numbers = np.frombuffer(content, '<f4', offset=start)
    tensors, at = {}, 0
    for name in sorted(shapes, key=_order):
        shape = shapes[name]
        tensors[name] = numbers[at : at + math.prod(shape)].reshape(shape)
        at += math.prod(shape)
    return tensors


def _order(name: str) -> tuple[int, int]:
    """Where a tensor stands in a file of Darknet: the number of its layer, and its part there."""
    _, number, layer, kind = name.split('.')
    parts = ('bias', 'weight', 'running_mean', 'running_var')
    return int(number), parts.index(kind) if layer.startswith('batch_norm') or kind == 'bias' else 9


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('yolov3', 'darknet'): Reference(yolov3, _inputs, _yolov3_rule),
    ('yolov3_tiny', 'darknet'): Reference(tiny, _inputs, _tiny_rule),
}
