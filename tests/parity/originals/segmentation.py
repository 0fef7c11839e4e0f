"""FCN and U-Net."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Double(nn.Module):
    """Two convolutions, as a list of layers called double_conv."""

    def __init__(self, inputs: int, outputs: int, *, valid: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers.append(nn.Conv2d(channels, outputs, 3, padding=int(not valid), bias=valid))
            if not valid:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU())
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    """A pooling and two convolutions."""

    def __init__(self, inputs: int, outputs: int, *, valid: bool) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), Double(inputs, outputs, valid=valid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    """An up-convolution, what comes from the other side, and two convolutions."""

    def __init__(self, inputs: int, *, valid: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.conv = Double(inputs, inputs // 2, valid=valid)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        high, wide = (skip.shape[i] - x.shape[i] for i in (2, 3))
        # Negative sides crop: the skip to x (2015), or x grows to the skip (today).
        if isinstance(self.conv.double_conv[1], nn.BatchNorm2d):
            x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        else:
            skip = functional.pad(skip, (-wide // 2, -wide // 2, -high // 2, -high // 2))
        return self.conv(torch.cat([skip, x], dim=1))


class Out(nn.Module):
    """The last, 1x1 convolution."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class UNet(nn.Module):
    """U-Net; `valid`: that of 2015, without norms."""

    def __init__(self, channels: int, classes: int, base: int, depth: int, *, valid: bool) -> None:
        super().__init__()
        self.depth = depth
        self.inc = Double(channels, base, valid=valid)
        for i in range(depth):
            self.add_module(f'down{i + 1}', Down(base << i, base << (i + 1), valid=valid))
            self.add_module(f'up{i + 1}', Up(base << (depth - i), valid=valid))
        self.outc = Out(base, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        xs = [self.inc(x)]
        for i in range(self.depth):
            xs.append(self.get_submodule(f'down{i + 1}')(xs[-1]))
        x = xs.pop()
        for i in range(self.depth):
            x = self.get_submodule(f'up{i + 1}')(x, xs.pop())
        return self.outc(x)


def unet(channels: int = 3, classes: int = 2, base: int = 64, depth: int = 4) -> nn.Module:
    """The common public U-Net: zero padding, BatchNorm, convolutions without bias."""
    return UNet(channels, classes, base, depth, valid=False)


def unet_original(channels: int = 1, classes: int = 2, base: int = 64, depth: int = 4) -> nn.Module:
    """The network of the paper, without its dropout."""
    return UNet(channels, classes, base, depth, valid=True)


class FCN(nn.Module):
    """FCN-32s, 16s or 8s, layer by layer as in the authors' Caffe networks."""

    def __init__(self, stride: int, classes: int, width: int, hidden: int) -> None:
        super().__init__()
        self.stride = stride
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        inputs = 3
        for block, outputs in enumerate(widths, 1):
            for layer in range(1, (2, 2, 3, 3, 3)[block - 1] + 1):
                pad = 100 if block == layer == 1 else 1
                self.add_module(f'conv{block}_{layer}', nn.Conv2d(inputs, outputs, 3, padding=pad))
                inputs = outputs
        self.fc6 = nn.Conv2d(inputs, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, classes, 1)
        up = partial(nn.ConvTranspose2d, classes, classes, bias=False)
        if stride == 32:
            self.upscore = up(64, stride=32)
            return
        self.upscore2 = up(4, stride=2)
        self.score_pool4 = nn.Conv2d(widths[3], classes, 1)
        if stride == 16:
            self.upscore16 = up(32, stride=16)
            return
        self.upscore_pool4 = up(4, stride=2)
        self.score_pool3 = nn.Conv2d(widths[2], classes, 1)
        self.upscore8 = up(16, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]

        def crop(y: torch.Tensor, offset: int, size: Any) -> torch.Tensor:
            return y[:, :, offset : offset + size[0], offset : offset + size[1]]

        pools = []
        for block, layers in enumerate((2, 2, 3, 3, 3), 1):
            for layer in range(1, layers + 1):
                x = functional.relu(self.get_submodule(f'conv{block}_{layer}')(x))
            x = functional.max_pool2d(x, 2, stride=2, ceil_mode=True)
            pools.append(x)
        x = functional.relu(self.fc6(x))
        x = self.score_fr(functional.relu(self.fc7(x)))
        if self.stride == 32:
            return crop(self.upscore(x), 19, size)
        x = self.upscore2(x)
        x = x + crop(self.score_pool4(pools[3]), 5, x.shape[2:])
        if self.stride == 16:
            return crop(self.upscore16(x), 27, size)
        x = self.upscore_pool4(x)
        x = x + crop(self.score_pool3(pools[2]), 9, x.shape[2:])
        return crop(self.upscore8(x), 31, size)


def fcn(stride: int, classes: int = 21, width: int = 64, hidden: int = 4096) -> nn.Module:
    """The network of that stride."""
    return FCN(stride, classes, width, hidden)


def fcn_resnet50(
    classes: int = 21, stages: tuple[int, ...] = (3, 4, 6, 3), *, auxiliary: bool = False
) -> nn.Module:
    """torchvision's, of which the main output alone is looked at."""
    from torchvision.models import resnet
    from torchvision.models.segmentation import fcn

    dilated = [False, True, True]
    trunk = resnet.ResNet(resnet.Bottleneck, stages, replace_stride_with_dilation=dilated)
    model = fcn._fcn_resnet(trunk, classes, aux=auxiliary)
    model.register_forward_hook(lambda module, xs, ys: ys['out'])
    return model


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('unet', 'public'): unet,
    ('unet_original', 'public'): unet_original,
    ('fcn32s', 'public'): partial(fcn, 32),
    ('fcn16s', 'public'): partial(fcn, 16),
    ('fcn8s', 'public'): partial(fcn, 8),
    ('fcn_resnet50', 'torchvision'): fcn_resnet50,
    ('fcn_resnet50_aux', 'torchvision'): partial(fcn_resnet50, auxiliary=True),
}
