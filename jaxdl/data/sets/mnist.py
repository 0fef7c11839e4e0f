"""MNIST: handwritten digits (LeCun et al. 1998)."""

from jaxdl.data.images import shrunk
from jaxdl.data.table import Table
from jaxdl.data.tfds import tfds


def mnist(examples: int = 60_000, *, shrink: int = 1) -> tuple[Table, Table]:
    """Tables to train on and to test on, from TFDS `mnist`: x uint8 [28, 28, 1], y 0..9.

    Few examples are the first ones; there are ten times as many test images then, 10,000 at most.
    shrink: how many times smaller height and width are made.
    """
    columns = {'x': 'image', 'y': 'label'}
    train = tfds('mnist', f'train[:{examples}]', columns=columns)
    test = tfds('mnist', f'test[:{min(10 * examples, 10_000)}]', columns=columns)
    if shrink == 1:
        return train, test
    smaller = {'x': shrunk(shrink)}
    return train.map(smaller).load(), test.map(smaller).load()
