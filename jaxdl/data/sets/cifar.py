"""CIFAR-10: small photographs of ten classes (Krizhevsky 2009)."""

from typing import Literal

from jaxdl.data.images import shrunk
from jaxdl.data.table import Table
from jaxdl.data.tfds import tfds

# TFDS `cifar10`, and a folder beside it of the same images that were stored as JPEG of quality 75.
Cifar10 = Literal['cifar10', 'cifar10_q75']


def cifar10(
    data: Cifar10 = 'cifar10', examples: int = 50_000, *, shrink: int = 1
) -> tuple[Table, Table]:
    """Tables to train on and to test on: x uint8 [32, 32, 3], y 0..9.

    data: the TFDS dataset. examples: of training, the first ones; there are ten times as many test
    images then, 10,000 at most. shrink: how many times smaller height and width are made.
    """
    columns = {'x': 'image', 'y': 'label'}
    train = tfds(data, f'train[:{examples}]', columns=columns)
    test = tfds(data, f'test[:{min(10 * examples, 10_000)}]', columns=columns)
    if shrink == 1:
        return train, test
    smaller = {'x': shrunk(shrink)}
    return train.map(smaller).load(), test.map(smaller).load()
