"""DCGAN as PyTorch's examples have it, and the perceptron GANs, of PyTorch's own layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Listed(nn.Module):
    """A list of layers called main, between reshapings."""

    def __init__(self, layers: list[nn.Module], into: Callable[..., Any], out: Callable[..., Any]):
        super().__init__()
        self.main = nn.Sequential(*layers)
        self.into, self.out = into, out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.main(self.into(x)))


def dcgan_generator(
    latents: int = 100, channels: int = 3, width: int = 64, stages: int = 4, first: int = 4
) -> nn.Module:
    """From latents, a map of one position, to an image."""
    inputs, outputs = latents, width << (stages - 1)
    layers: list[nn.Module] = []
    for stage in range(stages):
        how = (4, 2, 1) if stage else (first, 1, 0)
        up = nn.ConvTranspose2d(inputs, outputs, *how, bias=False)
        layers += [up, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        inputs, outputs = outputs, outputs // 2
    layers += [nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return Listed(layers, lambda z: z.view(*z.shape, 1, 1), lambda x: x)


def dcgan_discriminator(
    channels: int = 3, width: int = 64, stages: int = 4, last: int = 4
) -> nn.Module:
    """From an image to the logit before the example's sigmoid."""
    inputs, outputs = channels, width
    layers: list[nn.Module] = []
    for stage in range(stages):
        layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False))
        if stage:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        inputs, outputs = outputs, 2 * outputs
    layers.append(nn.Conv2d(inputs, 1, last, 1, 0, bias=False))
    return Listed(layers, lambda x: x, lambda y: y.view(-1, 1))


class Dense(nn.Sequential):
    """Dense layers between a flattening and a shape, rows last."""

    shape: tuple[int, ...] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x.flatten(1))
        return x.view(len(x), *self.shape) if self.shape else x


def generator(*layers: nn.Module, latents: int, widths: tuple[int, ...], side: int) -> nn.Module:
    """Dense layers with these activations between them and after the last."""
    sizes = (latents, *widths, side * side)
    parts = [
        part
        for i, layer in enumerate(layers)
        for part in (nn.Linear(sizes[i], sizes[i + 1]), layer)
    ]
    model = Dense(*parts)
    model.shape = (1, side, side)
    return model


def perceptron_generator(latents: int = 100, side: int = 28) -> nn.Module:
    """One hidden layer of 128."""
    return generator(nn.ReLU(), nn.Sigmoid(), latents=latents, widths=(128,), side=side)


def leaky_generator(latents: int = 100, side: int = 28) -> nn.Module:
    """256 and 512 hidden units."""
    leaky = (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2))
    return generator(*leaky, nn.Tanh(), latents=latents, widths=(256, 512), side=side)


def perceptron_discriminator(side: int = 28) -> nn.Module:
    """One hidden layer of 128, and a logit."""
    return Dense(nn.Linear(side * side, 128), nn.ReLU(), nn.Linear(128, 1))


def leaky_discriminator(side: int = 28) -> nn.Module:
    """512 and 256 hidden units, and a logit."""
    return Dense(
        nn.Linear(side * side, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('dcgan_generator', 'public'): dcgan_generator,
    ('dcgan_discriminator', 'public'): dcgan_discriminator,
    ('perceptron_generator', 'torch'): perceptron_generator,
    ('perceptron_discriminator', 'torch'): perceptron_discriminator,
    ('leaky_generator', 'torch'): leaky_generator,
    ('leaky_discriminator', 'torch'): leaky_discriminator,
}
