"""How fast does each network train here, and how fast does PyTorch train the same one?

Training steps (forward, loss, gradient, AdamW; of GANs a turn of each player, by Adam) on noise.
Nothing is to be learned from it: `jaxdl bench throughput` measures the steps of each arm, `make
bench` (or, where torch is installed, `python -m experiments.throughput`) times the same steps in
PyTorch in turn with ours.

    arm        network                                            rows          batch
    cnn        the tutorials' CNN, 4.2 M parameters               64x64x3          32
    resnet18   ResNet-18 with CIFAR's stem, 11.2 M                32x32x3          32
    unet       U-Net of base 32 and depth 4, 7.8 M                128x128x1         4
    vit        ViT of 6 layers, width 384, 256 patches, 10.8 M    64x64x3           8
    lenet      today's LeNet, 62 k; 1, 5 and 32 seeds at once     28x28x1         128
    lstm       language model of 2 LSTMs of 256, 65 signs, 0.94 M 128 tokens       32
    gpt        GPT of 4 layers, width 128, 65 signs, 0.81 M       64 tokens        12
    gpt_wide   GPT of 6 layers, width 384, 65 signs, 10.8 M       256 tokens        8
    bert       BERT of 4 layers, width 256, 8,000 words, 5.4 M    128 tokens       16
    gcn        GCN of 16 units, 23 k; 1 and 100 seeds at once     a graph of Cora's size
    dcgan      DCGAN of width 64, 1.7 M                           32x32x3          64
    stylegan2  StyleGAN2 of 64 maps at most, 0.58 M               32x32x3           8

For accelerators there is GPT-2 too, 124 M, on 8 rows of 1,024 tokens; what share of the published
peak its training makes use of is a column of

    jaxdl bench throughput --arm gpt --network gpt2 --precision bfloat16

Language models predict a token after every one they read, BERT a word at each, and its rows are
full.
On a GPU both train in bfloat16 with float32 parameters, PyTorch with channels last; but for the
sparse products of `gcn`, which stay in float32 in both.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdl import losses
from jaxdl.data.graphs import NodeGraph, both_ways, node_batches
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table, from_arrays
from jaxdl.game import Nets, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.models.bert import BERT, PreTraining
from jaxdl.models.cnn import CNN
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.gcn import GCN
from jaxdl.models.gpt import GPT, gpt2
from jaxdl.models.lenet import LeNet
from jaxdl.models.resnet import cifar_stem, resnet18
from jaxdl.models.rnn import LanguageModel
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.models.unet import UNet
from jaxdl.models.vit import ViT
from jaxdl.net import Net
from jaxdl.nn.graph_layers import SparseProjection
from jaxdl.objectives.adversarial import NON_SATURATING, adversarial
from jaxdl.objectives.graphs import node_classifier, read_sparse_graph
from jaxdl.objectives.stylegan2 import stylegan2
from jaxdl.precision import Precision, computing_in
from jaxdl.study import Count, Phase, Rate, Steps, Study, each
from jaxdl.task import Batch, Metrics, Task

SHAKESPEARE = 65  # characters

Name = Literal[
    'cnn',
    'resnet18',
    'unet',
    'vit',
    'lenet',
    'lstm',
    'gpt',
    'gpt_wide',
    'bert',
    'gpt2',
    'gcn',
    'small',
    'text',
    'citations',
    'dcgan',
    'stylegan2',
    'pixels',
]
TINY = ('small', 'text', 'citations', 'pixels')  # what the tests train
LARGE = ('gpt2',)  # what takes an accelerator
PRECISIONS: Mapping[str, Precision] = {'float32': 'float32', 'bfloat16': 'bf16'}


class Workload(NamedTuple):
    """A network, the rows it sees, how many at a time, and what is labelled in them.

    row: an image (height, width, channels), or (tokens,), numbers below `classes`.
    labelled: each place along how many of the row's first axes; 0 is one label a row.
    """

    module: nn.Module
    row: tuple[int, ...]
    batch: int
    classes: int = 10
    labelled: int = 0

    @property
    def reads(self) -> bool:
        """Whether rows are tokens."""
        return len(self.row) == 1


def words(module: nn.Module, *, tokens: int, batch: int, vocabulary: int = SHAKESPEARE) -> Workload:
    """A network that predicts one of `vocabulary` for every token."""
    return Workload(module, (tokens,), batch, vocabulary, labelled=1)


WORKLOADS = {
    'cnn': Workload(CNN(), (64, 64, 3), 32),
    'resnet18': Workload(resnet18(classes=10, stem=cifar_stem), (32, 32, 3), 32),
    'unet': Workload(UNet(base=32, depth=4), (128, 128, 1), 4, classes=2, labelled=2),
    'vit': Workload(
        ViT(width=384, depth=6, heads=6, mlp=1536, patch=4, classes=10), (64, 64, 3), 8
    ),
    'lenet': Workload(LeNet(), (28, 28, 1), 128),
    'lstm': words(LanguageModel(SHAKESPEARE, units=(256, 256)), tokens=128, batch=32),
    'gpt': words(GPT(SHAKESPEARE, 64, width=128, depth=4, heads=4), tokens=64, batch=12),
    'gpt_wide': words(GPT(SHAKESPEARE, 256, width=384, depth=6, heads=6), tokens=256, batch=8),
    'bert': words(
        PreTraining(BERT(8000, 128, width=256, depth=4, heads=4, mlp=1024, dropout=0)),
        tokens=128,
        batch=16,
        vocabulary=8000,
    ),
    'gpt2': words(gpt2(), tokens=1024, batch=8, vocabulary=50_257),
    'small': Workload(LeNet(features=(4, 8), dense=(16,), kernel=(3, 3)), (12, 12, 1), 8),
    'text': words(GPT(9, 8, width=8, depth=1, heads=2), tokens=8, batch=4, vocabulary=9),
}


class Papers(NamedTuple):
    """A graph of papers: how many, pairs of them that cite, words there are and are used."""

    nodes: int
    pairs: int
    words: int
    used: int
    labelled: int
    classes: int = 7
    units: int = 16

    @property
    def module(self) -> nn.Module:
        """GCN of two layers."""
        words = partial(SparseProjection, columns=self.words)
        return GCN((self.units, self.classes), first=words)


GRAPHS = {
    'gcn': Papers(nodes=2708, pairs=5278, words=1433, used=49_216, labelled=140),  # as Cora
    'citations': Papers(nodes=12, pairs=20, words=9, used=30, labelled=6, classes=3, units=4),
}


def graph_phase(load: Papers, *, steps: int, lr: float) -> Phase:
    """GCN on noise, all of the graph in each step."""
    rng = np.random.default_rng(0)
    entries = {
        'rows': np.sort(rng.integers(load.nodes, size=load.used, dtype=np.int32)),
        'columns': rng.integers(load.words, size=load.used, dtype=np.int32),
        'values': rng.random(load.used, np.float32),
    }
    ends = both_ways(rng.integers(load.nodes, size=(load.pairs, 2)), nodes=load.nodes)
    graph = NodeGraph(entries, *ends, rng.integers(load.classes, size=load.nodes))
    task = node_classifier(
        load.module, optax.adamw(lr), classes=load.classes, inputs=read_sparse_graph
    )
    nodes = from_arrays({'node': np.arange(load.labelled, dtype=np.int32)}, name='noise')
    train = shuffled(nodes, batch=load.labelled)
    test = in_order(nodes, batch=load.labelled)
    tests = {'test': node_batches(test, graph)}
    return Phase(task, node_batches(train, graph), tests, steps, every=steps)


class Game(NamedTuple):
    """Two players: play(lr) -> their task. What they see, and how many at a time."""

    play: Callable[[float], Task]
    row: tuple[int, int, int]
    batch: int


def score(nets: Nets, batch: Batch, key: Key) -> Metrics:
    """What the critic says of images, in the mean."""
    return {'score': Mean.of(nets['critic'](batch['x'])[0][:, 0], batch['mask'])}


def dcgan(lr: float, *, width: int = 64, stages: int = 3) -> Task:
    """DCGAN: a turn of each player a step."""
    opt = optax.adam(lr, b1=0.5)
    return adversarial(
        DCGANGenerator(3, width, stages),
        DCGANDiscriminator(width, stages),
        score,
        rules=NON_SATURATING,
        noise=100,
        generator_opt=opt,
        critic_opt=opt,
    )


def styled(lr: float) -> Task:
    """StyleGAN2, with R1 after each 16th step and path lengths after each fourth."""
    players = StyleGAN2(32, 3, 64, 8, 1024, 64), StyleGAN2Discriminator(32, 1024, 64)
    return stylegan2(*players, score, lr=lr)


GAMES = {
    'dcgan': Game(dcgan, (32, 32, 3), 64),
    'stylegan2': Game(styled, (32, 32, 3), 8),
    'pixels': Game(partial(dcgan, width=2, stages=1), (8, 8, 3), 4),
}


def learner(module: nn.Module, opt: optax.GradientTransformation) -> Task:
    """Cross-entropy of logits [B, ..., C] and classes y [B, ...]."""

    def apply(net: Net, batch: Any, **options: Any) -> tuple[jax.Array, Net]:
        output, net = net(batch['x'], **options)
        return getattr(output, 'words', output), net  # of BERT, without its next sentence

    def loss(net: Net, batch: Any, key: Any) -> Any:
        logits, net = apply(net, batch, key=key, train=True)
        return losses.cross_entropy(logits, batch['y'], weights=batch['mask']), (net, {})

    def measure(net: Net, batch: Any, key: Any) -> Any:
        logits, _ = apply(net, batch)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch['y'])
        return {'loss': Mean.of(each, batch['mask'])}

    return supervised(module, loss, opt, measure)


def labelled(load: Workload, shape: tuple[int, ...], rng: np.random.Generator) -> Table:
    """So many rows of noise, and their labels."""
    if load.reads:
        x = rng.integers(load.classes, size=shape, dtype=np.int32)
    else:
        x = rng.normal(size=shape).astype(np.float32)
    y = rng.integers(load.classes, size=shape[: 1 + load.labelled], dtype=np.int32)
    return from_arrays({'x': x, 'y': y}, name='noise')


def trial(
    network: Name = 'small',
    batch: Count | None = None,
    precision: Literal['float32', 'bfloat16'] = 'float32',
    steps: Steps = 20,
    lr: Rate = 1e-3,
) -> Phase:
    """One network, trained on noise.

    Args:
        network: what is trained.
        batch: rows of a training batch; the workload's own if you do not say.
        precision: what networks compute in, but for graphs; parameters are float32.
        lr: learning rate of AdamW, of GANs of Adam.
    """
    if network in GRAPHS:
        return graph_phase(GRAPHS[network], steps=steps, lr=lr)
    load = GAMES.get(network) or WORKLOADS[network]
    rows, rng = batch or load.batch, np.random.default_rng(0)
    shape = (2 * rows, *load.row)
    if isinstance(load, Game):
        x = rng.normal(size=shape).astype(np.float32)
        noise, task = from_arrays({'x': x}, name='noise'), load.play(lr)
    else:
        noise, task = labelled(load, shape, rng), learner(load.module, optax.adamw(lr))
    return Phase(
        computing_in(task, PRECISIONS[precision]),
        train=shuffled(noise, batch=rows),
        tests={'test': in_order(noise, batch=rows)},
        steps=steps,
        every=steps,
    )


study = Study(
    question='How fast does each network train here, and how fast does PyTorch train the same one?',
    trial=trial,
    seeds=1,
    arms=each(network=[name for name in (*WORKLOADS, *GRAPHS, *GAMES) if name not in TINY + LARGE]),
    tiny=dict(lr=0.0003, steps=4),
)

if __name__ == '__main__':
    from experiments._against_torch import main
    from jaxdl.cli.main import run_script

    run_script(partial(main, study))
