"""Where each array of a network stands in another implementation's state dict.

A `Reference` is a network and a rule from the path of each of its arrays to a `Place`: the tensor's
name there, the part of it, and how its axes lie. Everything is NumPy; the other implementation is
never imported.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.blocks import stored_as
from jaxdl.errors import UsageError, nearest
from jaxdl.net import unboxed

Array = np.ndarray
Shape = tuple[int, ...]


class Axes(NamedTuple):
    """How an array of ours lies in theirs: `ours` and `theirs` are inverse to each other."""

    ours: Callable[[Array], Array]
    theirs: Callable[[Array], Array]


def transposed(*order: int) -> Axes:
    """Our axes are theirs in this order."""
    back = tuple(int(i) for i in np.argsort(order))
    return Axes(lambda x: x.transpose(order), lambda x: x.transpose(back))


SAME = Axes(lambda x: x, lambda x: x)
KERNEL = transposed(2, 3, 1, 0)  # OIHW -> HWIO
DENSE = transposed(1, 0)
ROW = Axes(lambda x: x[0], lambda x: x[None])  # [1, n] -> [n]
# A transposed convolution is a convolution of the input spread out: IOHW -> HWIO, kernel flipped.
UPWARDS = Axes(
    lambda x: x.transpose(2, 3, 0, 1)[::-1, ::-1],
    lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1),
)


def flattened(channels: int, rows: int, columns: int) -> Axes:
    """The kernel of a dense layer on a flattened image, where theirs flattens channels first."""

    def ours(x: Array) -> Array:
        x = x.reshape(-1, channels, rows, columns).transpose(2, 3, 1, 0)
        return x.reshape(rows * columns * channels, -1)

    def theirs(x: Array) -> Array:
        x = x.reshape(rows, columns, channels, -1).transpose(3, 2, 0, 1)
        return x.reshape(-1, channels * rows * columns)

    return Axes(ours, theirs)


def reshaped(ours: Shape, theirs: Shape, axes: Axes = SAME) -> Axes:
    """Theirs in another shape: `axes` lie between their shape `theirs` and our shape `ours`.

    theirs: the shape before `axes`; ours: the shape that `axes.ours` gives is reshaped to.
    """

    def to_theirs(x: Array) -> Array:
        between = axes.ours(np.empty(theirs, x.dtype)).shape
        return axes.theirs(x.reshape(between))

    return Axes(lambda x: axes.ours(x.reshape(theirs)).reshape(ours), to_theirs)


class Place(NamedTuple):
    """Where an array stands: the name of the tensor, and part `part` of `parts` of its `axis`."""

    name: str
    axes: Axes = SAME
    part: int = 0
    parts: int = 1
    axis: int = 0


Rule = Callable[[str, Shape], Place]


class Words(NamedTuple):
    """What an implementation calls the arrays of a layer, and how it lays out kernels."""

    names: Mapping[str, str]
    kernels: Mapping[int, Axes]  # by number of axes


TORCH = Words(
    {
        'kernel': 'weight',
        'scale': 'weight',
        'bias': 'bias',
        'mean': 'running_mean',
        'var': 'running_var',
        'embedding': 'weight',
    },
    {4: KERNEL, 2: DENSE},
)
KERAS = Words(
    {
        'kernel': 'kernel',
        'scale': 'gamma',
        'bias': 'bias',
        'mean': 'moving_mean',
        'var': 'moving_variance',
        'embedding': 'embeddings',
    },
    {4: SAME, 2: SAME},
)


def layered(
    words: Words,
    rename: Callable[[str], str],
    *,
    axes: Mapping[str, Axes] | None = None,
    places: Mapping[str, Callable[..., Place]] | None = None,
    separator: str = '.',
) -> Rule:
    """The rule of a network whose layers correspond one to one.

    rename: our path of a layer, 'layer1_0/conv1', to the name of theirs, 'layer1.0.conv1'.
    axes: for arrays whose axes lie otherwise: a pattern of the whole path 'classifier/kernel'.
    places: for arrays that stand elsewhere: a pattern of the whole path, to a function from the
        pattern's groups to the `Place`.
    """

    def rule(path: str, shape: Shape) -> Place:
        for pattern, place in (places or {}).items():
            if found := re.fullmatch(pattern, path):
                return place(*found.groups())
        layer, _, leaf = path.rpartition('/')
        if leaf not in words.names:
            raise KeyError(f'{path} needs a place of its own')
        special = [lie for pattern, lie in (axes or {}).items() if re.fullmatch(pattern, path)]
        usual = words.kernels.get(len(shape), SAME) if leaf == 'kernel' else SAME
        lie = special[-1] if special else usual
        return Place(f'{rename(layer)}{separator}{words.names[leaf]}', lie)

    return rule


class Reference(NamedTuple):
    """A network of ours and its counterpart elsewhere.

    build(**config): the module. Its keywords are what `from_state_dict` takes as `config`.
    inputs(**config): the shapes of the arrays it is initialised on; those of `tokens` are integers.
    rule(**config): where each of its arrays stands.
    ignored: a pattern of tensors of theirs that carry no weight, such as counters.
    tied: tensors that are others again, by the names of those; files may leave them out, and
        `encode` does.
    """

    build: Callable[..., nn.Module]
    inputs: Callable[..., tuple[Shape | jax.ShapeDtypeStruct, ...]]
    rule: Callable[..., Rule]
    ignored: str = r'.*num_batches_tracked'
    tied: Mapping[str, str] = {}


def tokens(*shape: int) -> jax.ShapeDtypeStruct:
    """Integers of that shape."""
    return jax.ShapeDtypeStruct(shape, np.int32)


Places = dict[tuple[str, ...], tuple[Shape, Place]]


def places(reference: Reference, config: Mapping[str, Any]) -> Places:
    """(shape, Place) of each array of a network, by its path in the variables."""
    module = reference.build(**config)
    inputs = [
        jax.ShapeDtypeStruct(x, np.float32) if isinstance(x, tuple) else x
        for x in reference.inputs(**config)
    ]
    shapes = unboxed(jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x), *inputs))
    rule = reference.rule(**config)
    return {
        path: (leaf.shape, rule('/'.join(path[1:]), leaf.shape))
        for path, leaf in flatten_dict(dict(shapes)).items()
        if path[0] != 'intermediates'
    }


def expected(places: Places) -> dict[str, Shape]:
    """The shape of every tensor of their state dict, by name."""
    found: dict[str, Shape] = {}
    for shape, place in places.values():
        theirs = list(place.axes.theirs(np.broadcast_to(np.float32(0), shape)).shape)
        if place.parts > 1:
            theirs[place.axis] *= place.parts
        found[place.name] = tuple(theirs)
    return found


def floats(name: str, value: Any) -> Array:
    """A tensor as float32. Raises UsageError, naming it, where it holds no numbers of that kind."""
    array = np.asarray(value)
    if array.dtype.kind != 'f' and array.dtype.name != 'bfloat16':
        raise UsageError(f'tensor {name!r} is {array.dtype}; weights are floats of 16 to 64 bits')
    with np.errstate(over='ignore'):
        held = array.astype(np.float32)
    if not (finite := np.isfinite(held)).all():
        at = tuple(int(i) for i in np.unravel_index(int((~finite).argmax()), held.shape))
        raise UsageError(f'tensor {name!r} holds {array[at]!s} at {list(at)}: no float32 number')
    return held


def decode(
    reference: Reference, state_dict: Mapping[str, Any], config: Mapping[str, Any], *, strict: bool
) -> dict[str, Any]:
    """Our variables, float32, from their state dict. Raises UsageError naming what does not fit.

    strict: tensors that the network has no place for are an error.
    """
    found = places(reference, config)
    shapes = expected(found)
    for name, shape in shapes.items():
        if name not in state_dict:
            raise UsageError(f'the weights have no tensor {name!r}{nearest(name, state_dict)}')
        if (there := tuple(np.shape(state_dict[name]))) != shape:
            raise UsageError(f'tensor {name!r} has shape {list(there)}, not {list(shape)}')
    for name in state_dict:
        if source := reference.tied.get(name):
            if not np.array_equal(
                floats(name, state_dict[name]), floats(source, state_dict[source])
            ):
                raise UsageError(f'tensor {name!r} is not {source!r}, which it is in the network')
        elif strict and name not in shapes and not re.fullmatch(reference.ignored, name):
            raise UsageError(f'the network has no tensor {name!r}{nearest(name, shapes)}')

    def ours(place: Place) -> Array:
        whole = floats(place.name, state_dict[place.name])
        parts = np.split(whole, place.parts, place.axis) if place.parts > 1 else [whole]
        return np.asarray(place.axes.ours(parts[place.part]), order='C')

    return unflatten_dict({path: ours(place) for path, (_, place) in found.items()})


def encode(
    reference: Reference, variables: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Array]:
    """Their state dict from our variables, stacked or not: the inverse of `decode`."""
    found = places(reference, config)
    flat = flatten_dict(stored_as(variables, unflatten_dict(dict.fromkeys(found))))
    parts: dict[str, dict[int, Array]] = {}
    axis: dict[str, int] = {}
    for path, (shape, place) in found.items():
        name = '/'.join(path)
        if path not in flat:
            raise UsageError(f'the variables have no array {name!r}')
        if (there := tuple(np.shape(flat[path]))) != shape:
            raise UsageError(f'array {name!r} has shape {list(there)}, not {list(shape)}')
        array = place.axes.theirs(floats(name, flat[path]))
        parts.setdefault(place.name, {})[place.part] = np.asarray(array, order='C')
        axis[place.name] = place.axis
    return {
        name: np.concatenate([pieces[i] for i in sorted(pieces)], axis[name])
        if len(pieces) > 1
        else pieces[0]
        for name, pieces in parts.items()
    }
