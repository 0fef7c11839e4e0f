"""The games of `experiments.throughput` in PyTorch, and a program that plays one of them.

    python _in_torch_gans.py NETWORK BATCH RATE [compiled] [memory_kept] [channels_last]

is told what to do as `_in_torch.py` is. A step is a turn of the critic and one of the generator,
each on images that are generated for it, as in ours. Where a loss is a function of a gradient it is
that of the network itself: torch.compile has no second derivatives.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import _in_torch
import torch
from torch import nn
from torch.nn import functional

IMAGE = (3, 32, 32)
TAPS = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
R1, R1_EVERY, PATH, PATH_EVERY, PATH_PART, MIXING, MEAN_MOVES = 10.0, 16, 2.0, 4, 2, 0.9, 0.01


class Players(NamedTuple):
    """Two networks, and how they play: play(generator, critic, x, lr) -> what makes a step."""

    generator: nn.Module
    critic: nn.Module
    play: Callable[..., Callable[[], torch.Tensor]]


def trainer(
    network: str, batch: int, *, compiled: bool, lr: float, last: bool = False
) -> tuple[Callable[[int], None], int]:
    """A function that plays n steps and waits for them, and the number of parameters of both."""
    gpu = torch.cuda.is_available()
    device = 'cuda' if gpu else 'cpu'
    layout = torch.channels_last if gpu or last else torch.contiguous_format
    generator, critic, play = NETWORKS[network]()
    for net in (generator, critic):
        net.to(device, memory_format=layout)
    x = torch.randn(batch, *IMAGE, device=device).contiguous(memory_format=layout)
    step = play(generator, critic, x, lr, torch.compile if compiled else lambda net: net)

    def train(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16, enabled=gpu):
                loss = step()
        loss.item()

    return train, sum(p.numel() for net in (generator, critic) for p in net.parameters())


def moves(opt: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One move of a player down its loss."""
    opt.zero_grad()
    loss.backward()
    opt.step()


# ---- DCGAN --------------------------------------------------------------------------------------


def dcgan(latents: int = 100, width: int = 64, stages: int = 3) -> Players:
    """`DCGANGenerator(3, 64, 3)` against `DCGANDiscriminator(64, 3)`."""
    up: list[nn.Module] = [nn.Unflatten(1, (latents, 1, 1))]
    inputs = latents
    for stage in range(stages):
        outputs = width << (stages - 1 - stage)
        how = (4, 2, 1) if stage else (4, 1, 0)
        up += [nn.ConvTranspose2d(inputs, outputs, *how, bias=False)]
        up += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        inputs = outputs
    up += [nn.ConvTranspose2d(inputs, IMAGE[0], 4, 2, 1, bias=False), nn.Tanh()]
    down: list[nn.Module] = []
    inputs = IMAGE[0]
    for stage in range(stages):
        outputs = width << stage
        down += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)]
        down += [nn.BatchNorm2d(outputs)] if stage else []
        down += [nn.LeakyReLU(0.2, inplace=True)]
        inputs = outputs
    down += [nn.Conv2d(inputs, 1, 4, bias=False), nn.Flatten(0)]
    return Players(nn.Sequential(*up), nn.Sequential(*down), play_dcgan)


def play_dcgan(
    generator: nn.Module, critic: nn.Module, x: torch.Tensor, lr: float, compiled: Any
) -> Callable[[], torch.Tensor]:
    """Turns of both down the non-saturating loss."""
    first, second = (
        torch.optim.Adam(net.parameters(), lr, (0.5, 0.999), fused=x.is_cuda)
        for net in (critic, generator)
    )
    paint, score = compiled(generator), compiled(critic)

    def noise() -> torch.Tensor:
        return torch.randn(len(x), 100, device=x.device)

    def step() -> torch.Tensor:
        with torch.no_grad():
            fake = paint(noise())
        moves(first, against(score(x), score(fake)))
        critic.requires_grad_(False)
        loss = functional.softplus(-score(paint(noise()))).mean()
        moves(second, loss)
        critic.requires_grad_(True)
        return loss

    return step


def against(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """What a critic descends."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


# ---- StyleGAN2 ----------------------------------------------------------------------------------


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU times sqrt(2)."""
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def filtered(x: torch.Tensor, pad: int, *, gain: float = 1.0, stride: int = 1) -> torch.Tensor:
    """Every channel convolved with the filter."""
    kernel = (gain * TAPS).to(x).expand(x.shape[1], 1, 4, 4)
    return functional.conv2d(x, kernel, stride=stride, padding=pad, groups=x.shape[1])


def doubled(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W], filtered."""
    kernel = (4 * TAPS).to(x).expand(x.shape[1], 1, 4, 4)
    return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Dense(nn.Module):
    """A dense layer whose weights are scaled where they are used."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), start))
        self.rate, self.scale = rate, rate / math.sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs] -> [B, outputs]."""
        return functional.linear(x, self.weight * self.scale, self.bias * self.rate)


class Mapping(nn.Module):
    """z to w, and w's running mean."""

    def __init__(self, latent: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Dense(latent, latent, 0.01) for _ in range(depth))
        self.register_buffer('w_avg', torch.zeros(latent))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """[B, latent] -> [B, latent]."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            w = leaky(layer(w))
        return w


class Modulated(nn.Module):
    """A convolution of images times their styles; as its authors train it, not grouped."""

    def __init__(self, inputs: int, outputs: int, latent: int, kernel: int = 3) -> None:
        super().__init__()
        self.affine = Dense(latent, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))


class Layer(Modulated):
    """A modulated 3x3 convolution, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, latent: int, *, up: bool) -> None:
        super().__init__(inputs, outputs, latent)
        self.strength, self.up = nn.Parameter(torch.zeros([])), up

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """[B, I, H, W], [B, latent] -> [B, O, H', W']."""
        style = self.affine(w)
        x = x * style[:, :, None, None]
        if self.up:
            x = functional.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
            x = filtered(x, 1, gain=4.0)
        else:
            x = functional.conv2d(x, self.weight, padding=1)
        squares = self.weight.square().sum((2, 3))
        x = x * (style.square() @ squares.T + 1e-8).rsqrt()[:, :, None, None]
        noise = torch.randn(len(x), 1, *x.shape[2:], device=x.device)
        return leaky(x + self.strength * noise + self.bias[:, None, None])


class ToRGB(Modulated):
    """A modulated 1x1 convolution to colours."""

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """[B, I, H, W], [B, latent] -> [B, 3, H, W]."""
        style = self.affine(w) / math.sqrt(x.shape[1])
        x = functional.conv2d(x * style[:, :, None, None], self.weight)
        return x + self.bias[:, None, None]


class Synthesis(nn.Module):
    """Styles [B, layers, latent] to images."""

    def __init__(self, size: int, latent: int, base: int, most: int) -> None:
        super().__init__()
        widths = [min(base // r, most) for r in sizes(size)]
        self.const = nn.Parameter(torch.randn(widths[0], 4, 4))
        pairs = zip(widths, widths[1:], strict=False)
        self.up = nn.ModuleList(Layer(a, b, latent, up=True) for a, b in pairs)
        self.same = nn.ModuleList(Layer(a, a, latent, up=False) for a in widths)
        self.colours = nn.ModuleList(ToRGB(a, IMAGE[0], latent, 1) for a in widths)

    def forward(self, styles: torch.Tensor) -> torch.Tensor:
        """[B, layers, latent] -> [B, 3, size, size]."""
        x, image = self.const.expand(len(styles), -1, -1, -1), torch.zeros(())
        for i, (same, colours) in enumerate(zip(self.same, self.colours, strict=True)):
            if i:
                x = self.up[i - 1](x, styles[:, 2 * i - 1])
            x = same(x, styles[:, 2 * i])
            rgb = colours(x, styles[:, 2 * i + 1])
            image = doubled(image) + rgb if i else rgb
        return image


class Generator(nn.Module):
    """Both networks."""

    def __init__(self, size: int, latent: int, depth: int, base: int, most: int) -> None:
        super().__init__()
        self.latent, self.layers = latent, 2 * len(sizes(size))
        self.mapping, self.synthesis = Mapping(latent, depth), Synthesis(size, latent, base, most)


class Convolution(nn.Module):
    """A convolution with scaled weights, which halves the image or does not."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, *, down: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.down, self.size, self.scale = down, size, 1 / math.sqrt(inputs * size * size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, I, H, W] -> [B, O, H', W']."""
        w = self.weight * self.scale
        if not self.down:
            return functional.conv2d(x, w, self.bias, padding=self.size // 2)
        if self.size == 1:
            return functional.conv2d(filtered(x, 1, stride=2), w, self.bias)
        return functional.conv2d(filtered(x, 2), w, self.bias, stride=2)


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = (
            Convolution(inputs, inputs),
            Convolution(inputs, outputs, down=True),
        )
        self.skip = Convolution(inputs, outputs, 1, down=True, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, I, H, W] -> [B, O, H / 2, W / 2]."""
        return (self.skip(x) + leaky(self.conv1(leaky(self.conv0(x))))) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """The residual discriminator."""

    def __init__(self, size: int, base: int, most: int) -> None:
        super().__init__()
        widths = [min(base // r, most) for r in reversed(sizes(size))]
        self.fromrgb, last = Convolution(IMAGE[0], widths[0], 1), widths[-1]
        pairs = zip(widths, widths[1:], strict=False)
        self.blocks = nn.ModuleList(Residual(a, b) for a, b in pairs)
        self.conv = Convolution(last + 1, last)
        self.fc, self.out = Dense(16 * last, last), Dense(last, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, size, size] -> [B]."""
        x = leaky(self.fromrgb(x))
        for block in self.blocks:
            x = block(x)
        groups = x.unflatten(0, (4, -1))
        deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        beside = deviation.repeat(4)[:, None, None, None].expand(-1, 1, 4, 4)
        x = leaky(self.conv(torch.cat((x, beside), 1)))
        return self.out(leaky(self.fc(x.flatten(1))))[:, 0]


def sizes(size: int) -> list[int]:
    """4, 8, ..., size."""
    return [1 << i for i in range(2, size.bit_length())]


def stylegan2(latent: int = 64, depth: int = 8, base: int = 1024, most: int = 64) -> Players:
    """`StyleGAN2(32, 3, 64, 8, 1024, 64)` against `StyleGAN2Discriminator(32, 1024, 64)`."""
    size = IMAGE[1]
    generator = Generator(size, latent, depth, base, most)
    return Players(generator, Discriminator(size, base, most), play_stylegan2)


def play_stylegan2(
    generator: Any, critic: nn.Module, x: torch.Tensor, lr: float, compiled: Any
) -> Callable[[], torch.Tensor]:
    """Turns of both, and after some of them a move down R1 or the path length penalty."""
    opts = []
    for net, every in ((critic, R1_EVERY), (generator, PATH_EVERY)):
        c = every / (every + 1)
        opt = torch.optim.Adam(net.parameters(), c * lr, (0.0, 0.99**c), fused=x.is_cuda)
        opts.append(opt)
    first, second = opts
    paint, score, turn = compiled(generator.synthesis), compiled(critic), 0
    mean = torch.zeros((), device=x.device)

    def styles(rows: int, *, train: bool = False) -> torch.Tensor:
        """[rows, layers, latent] of new z, a share of them mixed."""
        w = generator.mapping(torch.randn(2 * rows, generator.latent, device=x.device))
        if train:
            generator.mapping.w_avg.lerp_(w.detach().float().mean(0), 0.005)
        earlier, later = w[:, None].expand(-1, generator.layers, -1).chunk(2)
        crossover = torch.randint(1, generator.layers, (rows,), device=x.device)
        mixed = torch.rand(rows, device=x.device) < MIXING
        crossover = torch.where(mixed, crossover, generator.layers)
        layer = torch.arange(generator.layers, device=x.device)
        return torch.where((layer < crossover[:, None])[:, :, None], earlier, later)

    def step() -> torch.Tensor:
        nonlocal turn
        turn += 1
        with torch.no_grad():
            fake = paint(styles(len(x)))
        moves(first, against(score(x), score(fake)))
        if turn % R1_EVERY == 0:
            real = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
            moves(first, R1 / 2 * R1_EVERY * slope.square().sum((1, 2, 3)).mean())
        critic.requires_grad_(False)
        loss = functional.softplus(-score(paint(styles(len(x), train=True)))).mean()
        moves(second, loss)
        critic.requires_grad_(True)
        if turn % PATH_EVERY == 0:
            w = styles(max(1, len(x) // PATH_PART))
            images = generator.synthesis(w)
            y = torch.randn_like(images) / math.sqrt(images[0, 0].numel())
            (slope,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
            lengths = slope.square().sum(2).mean(1).sqrt()
            mean.lerp_(lengths.detach().mean(), MEAN_MOVES)
            moves(second, PATH * PATH_EVERY * (lengths - mean).square().mean())
        return loss

    return step


NETWORKS: dict[str, Callable[[], Players]] = {'dcgan': dcgan, 'stylegan2': stylegan2}

if __name__ == '__main__':
    _in_torch.main(*sys.argv[1:], trainer=trainer)
