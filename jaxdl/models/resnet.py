"""Residual networks: ImageNet's of 18 to 152 layers, CIFAR's of 20 to 110, and their plain twins.

He et al. 2015, *Deep residual learning for image recognition*: y = relu(F(x) + x). A network is a
stem, stages of blocks, each stage after the first at half the resolution, a mean over positions and
a linear layer. `Stages` is one without the last two, a backbone. The names of the layers are
torchvision's.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.layers import BatchNorm, Conv, Dense, max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]

# The variance of He et al. 2015b for gradients, 2 / (k^2 outputs), and torchvision's linear layer.
HE = initializers.variance_scaling(2.0, 'fan_out', 'normal')
LINEAR = initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')

ResNetConv = partial(Conv, use_bias=False, kernel_init=HE)


def imagenet_stem(x: Array, *, width: int, conv: Layer, norm: Layer) -> Array:
    """7x7 convolution and 3x3 maximum, both of stride 2: [B, H, W, C] -> [B, H/4, W/4, width]."""
    x = conv(width, (7, 7), strides=2, padding=3, name='conv1')(x)
    x = nn.relu(norm(name='bn1')(x))
    return max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def cifar_stem(x: Array, *, width: int, conv: Layer, norm: Layer) -> Array:
    """3x3 convolution, for small images: [B, H, W, C] -> [B, H, W, width]."""
    x = conv(width, (3, 3), padding=1, name='conv1')(x)
    return nn.relu(norm(name='bn1')(x))


def projection(x: Array, *, features: int, stride: int, conv: Layer, norm: Layer) -> Array:
    """The identity; where the shape changes, a 1x1 convolution (option B of section 4.1)."""
    if stride == 1 and x.shape[-1] == features:
        return x
    x = conv(features, (1, 1), strides=stride, padding=0, name='downsample_0')(x)
    return norm(name='downsample_1')(x)


def padded(x: Array, *, features: int, stride: int, conv: Layer, norm: Layer) -> Array:
    """The identity at every `stride`-th position, with channels of zeros after it (option A).

    CIFAR's shortcut (section 4.2): it has no parameters, so a network and its plain twin have the
    same number.
    """
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


def plain(x: Array, *, features: int, stride: int, conv: Layer, norm: Layer) -> Array:
    """No shortcut: with it a residual network is its plain twin."""
    return jnp.zeros((), x.dtype)


class Block(nn.Module):
    """What the residual blocks have in common: y = relu(F(x) + shortcut(x)).

    width: channels of the 3x3 convolutions.
    dilation: of the 3x3 convolutions up to the strided one, and of those after it. They differ in
        the first block of a stage whose stride has been replaced by dilation.
    conv(features, kernel, strides=, padding=, kernel_dilation=, name=) -> module.
    norm(use_running_average=, name=) -> module.
    shortcut(x, features=, stride=, conv=, norm=) -> what is added: `projection`, `padded`, `plain`.
    attention(name=) -> module, called (y, train=) on the residual branch before the addition: see
        `jaxdl.nn.attention_blocks`.
    drop() -> module, called (y, train=) on the residual branch last: stochastic depth.
    """

    width: int
    stride: int = 1
    dilation: tuple[int, int] = (1, 1)
    conv: Layer = ResNetConv
    norm: Layer = BatchNorm
    shortcut: Callable[..., Array] = projection
    attention: Layer | None = None
    drop: Layer | None = None

    def add(self, y: Array, x: Array, norm: Layer, *, train: bool) -> Array:
        """relu(y + shortcut(x)): the end of every block."""
        if self.attention:
            y = self.attention(name='attention')(y, train=train)
        if self.drop:
            y = self.drop()(y, train=train)
        features = y.shape[-1]
        x = self.shortcut(x, features=features, stride=self.stride, conv=self.conv, norm=norm)
        return nn.relu(y + x)


class BasicBlock(Block):
    """Two 3x3 convolutions (figure 5, left)."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, width]."""
        norm = partial(self.norm, use_running_average=not train)
        first, second = self.dilation
        conv = partial(self.conv, self.width, (3, 3))
        y = conv(strides=self.stride, padding=first, kernel_dilation=first, name='conv1')(x)
        y = nn.relu(norm(name='bn1')(y))
        y = conv(padding=second, kernel_dilation=second, name='conv2')(y)
        y = norm(name='bn2')(y)
        return self.add(y, x, norm, train=train)


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last of four times the width (figure 5, right).

    strided: which convolution has the stride: 2 in the networks that everyone uses (v1.5), 1 in the
        paper (v1).
    """

    strided: int = 2

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 width]."""
        if self.strided not in (1, 2):
            raise ValueError(f'the convolution with the stride is 1 or 2, not {self.strided}')
        norm = partial(self.norm, use_running_average=not train)
        strides = (self.stride, 1) if self.strided == 1 else (1, self.stride)
        dilation = self.dilation[1] if self.strided == 1 else self.dilation[0]
        y = self.conv(self.width, (1, 1), strides=strides[0], padding=0, name='conv1')(x)
        y = nn.relu(norm(name='bn1')(y))
        y = self.conv(
            *(self.width, (3, 3)),
            strides=strides[1],
            padding=dilation,
            kernel_dilation=dilation,
            name='conv2',
        )(y)
        y = nn.relu(norm(name='bn2')(y))
        y = norm(name='bn3')(self.conv(4 * self.width, (1, 1), padding=0, name='conv3')(y))
        return self.add(y, x, norm, train=train)


class Trunk(nn.Module):
    """The fields and layers that `Stages` and `ResNet` share: the stem and stages of blocks.

    stages: blocks in each stage (table 1).
    block: `BasicBlock`, `Bottleneck`, or any other module with the fields of `Block`.
    widths: of the blocks of each stage.
    stem(x, width=, conv=, norm=) -> x: `imagenet_stem`, or `cifar_stem` for small images.
    conv, norm, shortcut, attention: of every block, see `Block`.
    drop(l / L) -> module: stochastic depth of block l of L, from the share of the depth that it
        ends. The rates of Huang et al. 2016 (eq. 4) are ``lambda depth: StochasticDepth(0.5 *
        depth)``.
    dilated: for each stage after the first, whether dilation replaces its stride; none by default.
        With (False, True, True) the last stage has 1/8 of the image's resolution.
    """

    stages: Sequence[int] = (3, 4, 6, 3)
    block: Layer = Bottleneck
    widths: Sequence[int] = (64, 128, 256, 512)
    stem: Callable[..., Array] = imagenet_stem
    conv: Layer = ResNetConv
    norm: Layer = BatchNorm
    shortcut: Callable[..., Array] = projection
    attention: Layer | None = None
    drop: Callable[[float], nn.Module] | None = None
    dilated: Sequence[bool] = ()

    def outputs(self, x: Array, *, train: bool) -> Iterator[Array]:
        """The output of each stage, from the finest to the coarsest."""
        if len(self.stages) != len(self.widths):
            raise ValueError(f'{len(self.widths)} widths for {len(self.stages)} stages')
        after = len(self.stages) - 1
        if len(self.dilated) not in (0, after):
            raise ValueError(f'{len(self.dilated)} dilated for {after} stages after the first')
        dilated = (False, *(self.dilated or (False,) * after))
        norm = partial(self.norm, use_running_average=not train)
        x = self.stem(x, width=self.widths[0], conv=self.conv, norm=norm)
        block = partial(
            self.block,
            conv=self.conv,
            norm=self.norm,
            shortcut=self.shortcut,
            attention=self.attention,
        )
        done, dilation = 0, 1
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            stride = 2 if i else 1
            before = dilation
            if dilated[i]:
                stride, dilation = 1, dilation * stride
            for j in range(blocks):
                done += 1
                x = block(
                    width=width,
                    stride=1 if j else stride,
                    dilation=(dilation if j else before, dilation),
                    drop=partial(self.drop, done / sum(self.stages)) if self.drop else None,
                    name=f'layer{i + 1}_{j}',
                )(x, train=train)
            yield x


class Stages(Trunk):
    """The trunk of a residual network, a backbone: all that comes before its mean."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> tuple[Array, ...]:
        """[B, H, W, C] -> the output of each stage, C2 to C5.

        Of ResNet-50: [B, H/4, W/4, 256], [B, H/8, W/8, 512], [B, H/16, W/16, 1024] and
        [B, H/32, W/32, 2048].
        """
        return tuple(self.outputs(x, train=train))


class ResNet(Trunk):
    """A residual network that classifies; the sizes of the paper have names below.

    Images of any size and number of channels; small ones want ``stem=cifar_stem``. ResNet-50 has
    25,557,032 parameters and 4.09 G multiply-adds at 224x224 (table 1).
    """

    classes: int = 1000

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, classes]."""
        *_, x = self.outputs(x, train=train)
        return Dense(self.classes, kernel_init=LINEAR, name='fc')(x.mean((1, 2)))


resnet18 = partial(ResNet, stages=(2, 2, 2, 2), block=BasicBlock)
resnet34 = partial(ResNet, stages=(3, 4, 6, 3), block=BasicBlock)
resnet50 = partial(ResNet, stages=(3, 4, 6, 3), block=Bottleneck)
resnet101 = partial(ResNet, stages=(3, 4, 23, 3), block=Bottleneck)
resnet152 = partial(ResNet, stages=(3, 8, 36, 3), block=Bottleneck)

# CIFAR's networks (section 4.2): 6n + 2 layers, option A. Every size of image works.
CifarResNet = partial(
    ResNet,
    block=BasicBlock,
    widths=(16, 32, 64),
    stem=cifar_stem,
    shortcut=padded,
    classes=10,
)
resnet20 = partial(CifarResNet, stages=(3, 3, 3))
resnet32 = partial(CifarResNet, stages=(5, 5, 5))
resnet44 = partial(CifarResNet, stages=(7, 7, 7))
resnet56 = partial(CifarResNet, stages=(9, 9, 9))
resnet110 = partial(CifarResNet, stages=(18, 18, 18))

plain20 = partial(resnet20, shortcut=plain)
plain32 = partial(resnet32, shortcut=plain)
plain44 = partial(resnet44, shortcut=plain)
plain56 = partial(resnet56, shortcut=plain)
plain110 = partial(resnet110, shortcut=plain)
