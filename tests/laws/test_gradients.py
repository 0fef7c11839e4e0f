"""The law of gradients: of every network and every experiment, compiled as users get them.

The float32 gradient with the CPU's formulations is as near to the exact one as the plain layers'.
A few networks stand for all in `make test`. The whole table at one size each and the tiny arms are
in `make laws`; every size, and every arm at its own, in `make laws WHICH='slow or thorough'`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import gradients
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.architectures import TABLE, Architecture
from jaxdl.cli.library import load, names, phases_of, resolve
from jaxdl.errors import DataMissingError
from jaxdl.models import googlenet
from jaxdl.models.alexnet import AlexNet
from jaxdl.models.bert import BERT
from jaxdl.models.clip import ImageTower, TextTower
from jaxdl.models.context_encoder import ContextEncoder
from jaxdl.models.conv_stack import ConvStack
from jaxdl.models.cyclegan import PatchGAN, ResNetGenerator
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.dqn import QNetwork
from jaxdl.models.faster_rcnn import BoxHead, BoxHidden, FasterRCNN
from jaxdl.models.fcn import FCN, DilatedFCN
from jaxdl.models.forecast import (
    DLinear,
    FromLast,
    Linear,
    RNNForecaster,
    TransformerForecaster,
)
from jaxdl.models.gan import PerceptronGenerator
from jaxdl.models.gat import GAT
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN
from jaxdl.models.googlenet import GoogLeNet
from jaxdl.models.gpt import GPT
from jaxdl.models.graphsage import GraphSAGE
from jaxdl.models.inception import InceptionV3
from jaxdl.models.lenet import LeNet, LeNet5
from jaxdl.models.mlp import MLP
from jaxdl.models.pix2pix import UNetGenerator
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet, Stages, cifar_stem, resnet18
from jaxdl.models.rnn import Generator, LanguageModel, RNNClassifier, TextCNN
from jaxdl.models.seq2seq import Seq2Seq
from jaxdl.models.speech import Recogniser
from jaxdl.models.srgan import SRDiscriminator, SRResNet
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.models.tacotron import Tacotron
from jaxdl.models.transformer import Transformer
from jaxdl.models.unet import UNet, no_norm
from jaxdl.models.vgg import VGG, vgg11_bn
from jaxdl.models.video import FrameCNN, FrameRNN
from jaxdl.models.vit import ViT
from jaxdl.models.yolo import Darknet, TinyYOLOv3, YOLOv3
from jaxdl.nn.fpn import FeaturePyramid
from jaxdl.nn.graph import Graph
from jaxdl.nn.recurrent import GRU, LSTM, Bidirectional, GRUBefore, SimpleRNN

Shape = tuple[int, ...]
KEY = jax.random.key(0)

# Batches, heights and widths, odd ones among them.
IMAGES = ((2, 64, 64), (3, 49, 75), (4, 96, 96))
DIGITS = ((8, 28, 28), (3, 31, 29), (16, 32, 32))
SEQUENCES = ((3, 12), (2, 7), (5, 20))
WORDS = 11
NODES = ((12,), (7,), (20,))
LARGE = ((1, 224, 224), (2, 227, 235), (3, 192, 256))


# Of GoogLeNet's nine modules one of each kind, narrow: its pooling and its heads are as they were.
FEW = {
    'inception3b': (32, 24, 48, 24, 32, 24),
    'inception4a': (48, 24, 48, 24, 24, 32),
    'inception4d': (32, 32, 48, 24, 32, 32),
    'inception4e': (48, 24, 64, 24, 32, 32),
}


@pytest.fixture(autouse=True)
def few_modules(monkeypatch):
    monkeypatch.setattr(googlenet, 'TABLE', FEW)


class Narrow(NamedTuple):
    """A network of few maps and blocks, which keeps its kinds of layers, and inputs for it.

    sizes: batches, with heights and widths or with steps; numbers of nodes. tail: features of each
    place. words: how many there are, of tokens. inputs: how many of them it takes. graph: whether
    it is one. also(rows, steps): what else it takes.
    """

    module: nn.Module
    sizes: tuple[Shape, ...]
    tail: Shape = ()
    words: int = 0
    inputs: int = 1
    graph: bool = False
    also: Callable[[int, int], tuple[Any, ...]] = lambda rows, steps: ()


def counts(rows: int, steps: int) -> Any:
    """How many steps of each row count: the last all of them."""
    return jnp.maximum(1, steps - jnp.arange(rows)[::-1] * 3)


def heard(rows: int, steps: int) -> tuple[Any, ...]:
    """What a recogniser takes beside features."""
    return (counts(rows, steps),)


def spoken(rows: int, steps: int) -> tuple[Any, ...]:
    """What Tacotron takes beside characters, of five mel channels."""
    frames = jax.random.normal(KEY, (rows, 9, 5))
    return counts(rows, steps), jnp.zeros(rows, int), frames, counts(rows, 9)


ALSO = {Recogniser: heard, Tacotron: spoken}


def narrow(it: Architecture) -> Narrow:
    """A narrow and shallow network of the same family."""
    if it.edges:
        return Narrow(narrow_graph(it.build()), NODES, (6,), graph=True)
    if len(it.input) == 3:
        return narrow_image(it.build(), it.input)._replace(tail=it.input[2:])
    if it.reads == 'latents':
        return Narrow(narrow_generator(it.build()), SEQUENCES)
    words = WORDS if len(it.input) == 1 else 0
    found = Narrow(narrow_sequence(it.build()), SEQUENCES, it.input[1:], words, it.inputs)
    also = ALSO.get(type(found.module))
    return found._replace(also=also) if also else found


def narrow_generator(module: Any) -> nn.Module:
    """A narrow network of the same family, for latents."""
    match module:
        case PerceptronGenerator():
            # Many units, all stirred upwards, would be where tanh is flat.
            return module.clone(image=(5, 4, 1), hidden=[n // 16 for n in module.hidden])
        case DCGANGenerator():
            return module.clone(width=24, stages=2)
        case StyleGAN2():
            return module.clone(size=16, latent=8, depth=2, base=384, most=24)
    raise NotImplementedError(type(module).__name__)


def narrow_sequence(module: Any) -> nn.Module:
    """A narrow network of the same family, for steps or for tokens."""
    few = {'vocabulary': WORDS, 'width': 12, 'depth': 2, 'heads': 3}
    match module:
        case SimpleRNN() | LSTM() | GRU() | GRUBefore():
            return module.clone(units=12)
        case LanguageModel():
            return module.clone(vocabulary=WORDS, units=(12, 8), embedding=6)
        case RNNClassifier():
            layers = (SimpleRNN(12), SimpleRNN(8))
            return module.clone(vocabulary=WORDS, embedding=6, layers=layers)
        case Generator():
            return module.clone(vocabulary=WORDS, units=12)
        case Seq2Seq():
            return module.clone(source_words=WORDS, target_words=WORDS, embedding=6, units=8)
        case TextCNN():
            return module.clone(vocabulary=WORDS, embedding=6, features=5)
        case Transformer() | BERT() | TextTower():
            return module.clone(**few, mlp=20)
        case GPT():
            return module.clone(**few)
        case Linear() | DLinear():
            return module.clone(future=8)
        case FromLast():
            return module.clone(inner=narrow_sequence(module.inner))
        case RNNForecaster():
            return module.clone(future=8, layers=[narrow_sequence(it) for it in module.layers])
        case TransformerForecaster():
            return module.clone(future=8, width=12, depth=2, heads=3, mlp=20)
        case FrameRNN():
            return module.clone(trunk=FrameCNN((4, 6), 8), rnn=narrow_sequence(module.rnn))
        case Recogniser():
            return module.clone(classes=4, layers=(Bidirectional(partial(LSTM, 8)),))
        case Tacotron():
            size = {'embedding': 6, 'units': 8, 'decoder': 12, 'banks': (3, 2)}
            return module.clone(vocabulary=WORDS, mels=5, bins=7, **size)
    raise NotImplementedError(type(module).__name__)


def narrow_graph(module: Any) -> nn.Module:
    """The same for graphs."""
    match module:
        case GCN() | GraphSAGE():
            return module.clone(features=(5, 4))
        case GAT():
            return module.clone(hidden=(3,), heads=2, last=2)
        case GIN():
            return module.clone(features=5, depth=2)
    raise NotImplementedError(type(module).__name__)


def drawn_graph(rng: np.random.Generator, nodes: int, features: int) -> Graph:
    """Two graphs of a few edges, the last node and the last edges of which are padding."""
    edges = 3 * nodes
    ends = rng.integers(nodes - 1, size=(2, edges)).astype(np.int32)
    return Graph(
        x=jnp.asarray(rng.normal(size=(nodes, features))),
        senders=jnp.asarray(ends[0]),
        receivers=jnp.asarray(ends[1]),
        node_mask=jnp.arange(nodes) < nodes - 1,
        edge_mask=jnp.arange(edges) < edges - 3,
        member=jnp.arange(nodes) // (nodes // 2 + 1),
        graphs=2,
    )


def narrow_image(module: Any, image: Shape) -> Narrow:
    """The same for images, and sizes of images that it takes."""
    few = {'classes': 10}
    match module:
        case MLP():
            return Narrow(module.clone(features=(64, 32, 10)), DIGITS)
        case DCGANDiscriminator():
            slim = module.clone(width=24, stages=2, last=7)
            return Narrow(slim, ((8, 28, 28), (3, 28, 28), (16, 28, 28)))
        case StyleGAN2Discriminator():
            slim = module.clone(size=16, base=384, most=24)
            return Narrow(slim, ((8, 16, 16), (3, 16, 16), (4, 16, 16)))
        case LeNet5():
            return Narrow(module, ((8, 32, 32), (3, 32, 32), (16, 32, 32)))
        case LeNet():
            return Narrow(module, DIGITS)
        case ConvStack():
            return Narrow(module.clone(widths=(16, 24, 32)), DIGITS)
        case AlexNet():
            slim = module.clone(features=(24, 32, 48, 48, 32), hidden=(32, 32), **few)
            return Narrow(slim, LARGE)
        case VGG():
            slim = module.clone(
                convolutions=(1, 1, 2, 1, 1), features=(8, 16, 24, 32, 32), hidden=(32, 32), **few
            )
            return Narrow(slim, IMAGES)
        case GoogLeNet():
            return Narrow(module.clone(**few), LARGE[:1] if module.auxiliary else IMAGES[:2])
        case InceptionV3():
            # Its auxiliary head needs all of 299 pixels, which take minutes.
            sizes = ((1, 299, 299),) if module.auxiliary else ((2, 75, 107), (1, 107, 75))
            return Narrow(module.clone(**few), sizes)
        case ResNet() if module.stem is cifar_stem:
            slim = module.clone(stages=(2, 2, 2), widths=(16, 24, 32), **few)
            return Narrow(slim, ((4, 32, 32), (3, 27, 33), (8, 16, 16)))
        case ResNet():
            slim = module.clone(stages=(2, 1, 1, 1), widths=(24, 32, 32, 48), **few)
            return Narrow(slim, IMAGES)
        case ViT():
            slim = module.clone(width=48, depth=2, heads=3, mlp=96, patch=8, **few)
            return Narrow(slim, ((2, 64, 64), (3, 48, 72), (4, 96, 32)))
        case ImageTower():
            slim = module.clone(width=48, depth=2, heads=3, mlp=96, patch=8)
            return Narrow(slim, ((2, 64, 64), (3, 48, 72), (4, 96, 32)))
        case FCN():
            slim = module.clone(
                convolutions=(1, 1, 2, 1, 1),
                features=(8, 16, 24, 32, 32),
                hidden=(32, 32),
                classes=3,
            )
            return Narrow(slim, ((1, 64, 64), (2, 33, 47), (2, 96, 64)))
        case DilatedFCN():
            backbone = partial(
                Stages, (1, 1, 1, 1), Bottleneck, (8, 8, 16, 16), dilated=(False, True, True)
            )
            return Narrow(module.clone(backbone=backbone, classes=3), IMAGES)
        case UNet():
            sizes = ((2, 64, 64), (1, 49, 75), (2, 96, 96))
            valid = ((2, 92, 92), (1, 108, 92), (1, 124, 140))
            slim = module.clone(base=24, depth=2)
            return Narrow(slim, valid if module.norm is no_norm else sizes)
        case YOLOv3():
            slim = module.clone(classes=2, width=4, backbone=partial(Darknet, (1, 1, 1, 1, 1)))
            return Narrow(slim, ((2, 64, 64), (1, 96, 128), (3, 192, 256)))
        case TinyYOLOv3():
            return Narrow(
                module.clone(classes=2, width=8), ((2, 64, 64), (1, 96, 128), (3, 192, 256))
            )
        case FasterRCNN():
            slim = FasterRCNN(
                partial(Stages, (1, 1), BasicBlock, (24, 32)),
                3,
                partial(FeaturePyramid, 24),
                partial(BoxHead, hidden=partial(BoxHidden, units=(32, 32))),
                sizes=((16,), (32,), (48,)),
                before=(60, 60),
                after=(40, 40),
                # All of them are learned from, whatever is drawn.
                anchors_drawn=8192,
                regions_drawn=8192,
            )
            return Narrow(slim, ((2, 64, 64), (1, 96, 128), (2, 96, 96)))
        case QNetwork():
            return Narrow(module.clone(head=MLP((32, 6))), ((2, 84, 84), (3, 61, 76), (5, 84, 84)))
        case SRResNet():
            return Narrow(module.clone(blocks=1, width=8), ((2, 12, 16), (1, 9, 7), (2, 8, 8)))
        case SRDiscriminator():
            slim = module.clone(features=(8, 12, 16, 24), hidden=16)
            return Narrow(slim, IMAGES)
        case ResNetGenerator():
            slim = module.clone(blocks=1, base=8)
            return Narrow(slim, ((2, 16, 20), (1, 12, 28), (2, 32, 32)))
        case UNetGenerator():
            slim = module.clone(base=8, depth=5)
            return Narrow(slim, ((2, 64, 32), (3, 32, 32), (1, 64, 64)))
        case PatchGAN():
            return Narrow(module.clone(base=8), IMAGES)
        case ContextEncoder():
            slim = module.clone(base=8, bottleneck=24, depth=3)
            return Narrow(slim, ((4, 32, 32), (3, 32, 32), (8, 32, 32)))
    raise NotImplementedError(type(module).__name__)


def kinds() -> dict[str, Narrow]:
    """The different networks of the table of architectures, narrow."""
    found: dict[str, Narrow] = {}
    for members in TABLE.values():
        for name, it in members.items():
            if (each := narrow(it)) not in found.values():
                found[name] = each
    alone = Architecture(partial(InceptionV3, auxiliary=None), (75, 75, 3))
    found['inception_v3_alone'] = narrow(alone)
    return found


def check(
    module: nn.Module,
    shape: Shape,
    *,
    words: int = 0,
    inputs: int = 1,
    graph: bool = False,
    also: tuple[Any, ...] = (),
    in_float64: bool = False,
) -> None:
    """Assert the law for a network on inputs of a shape: numbers, tokens, or nodes of graphs.

    also: what it takes beside them.
    """
    rng = np.random.default_rng(0)
    xs: list[Any] = [
        jnp.asarray(rng.integers(words, size=shape) if words else rng.normal(size=shape))
        for _ in range(inputs)
    ]
    if graph:
        xs = [drawn_graph(rng, *shape)]
    xs += also
    streams = {name: KEY for name in ('params', 'dropout', 'sampling')}
    variables = gradients.stirred(jax.jit(module.init)(streams, *xs))
    method = None
    if isinstance(module, FasterRCNN):
        high, wide = shape[1:3]
        boxes = np.array([[4, 6, 40, 44], [20, 10, wide - 2, high - 5]], np.float32)
        truth = np.broadcast_to(boxes, (shape[0], 2, 4)), np.tile([[0, 2]], (shape[0], 1))
        xs += [jnp.asarray(each) for each in (*truth, np.ones((shape[0], 2), bool))]
        method = 'losses'
    found = gradients.of_module(module, method)
    gradients.law(found, (KEY, variables, xs), in_float64=in_float64)


REPRESENTATIVES: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    'stem and blocks': (
        lambda: resnet18(classes=3).clone(stages=(1, 1), widths=(24, 24)),
        (3, 49, 75, 3),
    ),
    'pooling behind norms': (
        lambda: vgg11_bn(classes=3).clone(features=(24, 32, 32, 24, 24), hidden=(16, 16)),
        (2, 64, 96, 3),
    ),
    'transposed convolutions': (lambda: UNet(base=24, depth=1), (2, 49, 61, 1)),
    'few channels': (LeNet, (8, 28, 28, 1)),
    'attention': (
        lambda: ViT(width=24, depth=1, heads=2, mlp=32, patch=8, classes=3),
        (2, 32, 40, 3),
    ),
}


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(
            name, marks=[] if name in ('pooling behind norms', 'few channels') else pytest.mark.slow
        )
        for name in REPRESENTATIVES
    ],
)
def test_a_compiled_gradient_is_as_exact_as_the_plain_one(name):
    build, shape = REPRESENTATIVES[name]
    check(build(), shape, in_float64=True)


def sized() -> list[Any]:
    """Every network at every size; the odd one of three stands for the others in `make laws`."""
    cases = []
    for name, each in kinds().items():
        count = len(each.sizes)
        for i in range(count):
            first = i == (1 if count == 3 else 0) and max(each.sizes[i]) < 299
            mark = pytest.mark.slow if first else pytest.mark.thorough
            cases.append(pytest.param(name, i, id=f'{name}-{i}', marks=mark))
    return cases


@pytest.mark.parametrize('name,size', sized())
def test_the_gradient_of_every_network_of_the_table_is_exact(name, size):
    each = kinds()[name]
    shape = (*each.sizes[size], *each.tail)
    also = () if each.graph else each.also(*shape[:2])
    more = {'words': each.words, 'inputs': each.inputs, 'graph': each.graph, 'also': also}
    check(each.module, shape, **more, in_float64=True)


ROWS = 2  # of an experiment's images, at their own sizes; its own number of them takes minutes
TURNS = {'gan_images': 5}  # of a critic, each of which takes a part of a batch
ARMS = [
    pytest.param(
        name,
        arm,
        marks=[
            pytest.mark.xdist_group(f'gradients of {name}'),
            *([pytest.mark.slow] if arm == 'tiny' and name != 'digits' else []),
            *([pytest.mark.thorough] if arm != 'tiny' else []),
        ],
    )
    for name in sorted(names())
    for arm in load(name)[1].named()
]
checked: set[str] = set()


@pytest.mark.parametrize('name,arm', ARMS)
def test_the_gradients_of_every_arm_are_exact(name, arm):
    study = load(name)[1]
    try:
        phases = phases_of(study, resolve(study, arm, {}))
    except DataMissingError as missing:
        pytest.skip(str(missing))
    rows = ROWS * TURNS.get(name, 1)
    for phase in phases:
        source = phase.train
        batch = jax.jit(source.make)(KEY, source.resident, next(source.open(0, 0)))
        if any(leaf.ndim > 3 for leaf in jax.tree.leaves(batch)):
            batch = jax.tree.map(lambda x: x[:rows], batch)
        state = gradients.stirred(jax.jit(phase.task.init)(KEY, batch))
        found, args = gradients.of_task(phase.task), (KEY, state, batch)
        # Arms often differ in what comes after the gradient: one program is compared once.
        program = jax.jit(found).lower(*args).as_text()
        if program not in checked:
            gradients.law(found, args)
            checked.add(program)
