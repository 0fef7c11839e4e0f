"""How does training scale to more chips: predicted for 1 to 1,024, and measured on simulated ones?

Each chip has as many rows on any number of chips (weak scaling). GPT's parameters and optimizer
are cut over all chips (`fsdp`), those of ResNet-50 are whole on each (`data`).

    by formula  FLOP of the step's products, the state, and the bytes that a ring sends of it; no
                activations, so nothing is said of what fits. A roofline: no step is faster.
    compiled    the same bound, with memory and collectives of the program that the chip's own
                compiler made, for as many chips as --compiled says. It takes minutes.
    measured    small networks on 1, 2, 4 and 8 simulated CPU devices: the numbers that training
                gives, and what the programs send. Their time would say nothing of chips.

    python -m experiments.scaling                                 by formula, for v5e
    python -m experiments.scaling --chip h100 --measure
    python -m experiments.scaling --only gpt2 --compiled 8 64     needs jaxdl[compile]
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax

from jaxdl.cli.ahead import devices_of, environment, look_ahead, simulated
from jaxdl.cli.main import run_script
from jaxdl.cli.options import Option, parse
from jaxdl.data.source import Source
from jaxdl.data.stream import synthetic
from jaxdl.engine import cost
from jaxdl.engine.collectives import SENT, collectives
from jaxdl.engine.engine import Engine, finish_each, split_seeds
from jaxdl.engine.layout import Devices, devices_here
from jaxdl.engine.memory import account
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.files import write_bytes, write_json
from jaxdl.models.gpt import GPT, gpt2, gpt2_medium, gpt2_xl
from jaxdl.models.resnet import cifar_stem, resnet18, resnet50
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.language import language_model
from jaxdl.precision import computing_in
from jaxdl.report.figures import png, scatter
from jaxdl.run.chips import CHIPS, SHAPES, Topology, read_topology
from jaxdl.run.roofline import Prediction, predict
from jaxdl.task import Task

CHIP_COUNTS = tuple(2**i for i in range(11))  # 1 to 1,024
SIMULATED = (1, 2, 4, 8)
STEPS = 3  # that are measured
FORMULA, COMPILED = 'by formula', 'compiled'


class Workload(NamedTuple):
    """A network, how many rows each chip has, what a row is, and the axis that chips lie on.

    row: the tokens of a text, or (height, width, channels). classes: or words there are.
    """

    module: nn.Module
    rows: int
    row: tuple[int, ...]
    classes: int
    axis: str

    def task(self) -> Task:
        """What is trained, in bfloat16."""
        if len(self.row) == 1:
            return computing_in(language_model(self.module, optax.adamw(3e-4)), 'bf16')
        opt = optax.sgd(0.1, momentum=0.9)
        return computing_in(classifier(self.module, opt, classes=self.classes), 'bf16')

    def source(self, rows: int) -> Source:
        """Noise, drawn on the device."""

        def draw(key: Any) -> dict[str, jax.Array]:
            if len(self.row) == 1:
                shape = (rows, self.row[0] + 1)
                return {'tokens': jax.random.randint(key, shape, 0, self.classes)}
            x = jax.random.normal(key, (rows, *self.row))
            return {'x': x, 'y': jax.random.randint(key, (rows,), 0, self.classes)}

        return synthetic(draw, name='noise')

    def engine(self, chips: int, *, ahead: Devices | None = None, whole: bool = False) -> Engine:
        """Its engine on so many chips; `whole`: of as many rows in all on any number."""
        layout = f'{self.axis}={chips}' if chips > 1 else 'vmap'
        rows = self.rows if whole else self.rows * chips
        return Engine(
            self.task(), self.source(rows), seeds=[0], layout_name=layout, chunk=1, ahead=ahead
        )


def gpt(build: Callable[..., nn.Module], rows: int) -> Workload:
    """GPT-2 of a size on texts of 1,024 tokens; its blocks are scanned, and computed again."""
    return Workload(build(scan=True, remat=True), rows, (1024,), 50_257, 'fsdp')


WORKLOADS = {
    'gpt2': gpt(gpt2, 8),
    'gpt2_medium': gpt(gpt2_medium, 8),
    'gpt2_xl': gpt(gpt2_xl, 4),
    'resnet50': Workload(resnet50(), 128, (224, 224, 3), 1000, 'data'),
}
SMALL = {
    'gpt2': Workload(GPT(256, 32, width=64, depth=2, heads=4), 16, (32,), 256, 'fsdp'),
    'resnet50': Workload(
        resnet18(stages=(1, 1), widths=(8, 16), stem=cifar_stem, classes=10),
        16,
        (8, 8, 3),
        10,
        'data',
    ),
}


class Row(NamedTuple):
    """What a step is predicted to take. how: by formula, or compiled."""

    network: str
    chips: int
    how: str
    state: float
    sent: float
    times: Prediction
    fits: str = ''


class Measured(NamedTuple):
    """What training gave on simulated devices, and what its step sends."""

    network: str
    devices: int
    losses: tuple[float, ...]
    sent: dict[str, float]


def sent_by(axis: str, parameters: int, chips: int) -> float:
    """Bytes that a chip sends of so many parameters, by a ring.

    data: gradients are summed in float32. fsdp (Rajbhandari et al. 2020, section 7): parameters are
    gathered in bfloat16 before they are used, forward and backward, gradients summed and cut.
    """
    if axis == 'data':
        return SENT['all-reduce'](4 * parameters, chips)
    gathered = 2 * SENT['all-gather'](2 * parameters, chips)
    return gathered + SENT['reduce-scatter'](4 * parameters, chips) / chips


def by_formula(name: str, chip: Topology) -> Iterator[Row]:
    """The rows of one network on every number of chips, of its shapes alone."""
    load = WORKLOADS[name]
    engine = load.engine(1, ahead=Devices(tuple(jax.devices()[:1]), 'tpu'))
    memory = account((engine.template(),), (), temporaries=0)
    for chips in CHIP_COUNTS:
        parts = chips if load.axis == 'fsdp' else 1
        state, sent = memory.state / parts, sent_by(load.axis, engine.parameters(), chips)
        # The state is read and written; what is computed with, in bfloat16, is read twice.
        traffic = 2 * state + 2 * 2 * engine.parameters()
        times = predict(chip.each, flops=engine.flops(), traffic=traffic, sent=sent)
        yield Row(name, chips, FORMULA, state, sent, times)


def compiled(name: str, topology: Topology) -> Row:
    """The row of one network as its chip's compiler has it. Needs a process for the topology."""
    load, devices = WORKLOADS[name], topology.devices
    found = look_ahead(load.engine(devices, ahead=devices_of(topology)), topology)
    size = cost.quantity(abs(found.over))
    fits = f'no, {size}B more' if found.over > 0 else f'{size}B left'
    return Row(
        name, devices, COMPILED, found.memory.state, found.links.sent, found.prediction, fits
    )


def measured(name: str, devices: int) -> Measured:
    """What a small network gives on the devices that are here, and what its step sends."""
    load = SMALL[name]
    engine = load.engine(devices, whole=True)
    losses = []
    for tick in engine.train(engine.init(), start=0, stop=STEPS, cadences=[1]):
        for _, totals in tick.finished:
            losses.append(float(finish_each(split_seeds(totals, 1))['loss'][0]))
    lowered, *_ = load.engine(devices, whole=True, ahead=devices_here()).lower()
    traffic = collectives(lowered.compile().as_text(), devices)
    sent: dict[str, float] = {}
    for each in traffic.collectives:
        sent[each.kind] = sent.get(each.kind, 0) + each.sent
    return Measured(name, devices, tuple(losses), sent)


def apart(part: Sequence[str], env: dict[str, str]) -> Any:
    """What a part of this command prints, in a process whose jax has other devices.

    Raises JaxdlError with its last line where it fails.
    """
    command = [sys.executable, '-m', 'experiments.scaling', '--part', *part]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ['it died'])[-1]
        raise JaxdlError(f'{" ".join(part)}: {line}')
    return json.loads(done.stdout.splitlines()[-1])


def row_of(found: Sequence[Any]) -> Row:
    """A row as JSON has it."""
    *head, times, fits = found
    return Row(*head, Prediction(*times), fits)


def shape_of(chip: str, chips: int) -> str:
    """The topology of so many chips. Raises UsageError where none is known."""
    for shape in SHAPES.get(chip, ()):
        if read_topology(f'{chip}:{shape}').devices == chips:
            return f'{chip}:{shape}'
    raise UsageError(f'--compiled {chips}: no topology of {chip} has so many devices')


HEAD = ('network', 'chips', 'how', 'state a chip', 'sent a chip', 'compute', 'memory', 'links')
MORE = ('step', 'efficiency at most', 'memory of the chip')


def cells(row: Row) -> list[str]:
    """A row of the table of what is predicted."""
    sizes = [f'{cost.quantity(size)}B' for size in (row.state, row.sent)]
    times = [f'{seconds * 1e3:.3g} ms' for seconds in (*row.times, row.times.step)]
    return [
        *(row.network, str(row.chips), row.how, *sizes, *times),
        *(f'{row.times.efficiency:.0%}', row.fits or '-'),
    ]


OPTIONS = [
    Option('only', tuple[str, ...], (), 'which networks; all if none is named'),
    Option('chip', str, 'v5e', 'whose published numbers are taken'),
    Option('compiled', tuple[int, ...], (), 'numbers of TPU chips to compile for'),
    Option('measure', bool, False, 'train small networks on 1, 2, 4 and 8 simulated devices'),
    Option('part', tuple[str, ...], (), 'one part, as this command starts it for itself'),
    Option('workdir', Path, Path('runs/scaling'), 'where numbers and figures are written'),
]


def main(words: list[str]) -> None:
    """Print what is predicted and what was measured, in tables of their own."""
    values = parse('scaling', OPTIONS, words, about=str(__doc__).split('\n')[0]).values
    if values['part']:
        what, name, size = values['part']
        found = (
            compiled(name, read_topology(size)) if what == COMPILED else measured(name, int(size))
        )
        print(json.dumps(found))
        return
    for name in values['only']:
        if name not in WORKLOADS:
            raise UsageError(f'--only: unknown network {name!r}{nearest(name, WORKLOADS)}')
    names = [each.name for each in CHIPS]
    if values['chip'] not in names:
        raise UsageError(f'--chip: unknown {values["chip"]!r}{nearest(values["chip"], names)}')
    chip = next(each for each in CHIPS if each.name == values['chip'])
    topologies = [shape_of(chip.name, count) for count in values['compiled']]

    from rich.console import Console
    from rich.table import Table

    console, rows, seen = Console(), list[Row](), list[Measured]()
    if not console.is_terminal:
        console = Console(width=max(console.width, 150))
    with console.status('') as status:
        for name in values['only'] or WORKLOADS:
            status.update(name)
            rows += by_formula(name, Topology(chip.name, chip, 1))
            for text in topologies:
                status.update(f'{name} compiled for {text}')
                found = apart([COMPILED, name, text], environment(read_topology(text)))
                rows.append(row_of(found))
            for count in SIMULATED if values['measure'] and name in SMALL else ():
                status.update(f'{name} on {count} simulated devices')
                seen.append(Measured(*apart(['measured', name, str(count)], simulated(count))))
    table = Table(
        *HEAD,
        *MORE,
        title=f'PREDICTED, not measured: a step in bfloat16 on {chip.name}',
        caption=f'{chip.source}. A roofline: no step is faster, most are slower.',
    )
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    if seen:
        console.print(measured_table(seen))
    folder = values['workdir']
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        where = points.setdefault(f'{row.network}, {row.how}', {})
        where[str(row.chips)] = row.chips, row.times.efficiency
    figure = scatter(points, x='chips', y=f'predicted efficiency at most, {chip.name}')
    write_bytes(folder / 'predicted.png', png(figure))
    write_json(
        folder / 'scaling.json',
        {
            'chip': chip._asdict(),
            'predicted': [row._asdict() for row in rows],
            'measured': [each._asdict() for each in seen],
        },
    )
    console.print(f'wrote {folder}/predicted.png and scaling.json')


def measured_table(seen: Sequence[Measured]) -> Any:
    """What was measured, beside what the formula says is sent."""
    from rich.table import Table

    table = Table(
        *('small network of the kind', 'devices', f'loss after 1 to {STEPS} steps', 'sent'),
        title='MEASURED on simulated CPU devices: small networks, the same rows on all',
        caption='sent: by a ring, of the collectives of the compiled program, bytes a device',
    )
    for each in seen:
        sent = ', '.join(f'{kind} {cost.quantity(size)}B' for kind, size in each.sent.items())
        losses = ' '.join(f'{loss:.6f}' for loss in each.losses)
        table.add_row(each.network, str(each.devices), losses, sent or 'nothing')
    return table


if __name__ == '__main__':
    run_script(main)
