"""Does a molecule's structure tell its solubility, beyond its atoms?

The 1,128 molecules of ESOL (Delaney 2004), as graphs of their atoms: networks that send messages
along bonds, GIN (Xu et al. 2019) and GCN (Kipf and Welling 2017), and the same networks without
bonds, which see a bag of atoms; of its neighbours an atom then knows how many they are, no more.
Each seed draws its own split, 80/10/10, the shares of MoleculeNet (Wu et al. 2018). Baselines are
the mean, and Delaney's linear model of four descriptors, fitted to the same molecules; one of them,
clogP, is itself a model that was fitted to thousands of others. RMSE in log10 mol/litre. Needs the
extra 'molecules'.

    jaxdl run solubility        a quarter of an hour on two CPU cores
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import numpy as np
import optax

from jaxdl.claims import better, larger_lead
from jaxdl.data.draws import Draw
from jaxdl.data.sets.esol import esol_graphs
from jaxdl.data.stream import in_order, shuffled
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN, Pooled
from jaxdl.models.mlp import MLP
from jaxdl.nn.graph import sum_readout
from jaxdl.objectives.graphs import read_graph
from jaxdl.objectives.keep_best import keep_best
from jaxdl.objectives.regression import regressor
from jaxdl.study import BatchSize, Count, Peak, Phase, Steps, Study

MEAN, SCALE = -3.0, 2.0  # of the logarithms, about


def network_of(name: str, width: int) -> nn.Module:
    """GIN, or GCN with a readout and a head, of one number a molecule."""
    if name == 'gin':
        return GIN(1, width, depth=3)
    return Pooled(GCN((width,) * 3, dropout=0.0, use_bias=True), MLP((width, 1)), sum_readout)


@functools.cache
def parts(bonds: bool) -> tuple[Draw, ...]:
    """Training, validation and test molecules, each seed's own."""
    columns = ('x', 'senders', 'receivers', 'node_mask', 'edge_mask', 'y')
    graphs = esol_graphs().select({name: name for name in columns})
    if not bonds:
        graphs = graphs.map({'edge_mask': np.zeros_like})
    return graphs.draw(valid=0.1, test=0.1)


def trial(
    network: Literal['gin', 'gcn'] = 'gin',
    bonds: bool = True,
    width: Count = 64,
    steps: Steps = 2000,
    batch: BatchSize = 32,
    lr: Peak = 3e-3,
) -> Phase:
    """One network, kept where its validation error is least.

    Args:
        network: what is trained.
        bonds: whether messages go along them.
        width: hidden units.
    """
    train, valid, test = parts(bonds)
    opt = optax.adamw(optax.cosine_decay_schedule(lr, steps))
    module = network_of(network, width)
    task = regressor(module, opt, mean=MEAN, scale=SCALE, inputs=read_graph)
    return Phase(
        keep_best(task, 'rmse'),
        train=shuffled(train, batch=batch),
        valid=in_order(valid, batch=128),
        tests={'test': in_order(test, batch=128)},
        steps=steps,
    )


def errors(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """The root of the mean squared error, and the mean absolute one."""
    error = found - truth
    return {'test/rmse': np.sqrt(np.mean(error**2)), 'test/mae': np.abs(error).mean()}


def numbers(seed: int) -> tuple[np.ndarray, ...]:
    """Descriptors and solubility of the molecules to train on, and of those to test on."""
    train, _, test = (part.numbers(seed) for part in parts(True))
    table = esol_graphs()
    x = table.column('descriptors')
    x, y = np.column_stack([x, np.ones(len(x))]), table.column('y')
    return x[train], y[train], x[test], y[test]


def mean(seed: int) -> dict[str, Any]:
    """The mean solubility of the training molecules."""
    _, y, _, truth = numbers(seed)
    return errors(np.full_like(truth, y.mean()), truth)


def linear(seed: int) -> dict[str, Any]:
    """A linear model of four descriptors, by least squares."""
    x, y, asked, truth = numbers(seed)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    return errors(asked @ weights, truth)


study = Study(
    question="Does a molecule's structure tell its solubility, beyond its atoms?",
    trial=trial,
    seeds=10,
    arms={
        'gin': {},
        'gin_atoms': {'bonds': False},
        'gcn': {'network': 'gcn'},
        'gcn_atoms': {'network': 'gcn', 'bonds': False},
    },
    baselines={'mean': mean, 'linear': linear},
    tune={'lr': (1e-3, 3e-3, 1e-2)},
    tuned_by='valid/rmse',
    tuning_seeds=2,
    tiny={'steps': 2, 'batch': 4, 'width': 4},
    claims=[
        better('gin', 'gin_atoms', 'test/rmse'),
        better('gcn', 'gcn_atoms', 'test/rmse'),
        better('gin', 'gcn', 'test/rmse'),
        better('gin', 'linear', 'test/rmse'),
        larger_lead(('gin', 'gin_atoms'), ('gcn', 'gcn_atoms'), 'test/rmse'),
    ],
)
