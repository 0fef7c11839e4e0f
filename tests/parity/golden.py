"""Goldens: what another implementation computes from weights that are drawn by name.

Both sides draw every tensor from its name and shape, so a file of a few kilobytes, names, shapes
and outputs, proves a network of any size. Nothing here imports another implementation.
"""

import fnmatch
import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / 'goldens'
KEPT = 2048  # outputs larger than this are kept at as many drawn positions


class Tokens(NamedTuple):
    """An input of whole numbers of this shape, drawn from those below `below`."""

    shape: tuple[int, ...]
    below: int


class Exactly(NamedTuple):
    """An input of these whole numbers, such as the lengths of rows."""

    values: Any


Input = tuple[int, ...] | Tokens | Exactly


class Case(NamedTuple):
    """One network to compare.

    inputs: shapes, channels last; or whole numbers.
    tolerance: of max|a - b| / max|b| of each output.
    train: compare training too: the gradients in training mode, and the running statistics after
        that step, on `inputs`, and on `again`.
    again: inputs of another batch and other sizes, odd ones where the network takes them.
    full: too slow for the ordinary tests; `make parity` compares it.
    also: further arrays that it is called on, such as true boxes, as nested tuples.
    gains: what tensors are multiplied with, by patterns of their names: where the usual draw makes
        outputs so large that what follows them (an exponential, a softmax) hides mistakes.
    zeros: patterns of tensors whose gradient a law makes zero, so that ours is rounding alone.
    call(module, *arrays) -> outputs: how ours is called, where not by position.
    """

    arch: str
    layout: str
    inputs: tuple[Input, ...]
    config: Mapping[str, Any] = {}
    tolerance: float = 2e-4
    train: bool = False
    again: tuple[Input, ...] = ()
    full: bool = False
    also: tuple[Any, ...] = ()
    gains: Mapping[str, float] = {}
    zeros: tuple[str, ...] = ()
    call: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        words = [f'{key}={value}' for key, value in self.config.items()]
        return '-'.join([self.arch, self.layout, *words])


def rng(name: str) -> np.random.Generator:
    """The generator that belongs to a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def draw(name: str, shape: tuple[int, ...], *, outputs_last: bool = False) -> np.ndarray:
    """The weights of a tensor, from its name and shape: none is 0 or 1, norms and statistics too.

    outputs_last: kernels are [..., in, out] (Keras) and not [out, in, ...] (PyTorch).
    """
    generator = rng(name)
    if name.endswith(('running_var', 'moving_variance')):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) > 1:
        fan_in = math.prod(shape[:-1] if outputs_last else shape[1:])
        return (generator.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float32)
    if name.endswith(('weight', 'gamma')):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    return np.asarray(generator.standard_normal(shape) * 0.1, np.float32)  # a scalar too


def drawn(case: Case, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The whole state dict of a case's network, which has these names and shapes."""
    last = case.layout == 'keras'
    found = {name: draw(name, shape, outputs_last=last) for name, shape in shapes.items()}
    for pattern, gain in case.gains.items():
        for name in fnmatch.filter(found, pattern):
            found[name] *= np.float32(gain)
    return found


def inputs(case: Case, *, again: bool = False) -> list[np.ndarray]:
    """The arrays a case is called on."""
    drawn = [_input(i, each) for i, each in enumerate(case.again if again else case.inputs)]
    also = [np.array(x) for x in case.also]
    return drawn + [x.astype(np.float32) if x.dtype == np.float64 else x for x in also]


def _input(index: int, each: Input) -> np.ndarray:
    if isinstance(each, Exactly):
        return np.array(each.values, np.int32)
    if isinstance(each, Tokens):
        return rng(f'input {index}').integers(each.below, size=each.shape).astype(np.int32)
    return rng(f'input {index}').standard_normal(each).astype(np.float32)


def cotangent(index: int, shape: tuple[int, ...]) -> np.ndarray:
    """What output `index` is multiplied with to give the loss whose gradients are compared."""
    return rng(f'cotangent {index}').standard_normal(shape).astype(np.float32)


def kept(array: np.ndarray) -> np.ndarray:
    """All of a small output, drawn positions of a large one."""
    if array.size <= KEPT:
        return np.asarray(array, np.float32)
    at = rng('positions').choice(array.size, KEPT, replace=False)
    return np.asarray(array, np.float32).ravel()[at]


def projection(name: str, array: np.ndarray) -> np.ndarray:
    """(norm, product with a drawn unit vector): two numbers that a wrong array does not have."""
    array = np.asarray(array, np.float64).ravel()
    direction = rng(f'direction {name}').standard_normal(array.size)
    return np.array([np.linalg.norm(array), array @ direction / np.linalg.norm(direction)])


class Training(NamedTuple):
    """One step in training mode: how many outputs, projections of gradients and statistics."""

    outputs: int
    gradients: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """As they are kept, in the order of their names."""
        found = {f'training {number} outputs': np.array(self.outputs)}
        for kind in ('gradients', 'statistics'):
            if numbers := getattr(self, kind):
                found[f'training {number} {kind}'] = np.stack([numbers[n] for n in sorted(numbers)])
        return found


class Golden(NamedTuple):
    """What is compared: shapes by name, outputs, and steps of training on different inputs."""

    shapes: dict[str, tuple[int, ...]]
    outputs: list[np.ndarray]
    training: list[Training]

    def save(self, case: Case) -> None:
        """Write it to its file."""
        FOLDER.mkdir(exist_ok=True)
        header = {name: list(shape) for name, shape in self.shapes.items()}
        arrays = {
            'shapes': np.frombuffer(json.dumps(header).encode(), np.uint8),
            **{f'output {i}': kept(y) for i, y in enumerate(self.outputs)},
            'output shapes': np.frombuffer(
                json.dumps([list(y.shape) for y in self.outputs]).encode(), np.uint8
            ),
        }
        for number, training in enumerate(self.training):
            arrays |= training.arrays(number)
        np.savez_compressed(path(case), **arrays)


def path(case: Case) -> Path:
    """The file of a golden."""
    return FOLDER / f'{case.name}.npz'


def load(case: Case) -> dict[str, Any]:
    """The arrays of a golden, its shapes decoded."""
    with np.load(path(case)) as file:
        arrays: dict[str, Any] = dict(file)
    shapes = json.loads(arrays['shapes'].tobytes())
    arrays['shapes'] = {name: tuple(shape) for name, shape in shapes.items()}
    arrays['output shapes'] = [tuple(s) for s in json.loads(arrays['output shapes'].tobytes())]
    return arrays


def decoded(name: str) -> list[list[int]]:
    """The rows of tokens of a golden of decoding."""
    return json.loads((FOLDER / f'{name}.json').read_text())


def save_decoded(name: str, rows: list[list[int]]) -> None:
    """Write rows of tokens to their file."""
    (FOLDER / f'{name}.json').write_text(json.dumps(rows) + '\n')


def error(got: np.ndarray, want: np.ndarray) -> float:
    """max|a - b| / max|b|, NaN where either has one."""
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-12))
