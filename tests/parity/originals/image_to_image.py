"""SRGAN, CycleGAN and the context encoder."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn


class Block(nn.Module):
    """A convolution, a norm, an activation, as a list called conv_block."""

    def __init__(
        self, inputs: int, outputs: int, side: int, *, norm: bool, act: Any = None, stride: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, side, stride, side // 2)]
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [act] if act is not None else []
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_block(x)


class Residual(nn.Module):
    """Two of them, and a sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block1 = Block(width, width, 3, norm=True, act=nn.PReLU())
        self.conv_block2 = Block(width, width, 3, norm=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block2(self.conv_block1(x))


class SubPixel(nn.Module):
    """A convolution, a shuffle, a PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.prelu = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.prelu(self.pixel_shuffle(self.conv(x)))


class SRResNet(nn.Module):
    """The generator of SRGAN."""

    def __init__(self, blocks: int, width: int, doublings: int) -> None:
        super().__init__()
        self.conv_block1 = Block(3, width, 9, norm=False, act=nn.PReLU())
        self.residual_blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.conv_block2 = Block(width, width, 3, norm=True)
        up = (SubPixel(width) for _ in range(doublings))
        self.subpixel_convolutional_blocks = nn.Sequential(*up)
        self.conv_block3 = Block(width, 3, 9, norm=False, act=nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.conv_block1(x)
        x = first + self.conv_block2(self.residual_blocks(first))
        return self.conv_block3(self.subpixel_convolutional_blocks(x))


def srresnet(blocks: int = 16, width: int = 64, factor: int = 4) -> nn.Module:
    """For a factor that is a power of 2."""
    return SRResNet(blocks, width, factor.bit_length() - 1)


class Discriminator(nn.Module):
    """The discriminator of SRGAN."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        blocks, inputs = [], 3
        for i in range(8):
            outputs = width << (i // 2)
            act = nn.LeakyReLU(0.2)
            blocks.append(Block(inputs, outputs, 3, norm=i > 0, act=act, stride=1 + i % 2))
            inputs = outputs
        self.conv_blocks = nn.Sequential(*blocks)
        self.adaptive_pool = nn.AdaptiveAvgPool2d((6, 6))
        self.fc1 = nn.Linear(inputs * 36, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.adaptive_pool(self.conv_blocks(x)).flatten(1)
        return self.fc2(nn.functional.leaky_relu(self.fc1(x), 0.2))


def discriminator(width: int = 64, hidden: int = 1024) -> nn.Module:
    """That of four widths, doubled each time."""
    return Discriminator(width, hidden)


class TranslationBlock(nn.Module):
    """A residual block with reflected borders."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def half() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]

        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class Sequence(nn.Module):
    """A row of layers under a name."""

    def __init__(self, name: str, *layers: nn.Module) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (row,) = self.children()
        return row(x)


def generator(blocks: int = 9, base: int = 64, channels: int = 3) -> nn.Module:
    """CycleGAN's ResNet generator."""

    def act(width: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(width), nn.ReLU()]

    layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, base, 7), *act(base)]
    for i in (1, 2):
        width = base << i
        layers += [nn.Conv2d(width // 2, width, 3, stride=2, padding=1), *act(width)]
    layers += [TranslationBlock(base << 2) for _ in range(blocks)]
    for i in (1, 0):
        width = base << i
        up = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
        layers += [up, *act(width)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(base, channels, 7), nn.Tanh()]
    return Sequence('model', *layers)


class Level(nn.Module):
    """A level of pix2pix's U-Net: the next one lies between its two convolutions."""

    def __init__(self, outer: int, inner: int, inside: nn.Module | None, *, dropout: bool) -> None:
        super().__init__()
        down = nn.Conv2d(outer, inner, 4, 2, 1, bias=False)
        into = inner if inside is None else 2 * inner
        up = nn.ConvTranspose2d(into, outer, 4, 2, 1, bias=False)
        middle = [] if inside is None else [nn.BatchNorm2d(inner), inside]
        row = [nn.LeakyReLU(0.2), down, *middle, nn.ReLU(), up, nn.BatchNorm2d(outer)]
        self.model = nn.Sequential(*row, *([nn.Dropout(0.5)] if dropout else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.model(x)], dim=1)


def unet_generator(base: int = 64, depth: int = 8) -> nn.Module:
    """pix2pix's U-Net."""
    widths = [base * min(2**i, 8) for i in range(depth)]
    inside: nn.Module | None = None
    for i in range(depth - 1, 0, -1):
        inside = Level(widths[i - 1], widths[i], inside, dropout=4 <= i < depth - 1)
    assert inside is not None
    first = nn.Conv2d(3, base, 4, 2, 1, bias=False)
    last = nn.ConvTranspose2d(2 * base, 3, 4, 2, 1)
    row = Sequence('model', first, inside, nn.ReLU(), last, nn.Tanh())
    whole = nn.Module()
    whole.add_module('model', row)
    whole.forward = row.forward  # type: ignore[method-assign]
    return whole


def patchgan(base: int = 64, layers: int = 3) -> nn.Module:
    """The discriminator of patches."""
    row: list[nn.Module] = [nn.Conv2d(3, base, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    width = base
    for i in range(1, layers + 1):
        outputs, stride = base * min(2**i, 8), 2 if i < layers else 1
        row += [nn.Conv2d(width, outputs, 4, stride, 1), nn.InstanceNorm2d(outputs)]
        row += [nn.LeakyReLU(0.2)]
        width = outputs
    return Sequence('model', *row, nn.Conv2d(width, 1, 4, 1, 1))


def context_encoder(base: int = 64, bottleneck: int = 4000, depth: int = 5) -> nn.Module:
    """The generator of the middle of an image."""
    conv = partial(nn.Conv2d, kernel_size=4, bias=False)
    up = partial(nn.ConvTranspose2d, kernel_size=4, bias=False)
    row: list[nn.Module] = [conv(3, base, stride=2, padding=1), nn.LeakyReLU(0.2)]
    width = base
    for i in range(depth - 1):
        outputs = base << i
        row += [conv(width, outputs, stride=2, padding=1), nn.BatchNorm2d(outputs)]
        row += [nn.LeakyReLU(0.2)]
        width = outputs
    row += [conv(width, bottleneck), nn.BatchNorm2d(bottleneck), nn.LeakyReLU(0.2)]
    row += [up(bottleneck, width), nn.BatchNorm2d(width), nn.ReLU()]
    for i in reversed(range(depth - 2)):
        outputs = base << i
        row += [up(width, outputs, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        width = outputs
    return Sequence('main', *row, up(width, 3, stride=2, padding=1), nn.Tanh())


def context_critic(base: int = 64, depth: int = 4) -> nn.Module:
    """Its discriminator, without the sigmoid."""
    conv = partial(nn.Conv2d, kernel_size=4, bias=False)
    row: list[nn.Module] = [conv(3, base, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for i in range(1, depth):
        row += [conv(base << (i - 1), base << i, stride=2, padding=1)]
        row += [nn.BatchNorm2d(base << i), nn.LeakyReLU(0.2)]
    return Sequence('main', *row, conv(base << (depth - 1), 1), nn.Flatten())


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('srresnet', 'public'): srresnet,
    ('srgan_discriminator', 'public'): discriminator,
    ('cyclegan_generator', 'public'): generator,
    ('pix2pix_unet', 'public'): unet_generator,
    ('patchgan', 'public'): patchgan,
    ('context_encoder', 'torch'): context_encoder,
    ('context_critic', 'torch'): context_critic,
}
