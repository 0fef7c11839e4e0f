"""How large is every architecture: parameters, multiply-adds, memory, and how fast is it here?

Everything is counted for one image of the size that the architecture was published with, or for one
text, next to the numbers that were published. Multiply-adds are those of convolutions and matrix
products. Memory is XLA's own account of the compiled forward pass in float32: its weights, and the
most bytes that activations take at one time. Examples per second of inference are measured if asked
for.

    python -m experiments.architectures                      two minutes on two CPU cores
    python -m experiments.architectures --only vgg16 resnet50 --measure
    python -m experiments.architectures --measure --record   the table in README.md
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxdl.cli.main import run_script
from jaxdl.cli.options import Option, parse
from jaxdl.cli.plan import surroundings
from jaxdl.engine import cost
from jaxdl.errors import UsageError, nearest
from jaxdl.files import write_bytes, write_json
from jaxdl.models.alexnet import AlexNet, alexnet2014
from jaxdl.models.bert import bert_base, bert_large
from jaxdl.models.clip import ImageTower, TextTower
from jaxdl.models.cnn import CNN, deep_mnist, flax_mnist
from jaxdl.models.context_encoder import ContextEncoder
from jaxdl.models.conv_stack import ConvStack
from jaxdl.models.cyclegan import PatchGAN, ResNetGenerator
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.dqn import nature_dqn, nature_dueling
from jaxdl.models.faster_rcnn import fasterrcnn_resnet50_fpn
from jaxdl.models.fcn import FCNHead, fcn8s, fcn16s, fcn32s, fcn_resnet50
from jaxdl.models.forecast import (
    DLinear,
    FromLast,
    Linear,
    RNNForecaster,
    TransformerForecaster,
)
from jaxdl.models.gan import (
    PerceptronGenerator,
    leaky_discriminator,
    leaky_generator,
    perceptron_discriminator,
)
from jaxdl.models.gat import GAT
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN
from jaxdl.models.googlenet import GoogLeNet, googlenet_bn
from jaxdl.models.gpt import gpt2, gpt2_large, gpt2_medium, gpt2_xl
from jaxdl.models.graphsage import GraphSAGE
from jaxdl.models.inception import InceptionV3
from jaxdl.models.lenet import LeNet, LeNet5
from jaxdl.models.mlp import MLP
from jaxdl.models.pix2pix import UNetGenerator
from jaxdl.models.resnet import (
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from jaxdl.models.rnn import Generator, LanguageModel, RNNClassifier, TextCNN
from jaxdl.models.seq2seq import Seq2Seq
from jaxdl.models.speech import Recogniser
from jaxdl.models.srgan import SRDiscriminator, SRResNet
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.models.tacotron import Tacotron
from jaxdl.models.transformer import transformer_base, transformer_big
from jaxdl.models.unet import UNet, unet_original
from jaxdl.models.vgg import (
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from jaxdl.models.video import FrameCNN, FrameRNN
from jaxdl.models.vit import vit_b_16, vit_b_32, vit_l_16, vit_l_32, vit_s_16, vit_s_32
from jaxdl.models.yolo import TinyYOLOv3, YOLOv3
from jaxdl.nn.attention_blocks import CBAM, SqueezeExcitation
from jaxdl.nn.graph import Graph
from jaxdl.nn.recurrent import GRU, LSTM, GRUBefore, SimpleRNN
from jaxdl.report.figures import png, scatter
from jaxdl.report.recorded import markdown_table, write_between
from jaxdl.run import machine
from jaxdl.study import Count, Rate


class Architecture(NamedTuple):
    """A network at the size of input it was published with.

    input: (H, W, C) of an image, (T, D) of steps, or (T,) of what it `reads`: tokens, or the
        latents of a generator; with `edges` (N, F) of nodes. inputs: how many of them it takes, 2
        for source and target. also: shapes of what else it takes, with fewer than two axes of
        whole numbers.
    parameters, gmacs: as they were published, to as many digits; '' where they were not. source:
    where. gmacs are 10^9 multiply-adds.
    """

    build: Callable[[], nn.Module]
    input: tuple[int, ...]
    parameters: str = ''
    gmacs: str = ''
    source: str = ''
    inputs: int = 1
    reads: Literal['tokens', 'latents'] = 'tokens'
    edges: int = 0
    also: tuple[tuple[int, ...], ...] = ()

    def shapes(self, batch: int) -> list[Any]:
        """What it is called on."""
        if self.edges:
            return [graph_shapes(batch, *self.input, self.edges)]
        tokens = len(self.input) == 1 and self.reads == 'tokens'
        kind = np.int32 if tokens else np.float32
        return [jax.ShapeDtypeStruct((batch, *self.input), kind)] * self.inputs + [
            jax.ShapeDtypeStruct((batch, *shape), np.int32 if len(shape) < 2 else np.float32)
            for shape in self.also
        ]

    def size(self) -> str:
        """Its input in words."""
        if self.edges:
            return f'{self.input[0]:,} nodes x {self.input[1]:,}, {self.edges:,} edges'
        if len(self.input) > 1:
            return 'x'.join(map(str, self.input))
        return ' + '.join([str(*self.input)] * self.inputs) + f' {self.reads}'


def graph_shapes(graphs: int, nodes: int, features: int, edges: int) -> Graph:
    """The shapes of so many graphs, each of so many nodes and edges."""
    of = jax.ShapeDtypeStruct
    n, e = graphs * nodes, graphs * edges
    return Graph(
        x=of((n, features), np.float32),
        senders=of((e,), np.int32),
        receivers=of((e,), np.int32),
        node_mask=of((n,), np.bool_),
        edge_mask=of((e,), np.bool_),
        member=of((n,), np.int32),
        graphs=graphs,
    )


FOLDER = Path(__file__).parent
DIGIT, SMALL, IMAGE = (28, 28, 1), (32, 32, 3), (224, 224, 3)
STEPS, TEXT, HOURS = (100, 64), (128,), (96, 7)  # of ETT's features
CORA, CITED = (2708, 1433), 10_556  # papers and their words; citations, both ways
MOLECULE, BONDS = (25, 27), 50
without_heads = partial(googlenet_bn, auxiliary=None)
A, TV, HF = Architecture, 'torchvision', 'transformers'

TABLE: Mapping[str, Mapping[str, Architecture]] = {
    'first': {
        'mlp_300_100': A(partial(MLP, (300, 100, 10)), DIGIT),
        'lenet5': A(LeNet5, (32, 32, 1), '60,000', source='paper'),
        'lenet': A(LeNet, DIGIT),
        'cnn_32': A(CNN, SMALL),
        'cnn_64': A(CNN, (64, 64, 3)),
        'flax_mnist': A(flax_mnist, DIGIT, '824,458', source='Flax'),
        'deep_mnist': A(deep_mnist, DIGIT),
        'conv_stack': A(ConvStack, DIGIT),
    },
    'AlexNet, VGG': {
        'alexnet': A(AlexNet, (227, 227, 3), '60.97 M', source='Caffe'),
        'alexnet2014': A(alexnet2014, IMAGE, '61,100,840', '0.714', TV),
        'vgg11': A(vgg11, IMAGE, '132,863,336', '7.609', TV),
        'vgg13': A(vgg13, IMAGE, '133,047,848', '11.308', TV),
        'vgg16': A(vgg16, IMAGE, '138,357,544', '15.47', TV),
        'vgg19': A(vgg19, IMAGE, '143,667,240', '19.632', TV),
        'vgg11_bn': A(vgg11_bn, IMAGE, '132,868,840', '7.609', TV),
        'vgg13_bn': A(vgg13_bn, IMAGE, '133,053,736', '11.308', TV),
        'vgg16_bn': A(vgg16_bn, IMAGE, '138,365,992', '15.47', TV),
        'vgg19_bn': A(vgg19_bn, IMAGE, '143,678,248', '19.632', TV),
    },
    'Inception': {
        'googlenet': A(GoogLeNet, IMAGE),
        'googlenet_bn': A(without_heads, IMAGE, '6,624,904', '1.498', TV),
        'inception_v3': A(InceptionV3, (299, 299, 3), '27,161,264', '5.713', TV),
    },
    'ResNet': {
        'resnet18': A(resnet18, IMAGE, '11,689,512', '1.814', TV),
        'resnet34': A(resnet34, IMAGE, '21,797,672', '3.664', TV),
        'resnet50': A(resnet50, IMAGE, '25,557,032', '4.089', TV),
        'resnet101': A(resnet101, IMAGE, '44,549,160', '7.801', TV),
        'resnet152': A(resnet152, IMAGE, '60,192,808', '11.514', TV),
        'se_resnet50': A(
            partial(resnet50, attention=SqueezeExcitation), IMAGE, '28.1 M', source='paper'
        ),
        'cbam_resnet50': A(partial(resnet50, attention=CBAM), IMAGE, '28.09 M', source='paper'),
    },
    'CIFAR ResNet': {
        'resnet20': A(resnet20, SMALL, '0.27 M', source='paper'),
        'resnet32': A(resnet32, SMALL, '0.46 M', source='paper'),
        'resnet44': A(resnet44, SMALL, '0.66 M', source='paper'),
        'resnet56': A(resnet56, SMALL, '0.85 M', source='paper'),
        'resnet110': A(resnet110, SMALL, '1.7 M', source='paper'),
        'plain20': A(plain20, SMALL),
        'plain32': A(plain32, SMALL),
        'plain44': A(plain44, SMALL),
        'plain56': A(plain56, SMALL),
        'plain110': A(plain110, SMALL),
    },
    'ViT': {
        'vit_s_16': A(vit_s_16, IMAGE, '22 M', '4.6', 'DeiT'),
        'vit_s_32': A(vit_s_32, IMAGE),
        'vit_b_16': A(vit_b_16, IMAGE, '86,567,656', '17.564', TV),
        'vit_b_32': A(vit_b_32, IMAGE, '88,224,232', '4.409', TV),
        'vit_l_16': A(vit_l_16, IMAGE, '304,326,632', '61.555', TV),
        'vit_l_32': A(vit_l_32, IMAGE, '306,535,400', '15.378', TV),
    },
    'dense, detection': {
        'fcn32s': A(fcn32s, (500, 500, 3)),
        'fcn16s': A(fcn16s, (500, 500, 3)),
        'fcn8s': A(fcn8s, (500, 500, 3)),
        # torchvision's 152.717 G are with the head for training, which inference leaves out here.
        'fcn_resnet50': A(
            partial(fcn_resnet50, auxiliary=FCNHead), (520, 520, 3), '35,322,218', source=TV
        ),
        'unet_original': A(unet_original, (572, 572, 1)),
        'unet': A(UNet, (512, 512, 3)),
        'faster_rcnn': A(fasterrcnn_resnet50_fpn, (800, 800, 3), '41,755,286', '134.38', TV),
        'yolov3': A(YOLOv3, (416, 416, 3), gmacs='32.93', source='Darknet'),
        'yolov3_tiny': A(TinyYOLOv3, (416, 416, 3), gmacs='2.78', source='Darknet'),
    },
    'recurrent': {
        # gates (D units + units^2 + units), and as many biases more where they are twice.
        'simple_rnn_128': A(partial(SimpleRNN, 128), STEPS, '24,704', source='formula'),
        'lstm_128': A(partial(LSTM, 128), STEPS, '98,816', source='formula'),
        'gru_128': A(partial(GRU, 128), STEPS, '74,496', source='formula'),
        'gru_before_128': A(partial(GRUBefore, 128), STEPS, '74,112', source='formula'),
        'lstm_2x256': A(partial(LanguageModel, 65), TEXT),
        'text_classifier': A(partial(RNNClassifier, 10_000, 2), TEXT),
        'text_generator': A(partial(Generator, 65), (40,)),
        'seq2seq': A(partial(Seq2Seq, 8000, 8000), (32,), inputs=2),
    },
    'text': {
        'text_cnn': A(partial(TextCNN, 18_765, 2), (56,)),
        # The paper has 65 M and 213 M for a vocabulary of about 37,000, and no formula.
        'transformer_base': A(partial(transformer_base, 37_000), TEXT, inputs=2),
        'transformer_big': A(partial(transformer_big, 37_000), TEXT, inputs=2),
        'bert_base': A(bert_base, TEXT, '109,482,240', source=HF),
        'bert_large': A(bert_large, TEXT, '335,141,888', source=HF),
        'gpt2': A(gpt2, TEXT, '124,439,808', source=HF),
        'gpt2_medium': A(gpt2_medium, TEXT, '354,823,168', source=HF),
        'gpt2_large': A(gpt2_large, TEXT, '774,030,080', source=HF),
        'gpt2_xl': A(gpt2_xl, TEXT, '1,557,611,200', source=HF),
    },
    'series, video': {
        # 2 (H T + H); the paper's table 8 has 139.7 K and 0.04 G for these 321 features.
        'dlinear': A(partial(DLinear, 720), (96, 321), '139,680', source='formula'),
        'nlinear': A(partial(FromLast, Linear(720)), (96, 321), '69,840', source='formula'),
        'lstm_forecaster': A(partial(RNNForecaster, 96), HOURS),
        'gru_forecaster': A(partial(RNNForecaster, 96, (GRU(64),)), HOURS),
        'transformer_forecaster': A(partial(TransformerForecaster, 96), HOURS),
        'frame_lstm': A(partial(FrameRNN, FrameCNN(), 10), (8, 16, 16, 1)),
    },
    'generators': {
        'gan_generator': A(PerceptronGenerator, (100,), reads='latents'),
        'gan_discriminator': A(perceptron_discriminator, DIGIT),
        'leaky_generator': A(leaky_generator, (100,), reads='latents'),
        'leaky_discriminator': A(leaky_discriminator, DIGIT),
        'dcgan_generator': A(
            DCGANGenerator, (100,), '3,576,704', source='PyTorch', reads='latents'
        ),
        'dcgan_discriminator': A(DCGANDiscriminator, (64, 64, 3), '2,765,568', source='PyTorch'),
        'stylegan2': A(StyleGAN2, (512,), '30,370,060', source='authors', reads='latents'),
        'stylegan2_discriminator': A(
            StyleGAN2Discriminator, (1024, 1024, 3), '29,012,513', source='authors'
        ),
    },
    'graph': {
        # 1433 x 16 + 16 x 7; 1433 x 64 and 64 x 7, vectors of attention and biases.
        'gcn': A(partial(GCN, (16, 7)), CORA, '23,040', source='formula', edges=CITED),
        'gat': A(partial(GAT, 7), CORA, '92,373', source='formula', edges=CITED),
        'graphsage': A(partial(GraphSAGE, 7), CORA, edges=CITED),
        'gin': A(partial(GIN, 1), MOLECULE, edges=BONDS),
    },
    'decisions': {
        'nature_dqn': A(partial(nature_dqn, 6), (84, 84, 4), '1,687,206', source='cleanrl'),
        'nature_dueling': A(partial(nature_dueling, 6), (84, 84, 4)),
    },
    'images to images': {
        'srresnet': A(SRResNet, (24, 24, 3), '1,549,462', source='PyTorch'),
        'srgan_discriminator': A(SRDiscriminator, (96, 96, 3)),
        'cyclegan_9': A(ResNetGenerator, (256, 256, 3), '11,378,179', source='authors'),
        'cyclegan_6': A(partial(ResNetGenerator, 6), (128, 128, 3), '7,837,699', source='authors'),
        'patchgan': A(PatchGAN, (256, 256, 3), '2,764,737', source='authors'),
        'pix2pix_unet': A(UNetGenerator, (256, 256, 3), '54.414 M', source='authors'),
        'context_encoder': A(ContextEncoder, (128, 128, 3)),
    },
    'sound': {
        # Lengths, voices and frames to go on from stand beside features and characters.
        'recogniser': A(partial(Recogniser, 29), (300, 20), also=((),)),
        'tacotron': A(partial(Tacotron, 149), (60,), also=((), (), (400, 80), ())),
    },
    'images and texts': {
        # CLIP's towers, without their projections.
        'clip_image_b_32': A(ImageTower, IMAGE, '87,456,000', source=HF),
        'clip_image_b_16': A(partial(ImageTower, patch=16), IMAGE, '85,799,424', source=HF),
        'clip_text': A(TextTower, (77,), '63,165,952', source=HF),
    },
}


class Row(NamedTuple):
    """What one architecture costs: bytes are of one input in float32, speed is examples/s."""

    name: str
    family: str
    input: str
    parameters: int
    macs: int
    weights: int
    activations: int
    speed: float | None
    published: str


def agrees(parameters: int, macs: int, it: Architecture) -> bool:
    """Whether these are the published numbers: to their digits, and multiply-adds within 1 %."""
    digits = len(it.parameters.removesuffix(' M').partition('.')[2])
    ours = ('', f'{parameters:,}', f'{parameters / 1e6:.{digits}f} M')
    near = not it.gmacs or abs(macs / 1e9 / float(it.gmacs) - 1) < 0.01
    return it.parameters in ours and near


def row(name: str, family: str, it: Architecture, *, batch: int, seconds: float | None) -> Row:
    """Count one architecture, and measure it for `seconds` where that is asked for."""
    module = it.build()
    xs = it.shapes(1)
    variables: Any = jax.eval_shape(module.init, jax.random.key(0), *xs)
    weights, activations = memory(module, variables, xs)
    parameters = cost.parameters(variables['params'])
    macs = cost.flops(module.apply, variables, *xs) // 2
    said = [it.parameters, it.gmacs and f'{it.gmacs} G', it.source and f'({it.source})']
    if not agrees(parameters, macs, it):
        said.append('≠ ours')
    return Row(
        name,
        family,
        it.size(),
        parameters,
        macs,
        weights,
        activations,
        throughput(module, variables, it.shapes(batch), batch, seconds) if seconds else None,
        ' '.join(part for part in said if part),
    )


def memory(module: nn.Module, variables: Any, xs: Sequence[Any]) -> tuple[int, int]:
    """(bytes of weights, most bytes of activations at one time) of the compiled forward pass.

    The inputs and the output count among the activations.
    """
    # Buffers are laid out alike at every level of optimisation, and this one compiles fast.
    fast = {'xla_backend_optimization_level': 0}
    found = jax.jit(module.apply).lower(variables, *xs).compile(fast).memory_analysis()
    weights = cost.nbytes(variables)
    arguments = cost.nbytes((variables, xs))
    return weights, arguments - weights + found.temp_size_in_bytes + found.output_size_in_bytes


def throughput(
    module: nn.Module, variables: Any, shapes: Sequence[Any], batch: int, seconds: float
) -> float:
    """Examples per second of the compiled forward pass on a batch, tried for about `seconds`.

    Of the fastest call: others that the machine was disturbed in would order networks by luck.
    """
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: Any) -> jax.Array:
        if 'params' not in jax.tree_util.keystr(path):  # running statistics
            return jax.numpy.ones(leaf.shape, leaf.dtype)
        return jax.device_put(rng.standard_normal(leaf.shape, np.float32) * 0.02)

    weights = jax.tree_util.tree_map_with_path(drawn, variables)

    def given(x: jax.ShapeDtypeStruct) -> np.ndarray:
        if x.dtype == np.float32:
            return rng.standard_normal(x.shape, np.float32)
        if x.dtype == bool:
            return np.ones(x.shape, bool)
        # Every vocabulary has the first two tokens.
        return rng.integers(2, size=x.shape, dtype=np.int32)

    xs = jax.device_put(jax.tree.map(given, shapes))
    forward = jax.jit(module.apply)
    jax.block_until_ready(forward(weights, *xs))  # compiles
    fastest, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or fastest == math.inf:
        begun = time.perf_counter()
        jax.block_until_ready(forward(weights, *xs))
        fastest = min(fastest, time.perf_counter() - begun)
    return batch / fastest


def chosen(only: Sequence[str]) -> Iterator[tuple[str, str, Architecture]]:
    """(name, family, architecture) of those named, or of all."""
    names = {name: family for family, members in TABLE.items() for name in members}
    for name in only:
        if name not in names:
            raise UsageError(f'--only: unknown architecture {name!r}{nearest(name, names)}')
    for name, family in names.items():
        if not only or name in only:
            yield name, family, TABLE[family][name]


HEAD = ('architecture', 'input', 'parameters', 'multiply-adds', 'published', 'weights', 'acts.')


def cells(each: Row) -> list[str]:
    """A row as text."""
    found = [
        each.name,
        each.input,
        f'{each.parameters:,}',
        cost.quantity(each.macs).strip(),
        each.published,
        f'{cost.quantity(each.weights)}B',
        f'{cost.quantity(each.activations)}B',
    ]
    return found if each.speed is None else [*found, f'{each.speed:,.3g}']


def markdown(rows: Sequence[Row], about: str) -> str:
    """The table of README.md."""
    head = [*HEAD, 'examples/s'][: len(cells(rows[0]))]
    return '\n'.join([about, '', *markdown_table(head, map(cells, rows), words=2), ''])


BEGIN = '<!-- architectures: written by `python -m experiments.architectures --record` -->'
END = '<!-- end of architectures -->'
OPTIONS = [
    Option('only', tuple[str, ...], (), 'which architectures; all if none is named'),
    Option('measure', bool, False, 'measure examples per second of inference on this device too'),
    Option('batch', Count, 8, 'examples of a measured batch'),
    Option('seconds', Rate, 3.0, 'how long each is measured, after compilation'),
    Option('record', bool, False, 'rewrite the table and its picture in experiments/'),
    Option('workdir', Path, Path('runs/architectures'), 'where table and picture are written'),
]


def main(words: list[str]) -> None:
    """Print the table, plot it, and record it where that is asked for."""
    from rich.console import Console
    from rich.table import Table

    values = parse('architectures', OPTIONS, words, about=str(__doc__).split('\n')[0]).values
    if values['record'] and values['only']:
        raise UsageError('--record: it records all architectures, so it goes without --only')
    seconds = values['seconds'] if values['measure'] else None
    if seconds and (line := machine.tune_memory()):
        print(line)
    device = surroundings()['devices'][0]
    about = f'Of one input in float32; activations as XLA lays them out on {device}.'
    if seconds:
        about += (
            f' Examples/s: inference in batches of {values["batch"]} there, the fastest of some.'
        )
    console, rows = Console(), []
    if not console.is_terminal:
        console = Console(width=max(console.width, 130))
    with console.status('') as status:
        for name, family, each in chosen(values['only']):
            status.update(name)
            rows.append(row(name, family, each, batch=values['batch'], seconds=seconds))
    table = Table(*[*HEAD, 'examples/s'][: len(cells(rows[0]))], caption=about)
    for each in rows:
        table.add_row(*cells(each))
    console.print(table)
    folder = values['workdir']
    picture = png(plot(rows))
    write_bytes(folder / 'architectures.png', picture)
    write_json(folder / 'architectures.json', {'about': about, 'rows': [r._asdict() for r in rows]})
    console.print(f'wrote {folder}/architectures.png and .json')
    if values['record']:
        write_bytes(FOLDER / 'results' / 'architectures.png', picture)
        text = markdown(rows, f'{about}\n\n![Sizes](results/architectures.png)')
        write_between(FOLDER / 'README.md', BEGIN, END, text)
        console.print('wrote the table in experiments/README.md')


def plot(rows: Sequence[Row]) -> Any:
    """Parameters against multiply-adds; a family has a colour."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for each in rows:
        points.setdefault(each.family, {})[each.name] = (each.macs, each.parameters)
    return scatter(points, x='multiply-adds', y='parameters')


if __name__ == '__main__':
    run_script(main)
