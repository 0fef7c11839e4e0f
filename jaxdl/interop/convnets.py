"""The tutorial CNN, AlexNet, VGG and Inception in other implementations."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn

from jaxdl.interop.reference import KERAS, TORCH, Reference, Rule, Shape, flattened, layered
from jaxdl.models import vgg
from jaxdl.models.alexnet import AlexNet, alexnet2014
from jaxdl.models.cnn import CNN
from jaxdl.models.googlenet import GoogLeNet, googlenet_bn
from jaxdl.models.inception import InceptionV3

Build = Callable[..., nn.Module]


def _images(side: int) -> Callable[..., tuple[Shape, ...]]:
    return lambda **config: ((1, side, side, 3),)


def _classes(make: Build) -> Build:
    """The one option of networks without layers of variable width."""
    return lambda classes=1000: make(classes=classes)


def _hidden(make: Build) -> Build:
    """The options of networks that end in two hidden dense layers."""
    return lambda classes=1000, hidden=4096: make(classes=classes, hidden=(hidden, hidden))


def _fixed(rule: Rule) -> Callable[..., Rule]:
    return lambda **config: rule


def _dotted(path: str) -> str:
    return path.replace('/', '.')


CNN_NAMES = {'Conv_0': 'conv1', 'Conv_1': 'conv2', 'Dense_0': 'fc1', 'Dense_1': 'fc2'}

ALEXNET_NAMES = {
    **{f'conv{i}': f'features.{n}' for i, n in enumerate((0, 3, 6, 8, 10), 1)},
    **{f'fc{i}': f'classifier.{n}' for i, n in ((6, 1), (7, 4), (8, 6))},
}

BRANCHES = {
    'conv1x1': 'branch1',
    'reduce3x3': 'branch2.0',
    'conv3x3': 'branch2.1',
    'reduce5x5': 'branch3.0',
    'conv5x5': 'branch3.1',
    'project': 'branch4.1',
}


def _googlenet_name(path: str) -> str:
    return '.'.join(BRANCHES.get(part, part) for part in path.split('/'))


def _vgg_names(convolutions: tuple[int, ...], *, norm: bool) -> Iterator[tuple[str, str]]:
    """Ours and torchvision's, which counts convolutions, norms, ReLUs and pooling in a row."""
    at = 0
    for i, count in enumerate(convolutions, 1):
        for j in range(1, count + 1):
            yield f'block{i}_conv{j}', f'features.{at}'
            yield f'block{i}_norm{j}', f'features.{at + 1}'
            at += 3 if norm else 2
        at += 1
    yield from {
        'fc1': 'classifier.0',
        'fc2': 'classifier.3',
        'predictions': 'classifier.6',
    }.items()


def _vgg(make: Any) -> Reference:
    (convolutions,) = make.args
    names = dict(_vgg_names(convolutions, norm='norm' in make.keywords))
    rule = layered(TORCH, names.__getitem__, axes={'fc1/kernel': flattened(512, 7, 7)})
    return Reference(_hidden(make), _images(224), _fixed(rule))


def _torch(rename: Callable[[str], str], **axes: Any) -> Callable[..., Rule]:
    return _fixed(layered(TORCH, rename, axes=axes))


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('cnn', 'torch'): Reference(
        lambda classes=10: CNN(classes=classes),
        _images(32),
        _torch(CNN_NAMES.__getitem__, **{'Dense_0/kernel': flattened(64, 8, 8)}),
    ),
    ('alexnet', 'torchvision'): Reference(
        _hidden(alexnet2014),
        _images(224),
        _torch(ALEXNET_NAMES.__getitem__, **{'fc6/kernel': flattened(256, 6, 6)}),
    ),
    ('alexnet2012', 'torch'): Reference(
        _hidden(AlexNet), _images(227), _torch(_dotted, **{'fc6/kernel': flattened(256, 6, 6)})
    ),
    **{
        (f'vgg{n}{bn}', 'torchvision'): _vgg(getattr(vgg, f'vgg{n}{bn}'))
        for n in (11, 13, 16, 19)
        for bn in ('', '_bn')
    },
    ('vgg16', 'keras'): Reference(
        _hidden(vgg.vgg16),
        _images(224),
        _fixed(layered(KERAS, lambda path: path, separator='/')),
    ),
    ('googlenet', 'torchvision'): Reference(
        _classes(googlenet_bn),
        _images(224),
        _torch(_googlenet_name, **{'aux[12]/fc1/kernel': flattened(128, 4, 4)}),
    ),
    ('googlenet2014', 'torch'): Reference(
        _classes(GoogLeNet),
        _images(224),
        _torch(_dotted, **{'aux[12]/fc1/kernel': flattened(128, 4, 4)}),
    ),
    ('inception_v3', 'torchvision'): Reference(
        _classes(InceptionV3), _images(299), _torch(_dotted)
    ),
}
