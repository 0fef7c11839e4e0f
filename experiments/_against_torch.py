"""Our training steps against PyTorch's, in turn: the ratio is then little disturbed by others."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxdl.cli.library import phases_of, resolve, trained
from jaxdl.cli.options import Option, parse
from jaxdl.cli.plan import surroundings
from jaxdl.engine.engine import Engine
from jaxdl.errors import UsageError
from jaxdl.report.numerals import DASH
from jaxdl.report.recorded import markdown_table, write_between
from jaxdl.run import machine, peaks
from jaxdl.statistics import median_ci
from jaxdl.study import Count, Rate, Study

Racer = Callable[[int], float]  # steps -> seconds

SEEDS = {'lenet': (1, 5, 32), 'gcn': (1, 100)}  # other arms: one
# Training steps of all seeds that our loop reports at once, and so the fewest of a turn: enough for
# its own time not to count. Other arms, whose steps take long: two.
CHUNK = {'lenet': 20, 'gcn': 20}
# Steps after which the next ones are like them, with penalties that are taken now and then; turns
# are made of whole ones.
CYCLE = {'stylegan2': 16}
PROGRAMS = {'dcgan': '_in_torch_gans.py', 'stylegan2': '_in_torch_gans.py'}  # of theirs
LAST = 'channels_last'  # the option of how images lie
IMAGES = ('cnn', 'resnet18', 'unet', 'vit', 'lenet', 'dcgan', 'stylegan2')  # arms that have them
FOREVER = 10**9  # steps


BEGIN = '<!-- throughput: written by `python -m experiments.throughput --record` -->'
END = '<!-- end of throughput -->'
OPTIONS = [
    Option('arm', tuple[str, ...], (), 'which arms; all if none is named'),
    Option('rounds', Count, 15, 'turns of each; the ratio is the median over them'),
    Option('seconds', Rate, 0.5, 'about how long a turn of ours takes'),
    Option('record', bool, False, 'rewrite the table in experiments/README.md'),
]


def main(study: Study, words: list[str]) -> None:
    """Time training steps of ours and of PyTorch in turn, and print the ratios.

    Every process of PyTorch keeps its own setting of OpenMP: where other programs want the
    processor too, its waiting threads cost it much, and OMP_WAIT_POLICY=PASSIVE is fairer.
    """
    values = parse('throughput', OPTIONS, words, about=str(main.__doc__).split('\n')[0]).values
    if values['record'] and values['arm']:
        raise UsageError('--record: it records all arms, so it goes without --arm')
    if find_spec('torch') is None:
        raise UsageError('throughput: torch is not installed here; make bench installs it')
    rows = []
    for label in trained(study, values['arm']):
        rows += apart(race, study, label, values['rounds'], values['seconds'])
    ways = variants()
    if 'compiled' not in ways:
        print('torch.compile needs a C++ compiler, and there is none: its column is left out')
    head = ['arm', 'seeds', 'jaxdl ms', *(f'{name} ms' for name in ways)]
    head += [f'jaxdl / {name}' for name in ways]
    kind = jax.devices()[0].device_kind
    head += [] if peaks.unknown(kind) else ['MFU']
    about = f'A training step of all seeds on {surroundings()["devices"][0]}, medians of '
    about += f'{values["rounds"]} turns, PyTorch {version("torch")}, jax {version("jax")}; of the '
    about += 'ratios 95 % intervals over turns.'
    about += f' There is {why}.' if (why := peaks.unknown(kind)) else ''
    readme = Path(__file__).with_name('README.md')
    tell(head, rows, about, into=(readme, BEGIN, END) if values['record'] else None)


def tell(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    about: str,
    *,
    into: tuple[Path, str, str] | None,
) -> None:
    """Print a table of races, and write it into a file between two of its lines, if it is given."""
    table = Table(*head, caption=about)
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)
    if into:
        text = '\n'.join([about, '', *markdown_table(head, rows), ''])
        write_between(*into, text)
        print('wrote the table in experiments/README.md')


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """work(*args) in a new process.

    Nets that a process has trained before change its heap: after the U-Net LeNet's steps take 1.5
    times as long as in a process of its own, which is where a user runs it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as process:
        return process.submit(work, *args).result()


def race(study: Study, label: str, rounds: int, seconds: float) -> list[list[str]]:
    """The table's rows of an arm, one a number of seeds."""
    if line := machine.tune_memory():
        print(line, file=sys.stderr)
    ways, rows = variants(), []
    # Ours in bfloat16 where PyTorch's autocast is.
    precision = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
    params = resolve(study, label, {'precision': precision})
    (phase,) = phases_of(study, params)
    cycle = CYCLE.get(label, 1)
    program = {'program': PROGRAMS[label]} if label in PROGRAMS else {}
    with ExitStack() as processes:
        theirs: dict[str, Racer] = {}
        for count in SEEDS.get(label, (1,)):
            chunk = max(cycle, CHUNK.get(label, 2) // count)
            engine = Engine(phase.task, phase.train, seeds=range(count), chunk=chunk)
            for name, options in ways.items() if not theirs else ():
                if LAST in options and label not in IMAGES:
                    continue
                words = [params['network'], str(engine.rows), str(params['lr']), *options]
                process = torch_process(words, parameters=engine.parameters(), **program)
                theirs[name] = processes.enter_context(process)
            with our_loop(engine) as ours:
                lasting = {'rounds': rounds, 'seconds': seconds, 'cycle': cycle}
                turns = raced(ours, theirs, engine, **lasting)
            racing = np.full((rounds, 1 + len(ways)), np.nan)
            racing[:, [0, *(1 + [*ways].index(name) for name in theirs)]] = turns
            rows.append([label, str(count), *cells(racing), *mfu(engine, turns)])
            print(*rows[-1], file=sys.stderr)  # the table comes last
    return rows


def variants() -> dict[str, Sequence[str]]:
    """How PyTorch is raced: the options of `_in_torch.py` by the name of a column."""
    found: dict[str, Sequence[str]] = {'eager': ()}
    if jax.default_backend() == 'cpu':
        found['eager, memory kept'] = ('memory_kept',)
        found['eager, channels last'] = (LAST,)
    if any(shutil.which(name) for name in ('c++', 'g++', 'clang++')):
        found['compiled'] = ('compiled',)
    return found


def raced(
    ours: Racer,
    theirs: Mapping[str, Racer],
    engine: Engine,
    *,
    rounds: int,
    seconds: float,
    cycle: int = 1,
) -> np.ndarray:
    """Seconds of a step of all seeds [rounds, racers], ours first.

    cycle: how many steps a turn has or a multiple of it.
    """
    # PyTorch has no program for several seeds: it trains one after another, each as long.
    seeds = len(engine.seeds)
    racers = [(ours, engine.chunk, 1), *((racer, cycle, seeds) for racer in theirs.values())]
    turns = []
    for racer, steps, times in racers:
        racer(steps)  # compiles
        turns.append((racer, steps * max(1, round(seconds / racer(steps))), times))
    return np.array(
        [[times * racer(steps) / steps for racer, steps, times in turns] for _ in range(rounds)]
    )


def cells(turns: np.ndarray) -> list[str]:
    """Milliseconds of each racer, and ours over those of each other, [rounds, racers].

    Medians over the turns; of the ratios with their 95 % intervals. A racer of NaN did not race.
    """
    times = [f'{1e3 * x:.1f}' if x == x else DASH for x in np.median(turns, axis=0)]
    return [*times, *map(ratio, (turns[:, :1] / turns[:, 1:]).T)]


def ratio(ratios: np.ndarray) -> str:
    """The median over turns, and its interval: '0.86 [0.84, 0.89]'."""
    if np.isnan(ratios).any():
        return DASH
    median, (low, high) = median_ci(ratios)
    return f'{median:.2f}' if low != low else f'{median:.2f} [{low:.2f}, {high:.2f}]'


def mfu(engine: Engine, turns: np.ndarray) -> list[str]:
    """The share of the device's published peak that ours makes use of; none where it is unknown."""
    kind, seconds = jax.devices()[0].device_kind, float(np.median(turns[:, 0]))
    found = peaks.utilisation(engine.flops() * len(engine.seeds), seconds, kind)
    return [] if found is None else [f'{found:.1%}']


@contextmanager
def our_loop(engine: Engine) -> Iterator[Racer]:
    """The engine's own loop, some chunks at a time."""
    ticks = engine.train(engine.init(), start=0, stop=FOREVER, cadences=[FOREVER])

    def advance(steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps // engine.chunk):
            tick = next(ticks)
        tick.drain()
        return time.perf_counter() - begun

    try:
        yield advance
    finally:
        ticks.close()


@contextmanager
def torch_process(
    words: Sequence[str], *, parameters: int, program: str = '_in_torch.py'
) -> Iterator[Racer]:
    """PyTorch in a process of its own, so that neither has the other's memory and threads.

    program: the file beside this one that is run with `words`.
    Raises ValueError where its network has another number of parameters than ours.
    """
    command = [sys.executable, str(Path(__file__).with_name(program)), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        answers = process.stdout

        def advance(steps: int) -> float:
            print(steps, file=process.stdin, flush=True)
            return float(answers.readline())

        try:
            if (count := int(answers.readline())) != parameters:
                raise ValueError(f'{words[0]}: {parameters:,} parameters, in PyTorch {count:,}')
            yield advance
        finally:
            process.kill()
