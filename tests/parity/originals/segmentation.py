"""FCN and U-Net."""

from collections.abc import Callable
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


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('unet', 'public'): unet,
    ('unet_original', 'public'): unet_original,
}
