"""ResNet and ViT."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class SqueezeExcitation(nn.Module):
    """Equations 2 to 4 of Hu et al. 2018."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 16)
        self.fc2 = nn.Linear(channels // 16, channels)

    def forward(self, x: Any) -> Any:
        """[B, C, H, W] -> the same."""
        z = F.adaptive_avg_pool2d(x, 1).flatten(1)
        s = torch.sigmoid(self.fc2(F.relu(self.fc1(z))))
        return torch.einsum('bchw,bc->bchw', x, s)


class ChannelGate(nn.Module):
    """Equation 2 of Woo et al. 2018."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 16
        layers = nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        self.mlp = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x: Any) -> Any:
        """[B, C, H, W] -> the same."""
        s = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        return torch.einsum('bchw,bc->bchw', x, torch.sigmoid(s))


class SpatialGate(nn.Module):
    """Equation 3 of Woo et al. 2018, with the norm that the authors use."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.ModuleDict(
            {
                'conv': nn.Conv2d(2, 1, 7, padding=3, bias=False),
                'bn': nn.BatchNorm2d(1, momentum=0.01),
            }
        )

    def forward(self, x: Any) -> Any:
        """[B, C, H, W] -> the same."""
        maps = torch.stack([x.amax(1), x.mean(1)], 1)
        return torch.sigmoid(self.spatial['bn'](self.spatial['conv'](maps))) * x


def cbam(channels: int) -> nn.Module:
    """Both, one after the other."""
    gates = nn.Sequential()
    gates.add_module('ChannelGate', ChannelGate(channels))
    gates.add_module('SpatialGate', SpatialGate())
    return gates


ATTENTION = {'se': SqueezeExcitation, 'cbam': cbam}


class Block(nn.Module):
    """Figure 2 of He et al. 2015 with option A, or without its shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, *, plain: bool, attention: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if attention:
            self.add_module(attention, ATTENTION[attention](width))
        self.stride, self.plain, self.attention = stride, plain, attention

    def forward(self, x: Any) -> Any:
        """[B, I, H, W] -> [B, width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.attention:
            y = self.get_submodule(self.attention)(y)
        if not self.plain:
            kept = x[:, :, :: self.stride, :: self.stride]
            y[:, : x.shape[1]] += kept
        return F.relu(y)


class CifarResNet(nn.Module):
    """The table of section 4.2: 6n + 2 layers."""

    def __init__(self, n: int, *, plain: bool = False, attention: str = '', classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        options: dict[str, Any] = {'plain': plain, 'attention': attention}
        self.layer1 = nn.Sequential(*(Block(16, 16, 1, **options) for _ in range(n)))
        self.layer2 = nn.Sequential(
            Block(16, 32, 2, **options), *(Block(32, 32, 1, **options) for _ in range(n - 1))
        )
        self.layer3 = nn.Sequential(
            Block(32, 64, 2, **options), *(Block(64, 64, 1, **options) for _ in range(n - 1))
        )
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Any) -> Any:
        """[B, 3, H, W] -> logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def cifar(depth: int, *, plain: bool = False, attention: str = '') -> Callable[..., nn.Module]:
    """A function from the options of a case to the network."""

    def build(classes: int = 10, blocks: int | None = None) -> nn.Module:
        n = blocks or (depth - 2) // 6
        return CifarResNet(n, plain=plain, attention=attention, classes=classes)

    return build


def torchvision_resnet(depth: int, attention: str = '') -> Callable[..., nn.Module]:
    """torchvision's; with attention, on what comes out of the last norm of each block."""

    def build(classes: int = 1000, blocks: int | None = None) -> nn.Module:
        from torchvision.models import resnet

        stages = {
            18: [2, 2, 2, 2],
            34: [3, 4, 6, 3],
            50: [3, 4, 6, 3],
            101: [3, 4, 23, 3],
            152: [3, 8, 36, 3],
        }[depth]
        block = resnet.BasicBlock if depth < 50 else resnet.Bottleneck
        stages = [blocks] * 4 if blocks else stages
        model = resnet.ResNet(block, stages, num_classes=classes)
        for module in model.modules() if attention else ():
            if isinstance(module, block):
                attend(module, attention)
        return model

    return build


def attend(block: Any, attention: str) -> None:
    """Put attention behind the last norm of a torchvision block."""
    last = block.bn3 if hasattr(block, 'bn3') else block.bn2
    gate = ATTENTION[attention](last.num_features)
    block.add_module(attention, gate)
    last.register_forward_hook(lambda module, args, y: gate(y))


def keras_resnet50(classes: int = 1000) -> Any:
    """Keras' ResNet50 without its softmax."""
    import keras

    return keras.applications.ResNet50(
        weights=None, input_shape=(64, 96, 3), classes=classes, classifier_activation=None
    )


def torchvision_vit(width: int, depth: int, heads: int, patch: int) -> Callable[..., nn.Module]:
    """torchvision's, of any size."""
    size = (width, depth, heads, patch)

    def build(
        image: int = 224,
        patch: int = size[3],
        width: int = size[0],
        depth: int = size[1],
        heads: int = size[2],
        mlp: int = 4 * size[0],
        classes: int = 1000,
    ) -> nn.Module:
        from torchvision.models import VisionTransformer

        return VisionTransformer(image, patch, depth, heads, width, mlp, num_classes=classes)

    return build


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    **{(f'resnet{n}', 'torch'): cifar(n) for n in (20, 32, 44, 56, 110)},
    **{(f'plain{n}', 'torch'): cifar(n, plain=True) for n in (20, 32, 44, 56, 110)},
    **{(f'resnet{n}', 'torchvision'): torchvision_resnet(n) for n in (18, 34, 50, 101, 152)},
    **{
        (f'{attention}_resnet{n}', 'torch'): torchvision_resnet(n, attention)
        for n in (18, 50)
        for attention in ATTENTION
    },
    **{(f'{a}_resnet20', 'torch'): cifar(20, attention=a) for a in ATTENTION},
    ('resnet50', 'keras'): keras_resnet50,
    **{
        (f'vit_{letter}_{patch}', 'torchvision'): torchvision_vit(*size, patch)
        for letter, size in {'s': (384, 12, 6), 'b': (768, 12, 12), 'l': (1024, 24, 16)}.items()
        for patch in (16, 32)
    },
}
