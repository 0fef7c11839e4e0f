"""What was published of accelerators, and the names under which a step is compiled for many.

The only table of chips: utilisation, `jaxdl compile` and the tables of scaling read it.
"""

import re
from typing import NamedTuple

from jaxdl.errors import UsageError, nearest

GB, GiB = 1e9, 2.0**30


class Chip(NamedTuple):
    """One accelerator as its maker describes it.

    name: in a topology. kind: a pattern of the whole name that jax has for it. flops: FLOP/s of
    dense products in bfloat16. memory: bytes of its own. bandwidth: bytes/s between the two.
    links: bytes/s that it sends to its neighbours over all its links, which is half of what is
    published for both ways. source: the document; where it has sparse products only, half of
    those. devices: how many jax sees in one.
    """

    name: str
    kind: str
    flops: float
    memory: float
    bandwidth: float
    links: float
    source: str
    devices: int = 1

    @property
    def tpu(self) -> bool:
        """Whether its compiler is at hand (libtpu), and it lies in a torus."""
        return self.kind.startswith('TPU')


CHIPS = (
    Chip(
        *('a100', r'NVIDIA A100-SXM.*80GB', 312e12, 80 * GB, 2039e9, 300e9),
        'NVIDIA A100 data sheet, 2021: NVLink 600 GB/s',
    ),
    Chip(
        *('a100-40gb', r'NVIDIA A100-SXM.*40GB', 312e12, 40 * GB, 1555e9, 300e9),
        'NVIDIA A100 data sheet, 2020: NVLink 600 GB/s',
    ),
    Chip(
        *('a100-pcie', r'NVIDIA A100.*', 312e12, 80 * GB, 1935e9, 32e9),
        'NVIDIA A100 data sheet, 2021: PCIe 64 GB/s',
    ),
    Chip(
        *('h100-pcie', r'NVIDIA H100 PCIe', 756.5e12, 80 * GB, 2000e9, 64e9),
        'NVIDIA H100 data sheet, 2023: 1,513 T, sparse; PCIe 128 GB/s',
    ),
    Chip(
        *('h100', r'NVIDIA H100 80GB HBM3', 989.5e12, 80 * GB, 3350e9, 450e9),
        'NVIDIA H100 data sheet, 2023, SXM: 1,979 T, sparse; NVLink 900 GB/s',
    ),
    Chip(
        *('h200', r'NVIDIA H200', 989.5e12, 141 * GB, 4800e9, 450e9),
        'NVIDIA H200 data sheet, 2024, SXM: 1,979 T, sparse; NVLink 900 GB/s',
    ),
    Chip(
        *('v4', r'TPU v4', 275e12, 32 * GiB, 1200e9, 300e9),
        'Jouppi et al. 2023, table 4: six links of 50 GB/s',
    ),
    Chip(
        *('v5e', r'TPU v5 ?(lite|e)', 197e12, 16 * GiB, 819e9, 200e9),
        'Google Cloud, TPU v5e: links 400 GB/s both ways',
    ),
    Chip(
        *('v5p', r'TPU v5p?', 459e12, 95 * GiB, 2765e9, 600e9),  # jax calls it v5
        'Google Cloud, TPU7x, compared with v5p: links 1200 GB/s both ways',
    ),
    Chip(
        *('v6e', r'TPU v6 ?(lite|e)', 918e12, 32 * GiB, 1638e9, 400e9),
        'Google Cloud, TPU7x, compared with v6e: links 800 GB/s both ways',
    ),
    Chip(
        *('tpu7x', r'TPU ?(v7x?|7x)', 2307e12, 192 * GiB, 7380e9, 600e9),
        'Google Cloud, TPU7x: links 1200 GB/s both ways, two devices a chip',
        2,
    ),
)
SQUARES = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
CUBES = (
    *('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16'),
    '8x16x16',
)
SHAPES = {'v4': CUBES, 'v5e': SQUARES, 'v5p': CUBES, 'v6e': SQUARES, 'tpu7x': CUBES}


class Topology(NamedTuple):
    """Chips of one kind, and how many devices jax sees in them. name: as it is typed."""

    name: str
    chip: Chip
    devices: int

    @property
    def each(self) -> Chip:
        """What one device has of its chip."""
        parts, chip = self.chip.devices, self.chip
        return chip._replace(
            flops=chip.flops / parts,
            memory=chip.memory / parts,
            bandwidth=chip.bandwidth / parts,
            links=chip.links / parts,
        )


def read_topology(text: str) -> Topology:
    """`v5e:16x16`, TPUs in a torus, or `h100x8`, GPUs of one machine.

    Raises UsageError for one that is not known, with the nearest.
    """
    chips = {chip.name: chip for chip in CHIPS}
    name, _, shape = text.partition(':')
    if shape in SHAPES.get(name, ()):
        count = 1
        for size in shape.split('x'):
            count *= int(size)
        return Topology(text, chips[name], count * chips[name].devices)
    gpus = [chip.name for chip in CHIPS if not chip.tpu]
    found = re.fullmatch(r'(.+)x([1-9]\d*)', text)
    if found and found[1] in gpus:
        return Topology(text, chips[found[1]], int(found[2]))
    if name in SHAPES:
        close = nearest(shape, SHAPES[name])
        raise UsageError(f'--topology {text}: {name} is not made in that shape{close}')
    known = [f'{chip}:{shapes[-1]}' for chip, shapes in SHAPES.items()]
    known += [f'{chip}x8' for chip in gpus]
    raise UsageError(f'--topology: unknown {text!r}{nearest(text, known)}, and other sizes')
