"""Attention's four projections in other implementations.

Ours are [width, heads, size] and back; elsewhere every head has columns of one matrix, and queries,
keys and values have matrices of their own or are side by side in one.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxdl.interop.reference import DENSE, TORCH, Axes, Place, Reference, Rule, layered, reshaped
from jaxdl.nn.attention import Attention

ORDER = ('query', 'key', 'value')


class Heads(NamedTuple):
    """How the arrays lie: kernel [width, heads, size], bias [heads, size], out [..., width]."""

    kernel: Axes
    bias: Axes
    out: Axes


def headed(width: int, heads: int, *, dense: Axes = DENSE) -> Heads:
    """The axes of so many heads. dense: how the kernel of a dense layer lies there."""
    each, square = (heads, width // heads), (width, width)
    return Heads(
        reshaped((width, *each), square, dense),
        reshaped(each, (width,)),
        reshaped((*each, width), square, dense),
    )


def apart(lie: Heads, attention: str) -> dict[str, Axes]:
    """The `axes` of `layered` where each projection is a layer of its own.

    attention: a pattern of the path of the module.
    """
    return {
        f'{attention}/(query|key|value)/kernel': lie.kernel,
        f'{attention}/(query|key|value)/bias': lie.bias,
        f'{attention}/out/kernel': lie.out,
    }


def side_by_side(rename: Callable[[str], str], lie: Heads) -> dict[str, Callable[..., Place]]:
    """The `places` of `layered` where PyTorch's attention has its projections in one matrix.

    rename: our path of the module and of its 'out', to the name of theirs.
    """

    def projection(layer: str, which: str, leaf: str) -> Place:
        name = '.'.join(filter(None, (rename(layer.removesuffix('/')), f'in_proj_{_word(leaf)}')))
        axes = lie.kernel if leaf == 'kernel' else lie.bias
        return Place(name, axes, ORDER.index(which), len(ORDER))

    return {
        '(.*/|)(query|key|value)/(kernel|bias)': projection,
        '((?:.*/)?out)/kernel': lambda layer: Place(f'{rename(layer)}.weight', lie.out),
    }


def _word(leaf: str) -> str:
    return TORCH.names[leaf]


def _torch(width: int = 512, heads: int = 8) -> Rule:
    def rename(path: str) -> str:
        return re.sub('^out$', 'out_proj', path)

    return layered(TORCH, rename, places=side_by_side(rename, headed(width, heads)))


def _build(width: int = 512, heads: int = 8) -> Attention:
    return Attention(heads, width)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('attention', 'torch'): Reference(
        _build, lambda width=512, **_: ((1, 2, width),), lambda **config: _torch(**config)
    )
}
