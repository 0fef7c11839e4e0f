"""ResNet and ViT in other implementations."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxdl.interop.attention import Heads, apart, headed, side_by_side
from jaxdl.interop.reference import KERAS, TORCH, Place, Reference, Rule, layered
from jaxdl.models import resnet
from jaxdl.models.resnet import Bottleneck, ResNet
from jaxdl.models.vit import ViT
from jaxdl.nn.attention_blocks import CBAM, SqueezeExcitation
from jaxdl.nn.layers import BatchNorm, Conv, LayerNorm

SIZES: Mapping[str, Callable[..., ResNet]] = {
    'resnet18': resnet.resnet18,
    'resnet34': resnet.resnet34,
    'resnet50': resnet.resnet50,
    'resnet101': resnet.resnet101,
    'resnet152': resnet.resnet152,
}
CIFAR: Mapping[str, Callable[..., ResNet]] = {
    'resnet20': resnet.resnet20,
    'resnet32': resnet.resnet32,
    'resnet44': resnet.resnet44,
    'resnet56': resnet.resnet56,
    'resnet110': resnet.resnet110,
    'plain20': resnet.plain20,
    'plain32': resnet.plain32,
    'plain44': resnet.plain44,
    'plain56': resnet.plain56,
    'plain110': resnet.plain110,
}
ATTENTIVE: Mapping[str, Callable[..., ResNet]] = {
    'resnet18': resnet.resnet18,
    'resnet50': resnet.resnet50,
    'resnet20': resnet.resnet20,
}


def torchvision_name(path: str) -> str:
    """torchvision's name of a layer of a residual network, also within a larger one.

    'backbone/layer1_0/downsample_0' -> 'backbone.layer1.0.downsample.0'.
    """
    return re.sub(r'_(\d+)', r'.\1', path).replace('/', '.')


def squeeze_name(path: str) -> str:
    """'layer1_0/attention/fc1' -> 'layer1.0.se.fc1'."""
    return torchvision_name(path).replace('attention', 'se')


def cbam_name(path: str) -> str:
    """Its authors' names: 'layer1_0/attention/channel/fc1' -> 'layer1.0.cbam.ChannelGate.mlp.1'."""
    theirs = {
        'attention': 'cbam',
        'channel.fc1': 'ChannelGate.mlp.1',
        'channel.fc2': 'ChannelGate.mlp.3',
        'spatial': 'SpatialGate.spatial',
    }
    name = torchvision_name(path)
    for word, other in theirs.items():
        name = name.replace(word, other)
    return name


def keras_name(path: str) -> str:
    """'layer1_0/conv2' -> 'conv2_block1_2_conv'."""
    block, _, layer = path.rpartition('/')
    name = {
        'downsample_0': '0_conv',
        'downsample_1': '0_bn',
        'fc': 'predictions',
    }.get(layer, re.sub(r'(conv|bn)(\d)', r'\2_\1', layer))
    if not block:
        return re.sub(r'1_(conv|bn)', r'conv1_\1', name)
    stage, number = map(int, re.findall(r'\d+', block))
    return f'conv{stage + 1}_block{number + 1}_{name}'


def residual(network: Callable[..., ResNet], rule: Rule) -> Reference:
    """A reference of a residual network, with other numbers of classes or of blocks in a stage."""
    default = network()

    def build(*, classes: int = default.classes, blocks: int | None = None) -> ResNet:
        stages = default.stages if blocks is None else (blocks,) * len(default.stages)
        return network(classes=classes, stages=stages)

    return Reference(build, lambda **config: ((1, 32, 32, 3),), lambda **config: rule)


# Version 1: the stride in the first convolution of a block, and biases before the norms.
KERAS_RESNET50 = partial(
    ResNet,
    block=partial(Bottleneck, strided=1),
    conv=partial(Conv, kernel_init=resnet.HE),
    norm=partial(BatchNorm, momentum=0.99, epsilon=1.001e-5),
)


def vit_name(path: str) -> str:
    """'encoder_layer_0/mlp_3' -> 'encoder.layers.encoder_layer_0.mlp.3'."""
    path = path.replace('mlp_', 'mlp.').replace('self_attention/out', 'self_attention/out_proj')
    outer = {'encoder_layer': 'encoder.layers.encoder_layer', 'ln': 'encoder.ln'}
    outer |= {'head': 'heads.head', 'pos_embedding': 'encoder.pos_embedding'}
    return re.sub('^(encoder_layer|ln|head|pos_embedding)', lambda m: outer[m[0]], path).replace(
        '/', '.'
    )


def vit_rule(lie: Heads) -> Rule:
    """torchvision's names; PyTorch keeps queries, keys and values in one matrix."""
    return layered(
        TORCH,
        vit_name,
        places={
            **side_by_side(vit_name, lie),
            '(class_token|pos_embedding)': lambda name: Place(vit_name(name)),
        },
    )


HF_VIT = {
    'encoder_layer_': 'vit.encoder.layer.',
    'self_attention/out': 'attention.output.dense',
    'self_attention/': 'attention.attention.',
    'mlp_0': 'intermediate.dense',
    'mlp_3': 'output.dense',
    'ln_1': 'layernorm_before',
    'ln_2': 'layernorm_after',
    '^ln$': 'vit.layernorm',
    '^head$': 'classifier',
    'conv_proj': 'vit.embeddings.patch_embeddings.projection',
    'class_token': 'vit.embeddings.cls_token',
    'pos_embedding': 'vit.embeddings.position_embeddings',
}


def hf_vit_name(path: str) -> str:
    """'encoder_layer_0/mlp_3' -> 'vit.encoder.layer.0.output.dense'."""
    for ours, theirs in HF_VIT.items():
        path = re.sub(ours, theirs, path)
    return path.replace('/', '.')


def hf_vit_rule(lie: Heads) -> Rule:
    """The names in files of the transformers library."""
    return layered(
        TORCH,
        hf_vit_name,
        axes=apart(lie, '.*/self_attention'),
        places={'(class_token|pos_embedding)': lambda name: Place(hf_vit_name(name))},
    )


def vit(
    rule: Callable[[Heads], Rule],
    *,
    width: int,
    depth: int,
    heads: int,
    mlp: int,
    patch: int,
    epsilon: float,
) -> Reference:
    """A reference of a vision transformer, of which everything may be another size.

    image: its side, which decides the number of positions. epsilon: of its norms.
    """

    def build(
        *,
        image: int = 224,
        patch: int = patch,
        width: int = width,
        depth: int = depth,
        heads: int = heads,
        mlp: int = mlp,
        classes: int = 1000,
        epsilon: float = epsilon,
    ) -> ViT:
        norm = partial(LayerNorm, epsilon=epsilon)
        return ViT(width, depth, heads, mlp, patch, classes, norm=norm)

    def inputs(*, image: int = 224, **_: Any) -> tuple[tuple[int, ...], ...]:
        return ((1, image, image, 3),)

    def lie(*, width: int = width, heads: int = heads, **_: Any) -> Rule:
        return rule(headed(width, heads))

    return Reference(build, inputs, lie)


def _vits(letter: str, *, width: int, depth: int, heads: int) -> dict[tuple[str, str], Reference]:
    return {
        (f'vit_{letter}_{patch}', layout): vit(
            rule,
            width=width,
            depth=depth,
            heads=heads,
            mlp=4 * width,
            patch=patch,
            epsilon=epsilon,
        )
        for patch in (16, 32)
        for layout, rule, epsilon in (('torchvision', vit_rule, 1e-6), ('hf', hf_vit_rule, 1e-12))
    }


TORCHVISION = layered(TORCH, torchvision_name)
KERAS_RULE = layered(
    KERAS,
    keras_name,
    places={r'(.*(?:bn\d|downsample_1))/bias': lambda layer: Place(f'{keras_name(layer)}/beta')},
    separator='/',
)

REFERENCES: Mapping[tuple[str, str], Reference] = {
    **{(name, 'torchvision'): residual(net, TORCHVISION) for name, net in SIZES.items()},
    **{(name, 'torch'): residual(net, TORCHVISION) for name, net in CIFAR.items()},
    **{
        (f'se_{name}', 'torch'): residual(
            partial(net, attention=SqueezeExcitation), layered(TORCH, squeeze_name)
        )
        for name, net in ATTENTIVE.items()
    },
    **{
        (f'cbam_{name}', 'torch'): residual(partial(net, attention=CBAM), layered(TORCH, cbam_name))
        for name, net in ATTENTIVE.items()
    },
    ('resnet50', 'keras'): residual(KERAS_RESNET50, KERAS_RULE),
    **_vits('s', width=384, depth=12, heads=6),
    **_vits('b', width=768, depth=12, heads=12),
    **_vits('l', width=1024, depth=24, heads=16),
}
