"""How fast does each network train here, and how fast does PyTorch train the same one?

Training steps (forward, loss, gradient, AdamW) on images of noise. Nothing is to be learned from
them: `jaxdl bench throughput` measures the steps of each arm, `make bench` (or, where torch is
installed, `python -m experiments.throughput`) times the same steps in PyTorch in turn with ours.

    arm        network                                            images        batch
    cnn        the tutorials' CNN, 4.2 M parameters               64x64x3          32
    resnet18   ResNet-18 with CIFAR's stem, 11.2 M                32x32x3          32
    unet       U-Net of base 32 and depth 4, 7.8 M                128x128x1         4
    vit        ViT of 6 layers, width 384, 256 patches, 10.8 M    64x64x3           8
    lenet      today's LeNet, 62 k; 1, 5 and 32 seeds at once     28x28x1         128

On a GPU both train in bfloat16 with float32 parameters, PyTorch with channels last.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import losses
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.game import supervised
from jaxdl.metrics import Mean
from jaxdl.models.cnn import CNN
from jaxdl.models.lenet import LeNet
from jaxdl.models.resnet import cifar_stem, resnet18
from jaxdl.models.unet import UNet
from jaxdl.models.vit import ViT
from jaxdl.net import Net
from jaxdl.study import Count, Phase, Rate, Steps, Study, each
from jaxdl.task import Task

Name = Literal['cnn', 'resnet18', 'unet', 'vit', 'lenet', 'small']


class Workload(NamedTuple):
    """A network, the images it sees, how many at a time, and whether it labels every pixel."""

    module: nn.Module
    image: tuple[int, int, int]
    batch: int
    classes: int = 10
    pixels: bool = False


WORKLOADS = {
    'cnn': Workload(CNN(), (64, 64, 3), 32),
    'resnet18': Workload(resnet18(classes=10, stem=cifar_stem), (32, 32, 3), 32),
    'unet': Workload(UNet(base=32, depth=4), (128, 128, 1), 4, classes=2, pixels=True),
    'vit': Workload(
        ViT(width=384, depth=6, heads=6, mlp=1536, patch=4, classes=10), (64, 64, 3), 8
    ),
    'lenet': Workload(LeNet(), (28, 28, 1), 128),
    'small': Workload(LeNet(features=(4, 8), dense=(16,), kernel=(3, 3)), (12, 12, 1), 8),
}


def learner(module: nn.Module, opt: optax.GradientTransformation, *, half: bool) -> Task:
    """Cross-entropy of logits [B, ..., C] and classes y [B, ...].

    half: networks compute in bfloat16; parameters and their updates stay in float32.
    """

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree) if half else tree

    def apply(net: Net, batch: Any, **options: Any) -> tuple[jax.Array, Net]:
        logits, after = net.replace(params=cast(net.params))(cast(batch['x']), **options)
        return logits.astype(jnp.float32), net.replace(memory=after.memory)

    def loss(net: Net, batch: Any, key: Any) -> Any:
        logits, net = apply(net, batch, key=key, train=True)
        return losses.cross_entropy(logits, batch['y'], weights=batch['mask']), (net, {})

    def measure(net: Net, batch: Any, key: Any) -> Any:
        logits, _ = apply(net, batch)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch['y'])
        return {'loss': Mean.of(each, batch['mask'])}

    return supervised(module, loss, opt, measure)


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
        precision: what networks compute in; parameters are float32.
        lr: learning rate of AdamW.
    """
    load = WORKLOADS[network]
    rows, rng = batch or load.batch, np.random.default_rng(0)
    labels = (2 * rows, *load.image[:2]) if load.pixels else (2 * rows,)
    x = rng.normal(size=(2 * rows, *load.image)).astype(np.float32)
    y = rng.integers(load.classes, size=labels, dtype=np.int32)
    noise = from_arrays({'x': x, 'y': y}, name='noise')
    return Phase(
        learner(load.module, optax.adamw(lr), half=precision == 'bfloat16'),
        train=shuffled(noise, batch=rows),
        tests={'test': in_order(noise, batch=rows)},
        steps=steps,
        every=steps,
    )


study = Study(
    question='How fast does each network train here, and how fast does PyTorch train the same one?',
    trial=trial,
    seeds=1,
    arms=each(network=[name for name in WORKLOADS if name != 'small']),
    tiny=dict(lr=0.0003, steps=4),
)

if __name__ == '__main__':
    from experiments._against_torch import main
    from jaxdl.cli.main import run_script

    run_script(partial(main, study))
