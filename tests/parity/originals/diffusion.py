"""The denoising U-Net of Ho et al. 2020, from the paper's appendix B, with the port's names."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def embedded(steps: torch.Tensor, width: int) -> torch.Tensor:
    waves = torch.arange(width // 2, dtype=torch.float32)
    angles = steps[:, None].float() * torch.exp(-math.log(10000.0) / (width // 2 - 1) * waves)
    return torch.cat([angles.sin(), angles.cos()], 1)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, told: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, 1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(told, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, 1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.temb_proj(functional.silu(told)).unsqueeze(-1).unsqueeze(-1)
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x)


class Attention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        h = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Level(nn.Module):
    """The blocks of a level and, after them, what halves or doubles the map."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], told: int, groups: int, *, attends: bool, way: str
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(a, b, told, groups) for a, b in widths)
        self.attn = nn.ModuleList(Attention(b, groups) for _, b in widths if attends)
        width = widths[-1][1]
        if way == 'down':
            self.downsample = nn.ModuleDict({'conv': nn.Conv2d(width, width, 3, 2)})
        if way == 'up':
            self.upsample = nn.ModuleDict({'conv': nn.Conv2d(width, width, 3, padding=1)})

    def apply(self, i: int, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        x = self.block[i](x, told)
        return self.attn[i](x) if len(self.attn) else x


class Net(nn.Module):
    def __init__(
        self,
        channels: int = 3,
        width: int = 128,
        levels: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.width, told, side = width, 4 * width, 2 * attention[0]
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(width, told), nn.Linear(told, told)])
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up, kept, now = nn.ModuleList(), nn.ModuleList(), [width], width
        for level, times in enumerate(levels):
            widths = [(now if i == 0 else times * width, times * width) for i in range(blocks)]
            now, last = times * width, level == len(levels) - 1
            attends, way = side >> level in attention, '' if last else 'down'
            self.down.append(Level(widths, told, groups, attends=attends, way=way))
            kept += [now] * (blocks + (not last))
        self.mid = nn.Module()
        self.mid.block_1, self.mid.block_2 = (Block(now, now, told, groups) for _ in range(2))
        self.mid.attn_1 = Attention(now, groups)
        ups = []
        for level, times in reversed([*enumerate(levels)]):
            widths = []
            for _ in range(blocks + 1):
                widths.append((now + kept.pop(), times * width))
                now = times * width
            attends, way = side >> level in attention, 'up' if level else ''
            ups.append(Level(widths, told, groups, attends=attends, way=way))
        self.up.extend(reversed(ups))
        self.norm_out = nn.GroupNorm(groups, now, 1e-6)
        self.conv_out = nn.Conv2d(now, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        first, second = self.temb.dense
        waves = embedded(steps, self.width).to(first.weight.dtype)
        told = second(functional.silu(first(waves)))
        x = self.conv_in(x)
        kept = [x]
        for level in self.down:
            for i in range(len(level.block)):
                x = level.apply(i, x, told)
                kept.append(x)
            if hasattr(level, 'downsample'):
                x = level.downsample['conv'](functional.pad(x, (0, 1, 0, 1)))
                kept.append(x)
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(x, told)), told)
        for level in reversed(self.up):
            for i in range(len(level.block)):
                x = level.apply(i, torch.cat([x, kept.pop()], 1), told)
            if hasattr(level, 'upsample'):
                x = level.upsample['conv'](functional.interpolate(x, scale_factor=2))
        return self.conv_out(functional.silu(self.norm_out(x)))


ORIGINALS = {('ddpm', 'public'): Net}
