"""What a person looks at and listens to: what a task shows during a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl.errors import UsageError

Decode = Callable[[Iterable[int]], str]


def unit(x: jax.Array) -> jax.Array:
    """Images as they are drawn, from 0 to 1, whatever they were standardised to."""
    low, high = x.min(), x.max()
    return (x - low) / jnp.maximum(high - low, 1e-6)


class Sample(struct.PyTreeNode):
    """Something to look at; `record` draws it.

    names: those of the classes, where it shows some; what an experiment leaves open is taken from
        what the evaluation measures (a confusion matrix knows its classes).
    """

    names: tuple[str, ...] = struct.field(pytree_node=False, default=(), kw_only=True)


def check_samples(what: str, samples: Any) -> None:
    """Raise UsageError where what `what` returned is no mapping from names to samples."""
    if not isinstance(samples, Mapping):
        raise UsageError(
            f'{what}: it must return samples by name, not a {type(samples).__name__}: '
            "{'digits': Images(...)}"
        )
    for name, sample in samples.items():
        if not isinstance(sample, Sample):
            kinds = ', '.join(kind.__name__ for kind in Sample.__subclasses__())
            raise UsageError(f'{what}: {name!r} is no sample; it is one of {kinds}')


def named(samples: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Samples with the names of the classes, in those that leave them open."""
    return {
        name: x.replace(names=tuple(classes)) if isinstance(x, Sample) and not x.names else x
        for name, x in samples.items()
    }


class Images(Sample):
    """Images [n, height, width, channels (1 or 3)], values 0..1, drawn as a grid.

    labels: int [n], shown under each image. truth: int [n]; labels that differ from it are drawn in
    red, with the truth in brackets. columns: of the grid, None for as many as look well. gap:
    pixels between two images.
    """

    pixels: jax.Array
    labels: Any = None
    truth: Any = None
    columns: int | None = struct.field(pytree_node=False, default=None, kw_only=True)
    gap: int = struct.field(pytree_node=False, default=3, kw_only=True)

    def __post_init__(self) -> None:
        if self.columns is not None and self.columns < 1:
            raise UsageError(f'Images: columns is {self.columns}; it is 1 or more, or None')
        if self.gap < 0:
            raise UsageError(f'Images: gap is {self.gap}; it is 0 or more pixels')


class Animation(Sample):
    """Films side by side, frames [n, T, height, width, channels (1 or 3)], values 0..1.

    lengths: int [n], how many frames of each count, None for all: a film stands still on its last
    one until all have ended. rate: frames a second.
    """

    frames: jax.Array
    lengths: Any = None
    rate: float = struct.field(pytree_node=False, default=15.0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UsageError(f'Animation: rate is {self.rate}; it is above 0 frames a second')


class Points(Sample):
    """Points in the plane [n, 2] over reference points [m, 2] of the true distribution."""

    points: jax.Array
    reference: jax.Array


class Texts(Sample):
    """Texts as rows of numbers, int [n, length]: code points, padded by 0, if nothing is said.

    labels: int [n], the class of each text as predicted; truth: int [n], the true one. target: int
    [n, any length], the text that was to be written. What differs from the truth is marked.
    source: int [n, any length], what each was made of (a sentence to translate), shown first.

    decode, decode_target, decode_source: (ids) -> str of rows of tokens, as `Tokenizer.decode`;
        None for code points.
    """

    codes: jax.Array
    labels: Any = None
    truth: Any = None
    target: Any = None
    source: Any = None
    decode: Decode | None = struct.field(pytree_node=False, default=None, kw_only=True)
    decode_target: Decode | None = struct.field(pytree_node=False, default=None, kw_only=True)
    decode_source: Decode | None = struct.field(pytree_node=False, default=None, kw_only=True)


class Audio(Sample):
    """Sounds [n, samples], values -1..1, at `rate` Hz: a WAV file that plays one after another.

    lengths: int [n], how many samples of each count; None: all.
    """

    waves: jax.Array
    lengths: Any = None
    rate: int = struct.field(pytree_node=False, kw_only=True)


class Forecasts(Sample):
    """Forecasts of one feature: past [n, T], and truth and predicted [n, H], drawn as lines."""

    past: jax.Array
    truth: jax.Array
    predicted: jax.Array


class Boxes(Sample):
    """Images [n, height, width, channels (1 or 3)], values 0..1, with boxes drawn on them.

    boxes [n, D, 4] in pixels (x1, y1, x2, y2), classes int [n, D], mask bool [n, D]: each box in
    the colour of its class, with its name where that is known. truth [n, N, 4] and truth_mask
    [n, N]: in white, dashed.
    """

    pixels: jax.Array
    boxes: jax.Array
    classes: jax.Array
    mask: jax.Array
    scores: Any = None  # [n, D], written above each box, or None
    truth: Any = None
    truth_mask: Any = None


class Masks(Sample):
    """Segmentations: a row for each image, with the image, its truth and what was predicted.

    pixels: [n, height, width, channels (1 or 3)], values 0..1. truth, predicted: classes, int
    [n, height, width] (or bool); a negative number, or 255 and above, is no class and drawn grey.
    """

    pixels: jax.Array
    truth: jax.Array
    predicted: jax.Array


class Molecules(Sample):
    """Molecules as rows of tokens, int [n, length], drawn as a grid of structures, by RDKit.

    decode: (ids) -> the SMILES of a row. What is no SMILES leaves its place empty, but for its
        text.
    """

    codes: jax.Array
    decode: Decode = struct.field(pytree_node=False, kw_only=True)
