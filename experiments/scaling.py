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
    python -m experiments.scaling --record                        the tables in README.md

What was made for the same chip with the same versions before is kept in the folder, so that what
takes long may be made one by one, and is shown and recorded together.
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

from experiments._scaling_tables import (
    COMPILED,
    FORMULA,
    STEPS,
    Found,
    Measured,
    Row,
    kept,
    markdown,
    plot,
    rich_table,
    row_of,
    tables,
    versions,
)
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
from jaxdl.report.figures import png
from jaxdl.report.recorded import write_between
from jaxdl.run.chips import CHIPS, SHAPES, Chip, Topology, read_topology
from jaxdl.run.roofline import predict
from jaxdl.task import Task

CHIP_COUNTS = tuple(2**i for i in range(11))  # 1 to 1,024
SIMULATED = (1, 2, 4, 8)
FOLDER = Path(__file__).parent
BEGIN = '<!-- scaling: written by `python -m experiments.scaling --record` -->'
END = '<!-- end of scaling -->'


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
        times = predict(chip.each, flops=engine.flops_done(), traffic=traffic, sent=sent)
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
    formula = sent_by(load.axis, engine.parameters(), devices)
    return Measured(name, devices, tuple(losses), sent, formula)


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


def shape_of(chip: str, chips: int) -> str:
    """The topology of so many chips. Raises UsageError where none is known."""
    for shape in SHAPES.get(chip, ()):
        if read_topology(f'{chip}:{shape}').devices == chips:
            return f'{chip}:{shape}'
    raise UsageError(f'--compiled {chips}: no topology of {chip} has so many devices')


def make(
    names: Sequence[str],
    chip: Chip,
    *,
    topologies: Sequence[str],
    measure: bool,
    say: Callable[[str], None],
) -> Found:
    """The rows of some networks; `say` is told what is being made."""
    rows, seen = list[Row](), list[Measured]()
    for name in names:
        say(name)
        rows += by_formula(name, Topology(chip.name, chip, 1))
        for text in topologies:
            say(f'{name} compiled for {text}')
            rows.append(row_of(apart([COMPILED, name, text], environment(read_topology(text)))))
        for count in SIMULATED if measure and name in SMALL else ():
            say(f'{name} on {count} simulated devices')
            seen.append(Measured(*apart(['measured', name, str(count)], simulated(count))))
    return Found(tuple(rows), tuple(seen))


OPTIONS = [
    Option('only', tuple[str, ...], (), 'which networks; all if none is named'),
    Option('chip', str, 'v5e', 'whose published numbers are taken'),
    Option('compiled', tuple[int, ...], (), 'numbers of TPU chips to compile for'),
    Option('measure', bool, False, 'train small networks on 1, 2, 4 and 8 simulated devices'),
    Option('record', bool, False, 'rewrite the tables and the picture in experiments/'),
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

    jax.config.update('jax_platforms', 'cpu')  # nothing here runs on anything else
    console, folder = Console(), values['workdir']
    if not console.is_terminal:
        console = Console(width=max(console.width, 150))
    with console.status('') as status:
        made = make(
            values['only'] or [*WORKLOADS],
            chip,
            topologies=topologies,
            measure=values['measure'],
            say=status.update,
        )
    found = kept(folder, chip).with_(made)
    picture = png(plot(found.predicted, chip))
    write_bytes(folder / 'predicted.png', picture)
    known = {'chip': chip, 'versions': versions(), **found._asdict()}
    write_json(folder / 'scaling.json', known)
    for title, head, rows in tables(found, chip):
        console.print(rich_table(title, head, rows))
    console.print(f'wrote {folder}/predicted.png and scaling.json')
    if values['record']:
        write_bytes(FOLDER / 'results' / 'scaling.png', picture)
        write_between(FOLDER / 'README.md', BEGIN, END, markdown(found, chip))
        console.print('wrote the tables in experiments/README.md')


if __name__ == '__main__':
    run_script(main)
