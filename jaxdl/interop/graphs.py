"""Graph networks in PyTorch: their layers as PyTorch Geometric names them.

conv1, conv2, ... each with `lin` (GCN, GAT) or `lin_l` of the neighbours and `lin_r` of the node
itself (GraphSAGE), and `att_src` and `att_dst` (GAT). GIN's perceptrons are nn.Sequential.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxdl.interop.reference import DENSE, ROW, SAME, TORCH, Place, Reference, Rule, Shape
from jaxdl.models.gat import GAT
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN
from jaxdl.models.graphsage import GraphSAGE
from jaxdl.nn.graph import Graph

LEAVES = {
    'project/kernel': 'lin.weight',
    'own/kernel': 'lin_r.weight',
    'others/kernel': 'lin_l.weight',
    'sender': 'att_src',
    'receiver': 'att_dst',
    'epsilon': 'eps',
}


def rule(bias: str) -> Rule:
    """'layers_1/project/kernel' -> 'conv2.lin.weight'. bias: what a layer's is called there."""

    def place(path: str, shape: Shape) -> Place:
        layer, _, leaf = path.partition('/')
        kind, _, number = layer.partition('_')
        name = f'conv{int(number) + 1}.' if kind == 'layers' else layer.replace('_', '.') + '.'
        if kind == 'head':
            return Place(name + TORCH.names[leaf], DENSE if leaf == 'kernel' else SAME)
        if leaf in LEAVES:
            axes = {'kernel': DENSE, 'sender': ROW, 'receiver': ROW}.get(leaf.split('/')[-1], SAME)
            return Place(name + LEAVES[leaf], axes)
        if leaf == 'bias':
            return Place(name + bias)
        if found := re.fullmatch(r'(Dense|BatchNorm)_(\d)/(\w+)', leaf):
            # Linear, BatchNorm, ReLU, twice.
            at = 3 * int(found[2]) + (found[1] == 'BatchNorm')
            axes = DENSE if found[1] == 'Dense' else SAME
            return Place(f'{name}nn.{at}.{TORCH.names[found[3]]}', axes)
        raise KeyError(f'{path} needs a place of its own')

    return place


def graph_of(features: int = 1433, **_: Any) -> tuple[Graph]:
    """A graph of two nodes and an edge, of so many features, to be initialised on."""
    of: Any = jax.ShapeDtypeStruct
    return (
        Graph(
            x=of((2, features), np.float32),
            senders=of((1,), np.int32),
            receivers=of((1,), np.int32),
            node_mask=of((2,), np.bool_),
            edge_mask=of((1,), np.bool_),
            member=of((2,), np.int32),
        ),
    )


def _gcn(features: int = 1433, hidden: int = 16, classes: int = 7) -> GCN:
    return GCN((hidden, classes), use_bias=True)


def _gat(
    features: int = 1433, hidden: int = 8, heads: int = 8, classes: int = 7, last: int = 1
) -> GAT:
    return GAT(classes, (hidden,), heads, last)


def _graphsage(features: int = 1433, hidden: int = 128, classes: int = 7) -> GraphSAGE:
    return GraphSAGE(classes, (hidden, hidden))


def _gin(features: int = 1433, hidden: int = 64, classes: int = 7, depth: int = 4) -> GIN:
    return GIN(classes, hidden, depth)


def _reference(build: Callable[..., nn.Module], bias: str = 'bias') -> Reference:
    return Reference(build, graph_of, lambda **_: rule(bias))


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('gcn', 'pyg'): _reference(_gcn),
    ('gat', 'pyg'): _reference(_gat),
    ('graphsage', 'pyg'): _reference(_graphsage, 'lin_l.bias'),
    ('gin', 'torch'): _reference(_gin),
}
