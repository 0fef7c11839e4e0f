"""Which layout is the fastest: the rule behind `--layout auto`, and what it was measured on."""

import math
from typing import NamedTuple

# On a CPU, programs above this cost per seed and step are better run one after another, each
# with all threads, than together; see the measurements behind `choose`.
HEAVY_FLOPS = 50e6
# So is, for its memory, what scatters more elements a seed and step: segment sums over edges.
HEAVY_SCATTERS = 1e6


class Choice(NamedTuple):
    """A layout by name, whether steps are scanned inside the program, and why."""

    name: str
    scan: bool
    why: str


def choose(
    *,
    seeds: int,
    rows: int,
    flops: float,
    convolution: bool,
    platform: str,
    devices: int,
    scattered: float = 0.0,
    all_of_them: bool = False,
) -> Choice:
    """The rule behind `--layout auto`, from the cost of one step of one seed.

    all_of_them: whether every device must have a part, as those of many processes must.

    On GPU and TPU vmap and scan are the rule. On CPU what stands inside a while loop loses its
    threads, and vmapped convolutions become grouped ones, which XLA:CPU runs slowly: networks
    with convolutions, and heavy ones, run seed after seed and step by step. Measured on 2 cores,
    time of 4 seeds over time of 1: LeNet vmap 5.5, loop 3.8; 64x64 CNN vmap 24, loop 4.3; GPT
    vmap 4.8, loop 3.7; MLP vmap 3.1, loop 3.6. Sums over edges take as long either
    way (GCN on a graph of Cora's size, 20 seeds on one core: vmap 2.2 ms a seed and step, loop
    2.3), but vmap holds the messages of all seeds at once: of GAT and 100 seeds 340 MB a layer.
    """
    scatters = scattered > HEAVY_SCATTERS
    heavy = convolution or scatters or flops > HEAVY_FLOPS
    scan = platform != 'cpu' or not heavy
    if devices > 1:
        few = devices % seeds == 0 and seeds > 1 and platform == 'cpu' and not all_of_them
        if seeds % devices == 0 or few:
            return Choice('seeds', scan, f'{seeds} seeds divide over {devices} devices')
        parts = math.gcd(seeds, devices)
        if rows % (devices // parts):
            why = f'a batch of {rows} rows does not divide over {devices // parts} devices'
            return Choice(f'seeds={parts}', scan, why)
        return Choice('seeds,data', scan, f'{seeds} seeds and the batch over {devices} devices')
    if platform != 'cpu':
        return Choice('vmap', scan, f'one {platform} device')
    if not heavy:
        return Choice('vmap', scan, f'a small network ({flops / 1e6:.1f} MFLOP a step) on CPU')
    reason = 'convolutions' if convolution else f'{flops / 1e6:.0f} MFLOP a step'
    if scatters and not convolution:
        reason = f'sums over {scattered / 1e6:.1f} M elements of edges a step'
    return Choice('loop', scan, f'{reason} on CPU')
