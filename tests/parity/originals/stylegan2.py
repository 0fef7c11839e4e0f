"""StyleGAN2 with the names that its authors' PyTorch implementation has.

Everything is done as the paper writes it, and nothing cleverly: each image has kernels of its own
and a group of its own, images are doubled by zeros between the pixels, filters are convolutions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU times sqrt(2)."""
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def filtered(x: torch.Tensor, taps: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """Every channel convolved with the filter, after that many zeros on either side."""
    kernel = taps.to(x).expand(x.shape[1], 1, 4, 4)
    x = functional.pad(x, (*pad, *pad))
    return functional.conv2d(x, kernel, groups=x.shape[1])


def spread(x: torch.Tensor) -> torch.Tensor:
    """Zeros after every pixel: [B, C, H, W] -> [B, C, 2 H, 2 W]."""
    rows, channels, high, wide = x.shape
    y = x.new_zeros(rows, channels, 2 * high, 2 * wide)
    y[:, :, ::2, ::2] = x
    return y


class Resampling(nn.Module):
    """A module with the filter as a buffer, which every layer there has."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('resample_filter', torch.outer(TAPS, TAPS))


class Dense(nn.Module):
    """A dense layer whose weights are scaled where they are used."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.rate / math.sqrt(self.weight.shape[1])
        return functional.linear(x, self.weight * scale, self.bias * self.rate)


class Mapping(nn.Module):
    """z to w."""

    def __init__(self, latent: int = 512, depth: int = 8) -> None:
        super().__init__()
        self.depth = depth
        for i in range(depth):
            self.add_module(f'fc{i}', Dense(latent, latent, 0.01))
        self.register_buffer('w_avg', torch.zeros(latent))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = z / torch.sqrt((z * z).mean(1, keepdim=True) + 1e-8)
        for i in range(self.depth):
            w = leaky(self.get_submodule(f'fc{i}')(w))
        if self.training:
            self.w_avg.copy_(0.995 * self.w_avg + 0.005 * w.detach().mean(0))
        return w


def kernels_of_each(weight: torch.Tensor, style: torch.Tensor, *, demodulate: bool) -> torch.Tensor:
    """[O, I, k, k], [B, I] -> [B O, I, k, k]."""
    w = weight[None] * style[:, None, :, None, None]
    if demodulate:
        w = w / torch.sqrt((w * w).sum((2, 3, 4), keepdim=True) + 1e-8)
    return w.flatten(0, 1)


def grouped(x: torch.Tensor, w: torch.Tensor, pad: int) -> torch.Tensor:
    """Each image convolved with its own kernels."""
    rows = len(x)
    y = functional.conv2d(x.flatten(0, 1)[None], w, padding=pad, groups=rows)
    return y[0].unflatten(0, (rows, -1))


class Layer(Resampling):
    """A modulated convolution, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, latent: int, size: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.affine = Dense(latent, inputs)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.register_buffer('noise_const', torch.zeros(size, size))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        kernels = kernels_of_each(self.weight, self.affine(w), demodulate=True)
        if self.up:
            # A convolution in the word's sense, of the image between zeros; the last row and column
            # are zeros that a transposed convolution does not have.
            y = grouped(spread(x), kernels.flip(2, 3), 2)[:, :, :-1, :-1]
            y = filtered(y, 4 * self.resample_filter, (1, 1))
        else:
            y = grouped(x, kernels, 1)
        y = y + self.noise_const * self.noise_strength
        return leaky(y + self.bias[:, None, None])


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to colours."""

    def __init__(self, inputs: int, channels: int, latent: int) -> None:
        super().__init__()
        self.affine = Dense(latent, inputs)
        self.weight = nn.Parameter(torch.zeros(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        y = grouped(x, kernels_of_each(self.weight, style, demodulate=False), 0)
        return y + self.bias[:, None, None]


class SynthesisBlock(Resampling):
    """The layers of one resolution."""

    def __init__(self, inputs: int, outputs: int, latent: int, size: int, channels: int) -> None:
        super().__init__()
        if size == 4:
            self.const = nn.Parameter(torch.zeros(outputs, 4, 4))
        else:
            self.conv0 = Layer(inputs, outputs, latent, size, up=True)
        self.conv1 = Layer(outputs, outputs, latent, size, up=False)
        self.torgb = ToRGB(outputs, channels, latent)

    def forward(self, x: Any, image: Any, styles: list[torch.Tensor]) -> Any:
        if x is None:
            x = self.const[None].repeat(len(styles[0]), 1, 1, 1)
        else:
            x = self.conv0(x, styles.pop(0))
        x = self.conv1(x, styles[0])
        rgb = self.torgb(x, styles[1])
        if image is not None:
            rgb = rgb + filtered(spread(image), 4 * self.resample_filter, (2, 1))
        return x, rgb


class Synthesis(nn.Module):
    """Styles [B, layers, latent] to images."""

    def __init__(self, size: int, channels: int, base: int, most: int, latent: int) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(2, int(math.log2(size)) + 1)]
        inputs = 0
        for r in self.sizes:
            outputs = min(base // r, most)
            self.add_module(f'b{r}', SynthesisBlock(inputs, outputs, latent, r, channels))
            inputs = outputs

    def forward(self, styles: torch.Tensor) -> torch.Tensor:
        x = image = None
        for i, r in enumerate(self.sizes):
            first = max(0, 2 * i - 1)  # colours share their style with the next resolution
            told = [styles[:, j] for j in range(first, 2 * i + 2)]
            x, image = self.get_submodule(f'b{r}')(x, image, told)
        return image


class Generator(nn.Module):
    """The whole generator, with constant noise."""

    def __init__(
        self, size: int, channels: int, latent: int, depth: int, base: int, most: int
    ) -> None:
        super().__init__()
        self.synthesis = Synthesis(size, channels, base, most, latent)
        self.mapping = Mapping(latent, depth)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        layers = 2 * len(self.synthesis.sizes)
        return self.synthesis(self.mapping(z)[:, None].repeat(1, layers, 1))


class Convolution(Resampling):
    """A convolution with scaled weights, which halves the image or does not."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, down: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.down = down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w, k = self.weight / math.sqrt(self.weight[0].numel()), self.weight.shape[-1]
        if self.down:
            x = filtered(x, self.resample_filter, (1 + k // 2, 1 + k // 2))
            return functional.conv2d(x, w, self.bias, stride=2)
        return functional.conv2d(x, w, self.bias, padding=k // 2)


class DiscriminatorBlock(Resampling):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, channels: int) -> None:
        super().__init__()
        if channels:
            self.fromrgb = Convolution(channels, inputs, 1)
        self.conv0 = Convolution(inputs, inputs, 3)
        self.conv1 = Convolution(inputs, outputs, 3, down=True)
        self.skip = Convolution(inputs, outputs, 1, down=True, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, 'fromrgb'):
            x = leaky(self.fromrgb(x))
        y = leaky(self.conv1(leaky(self.conv0(x))))
        return self.skip(x) * math.sqrt(0.5) + y * math.sqrt(0.5)


class Epilogue(nn.Module):
    """The deviation over a group, a convolution, two dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Convolution(width + 1, width, 3)
        self.fc = Dense(16 * width, width)
        self.out = Dense(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = max(1, len(x) // 4)
        found = []
        for i in range(len(x)):
            group = x[i % groups :: groups]
            found.append(torch.sqrt(group.var(0, unbiased=False) + 1e-8).mean())
        deviation = torch.stack(found)[:, None, None, None].expand(-1, 1, 4, 4)
        x = leaky(self.conv(torch.cat([x, deviation], 1)))
        return self.out(leaky(self.fc(x.flatten(1))))


class Discriminator(nn.Module):
    """The residual discriminator."""

    def __init__(self, size: int, channels: int, base: int, most: int) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(int(math.log2(size)), 2, -1)]
        for r in self.sizes:
            widths = [min(base // n, most) for n in (r, r // 2)]
            block = DiscriminatorBlock(*widths, channels if r == size else 0)
            self.add_module(f'b{r}', block)
        self.b4 = Epilogue(min(base // 4, most))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for r in self.sizes:
            x = self.get_submodule(f'b{r}')(x)
        return self.b4(x)


def synthesis(
    size: int = 1024, channels: int = 3, base: int = 32768, most: int = 512, latent: int = 512
) -> nn.Module:
    """The synthesis network."""
    return Synthesis(size, channels, base, most, latent)


def generator(
    size: int = 1024,
    channels: int = 3,
    latent: int = 512,
    depth: int = 8,
    base: int = 32768,
    most: int = 512,
) -> nn.Module:
    """Mapping and synthesis."""
    return Generator(size, channels, latent, depth, base, most)


def discriminator(
    size: int = 1024, channels: int = 3, base: int = 32768, most: int = 512
) -> nn.Module:
    """The residual discriminator."""
    return Discriminator(size, channels, base, most)


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('stylegan2_mapping', 'nvlabs'): Mapping,
    ('stylegan2_synthesis', 'nvlabs'): synthesis,
    ('stylegan2', 'nvlabs'): generator,
    ('stylegan2_discriminator', 'nvlabs'): discriminator,
}
