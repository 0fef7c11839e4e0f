"""YOLOv3 as the public PyTorch ports build it: a list of layers, one for each section of a cfg."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Section(NamedTuple):
    """A section of a configuration: its kind and what it says."""

    kind: str
    filters: int = 0
    size: int = 3
    stride: int = 1
    layers: tuple[int, ...] = ()  # of a route or a shortcut; negative ones count from here
    linear: bool = False  # no norm, no leaky ReLU


def conv(filters: int, size: int = 3, stride: int = 1, *, linear: bool = False) -> Section:
    return Section('convolutional', filters, size, stride, linear=linear)


def route(*layers: int) -> Section:
    return Section('route', layers=layers)


def pool(stride: int) -> Section:
    return Section('maxpool', size=2, stride=stride)


UPSAMPLE, YOLO = Section('upsample', stride=2), Section('yolo')


def yolov3_cfg(classes: int, width: int, blocks: Sequence[int]) -> list[Section]:
    """yolov3.cfg."""
    cfg, ends, out = [conv(width)], [], conv(3 * (5 + classes), 1, linear=True)
    for stage, count in enumerate(blocks, 1):
        filters = width * 2**stage
        cfg.append(conv(filters, stride=2))
        for _ in range(count):
            cfg += [conv(filters // 2, 1), conv(filters), Section('shortcut', layers=(-3,))]
        ends.append(len(cfg) - 1)
    for scale, filters in enumerate((16 * width, 8 * width, 4 * width)):
        if scale:
            cfg += [route(-4), conv(filters, 1), UPSAMPLE, route(-1, ends[-1 - scale])]
        cfg += [conv(filters, 1), conv(2 * filters)] * 3
        cfg += [out, YOLO]
    return cfg


def tiny_cfg(classes: int, width: int) -> list[Section]:
    """yolov3-tiny.cfg."""
    out, cfg = conv(3 * (5 + classes), 1, linear=True), []
    for i in range(6):
        cfg += [conv(width * 2**i), pool(2 if i < 5 else 1)]
    cfg += [conv(64 * width), conv(16 * width, 1), conv(32 * width), out, YOLO]
    cfg += [route(-4), conv(8 * width, 1), UPSAMPLE, route(-1, 8)]
    return [*cfg, conv(16 * width), out, YOLO]


class DarknetModel(nn.Module):
    """A network made from the sections of its configuration."""

    def __init__(self, cfg: Sequence[Section]) -> None:
        super().__init__()
        self.cfg = cfg
        self.module_list = nn.ModuleList()
        channels: list[int] = []
        for i, section in enumerate(cfg):
            layer, before = nn.Sequential(), channels[-1] if channels else 3
            now = before
            if section.kind == 'convolutional':
                now = section.filters
                padding = (section.size - 1) // 2
                plain = nn.Conv2d(
                    before, now, section.size, section.stride, padding, bias=section.linear
                )
                layer.add_module(f'conv_{i}', plain)
                if not section.linear:
                    layer.add_module(f'batch_norm_{i}', nn.BatchNorm2d(now, momentum=0.1, eps=1e-5))
                    layer.add_module(f'leaky_{i}', nn.LeakyReLU(0.1))
            elif section.kind == 'route':
                now = sum(channels[n] for n in section.layers)
            channels.append(now)
            self.module_list.append(layer)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        found = []
        for section, layer in zip(self.cfg, self.module_list, strict=True):
            match section.kind:
                case 'convolutional':
                    x = layer(x)
                case 'shortcut':
                    x = outputs[-1] + outputs[section.layers[0]]
                case 'route':
                    x = torch.cat([outputs[n] for n in section.layers], 1)
                case 'upsample':
                    x = functional.interpolate(x, scale_factor=2, mode='nearest')
                case 'maxpool':
                    # Darknet's own padding, less than any number; some ports have zeros there.
                    if section.stride == 1:
                        x = functional.pad(x, (0, 1, 0, 1), value=float('-inf'))
                    x = functional.max_pool2d(x, 2, section.stride)
                case 'yolo':
                    batch, channels, high, wide = x.shape
                    y = x.view(batch, 3, channels // 3, high, wide)
                    found.append(y.permute(0, 3, 4, 1, 2))
            outputs.append(x)
        return found


def yolov3(
    classes: int = 80, width: int = 32, blocks: Sequence[int] = (1, 2, 8, 8, 4)
) -> nn.Module:
    """The large network."""
    return DarknetModel(yolov3_cfg(classes, width, blocks))


def tiny(classes: int = 80, width: int = 16) -> nn.Module:
    """The small one."""
    return DarknetModel(tiny_cfg(classes, width))


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('yolov3', 'darknet'): yolov3,
    ('yolov3_tiny', 'darknet'): tiny,
}
