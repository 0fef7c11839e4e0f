"""What a study costs: measured rows for one seed and several, and the tables of its layers."""

import io
import re
import time
from contextlib import redirect_stderr, redirect_stdout

import flax.linen as nn
import jax
import optax
import pytest
import toy

from jaxdl.cli import bench as bench_module
from jaxdl.cli.bench import bench, summarise
from jaxdl.cli.library import load, names
from jaxdl.cli.main import main
from jaxdl.errors import DataMissingError
from jaxdl.game import Player, game
from jaxdl.net import trainable
from jaxdl.optim import freeze
from jaxdl.run import machine
from jaxdl.run.peaks import Peak
from jaxdl.study import Phase, Study

COLUMNS = {
    *('arm', 'seeds', 'layout', 'compile s', 'ms/step', 'examples/s', 'GFLOP/step'),
    *('share of peak', 'MFU', 'peak MB'),
}


@pytest.fixture(autouse=True)
def known_peak(monkeypatch):
    """A machine of 1 GFLOP/s, which need not be measured, and memory as it is."""
    monkeypatch.setattr(machine, 'peak_flops', lambda: 1e9)
    monkeypatch.setenv('JAXDL_MALLOPT', '0')


def typed(*words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def rows(text):
    """The cells of the tables in a text, header rows among them."""
    lines = [re.split('[│┃]', line)[1:-1] for line in text.splitlines() if line[:1] in '│┃']
    return [[cell.strip() for cell in cells] for cells in lines]


def number(cell):
    return float(cell.replace(',', '').rstrip('%'))


def test_bench_measures_one_seed_and_several():
    words = ('--arm', 'mlp', '--seconds', '0.05', '--seeds', '2', '--layout', 'vmap')
    code, out, _ = typed('bench', 'digits', *words)
    assert code == 0 and 'digits on cpu, measured peak 1 GFLOP/s' in out
    assert 'no MFU: no published peak of cpu' in ' '.join(out.split())
    header, one, two = rows(out)
    assert set(header) == COLUMNS
    for seeds, row in ((1, one), (2, two)):
        cells = dict(zip(header, row, strict=True))
        assert cells['arm'] == 'mlp' and cells['seeds'] == str(seeds)
        assert cells['layout'] == 'vmap, scan'
        assert number(cells['compile s']) > 0.1
        step = number(cells['ms/step']) / 1e3
        assert 0 < step < 1
        assert number(cells['examples/s']) == pytest.approx(64 * seeds / step, rel=0.01)
        # Forward: 64 rows, 64-182-10; backward the same for weights, and for inputs but the first.
        flops = seeds * 2 * 64 * (2 * (64 * 182 + 182 * 10) + 182 * 10)
        assert number(cells['GFLOP/step']) == pytest.approx(flops / 1e9, rel=0.01)
        assert number(cells['share of peak']) == pytest.approx(flops / step / 1e7, rel=0.02)
        assert number(cells['peak MB']) > 50
        assert cells['MFU'] == '-'


def test_the_time_of_a_step_is_what_the_clock_says(monkeypatch):
    """An engine whose chunks take 0.2 s, and its compilation and the wait at the end some more."""

    class Slow:
        chunk, rows = 10, 8

        def __init__(self, task, train, *, seeds, layout_name, chunk):
            self.seeds = seeds

        choice = type('Choice', (), {'name': 'vmap', 'scan': False})

        def init(self):
            return None

        def flops(self):
            return 1e6

        def train(self, states, *, start, stop, cadences):
            time.sleep(0.5)
            for wait in (0, 0.3, 0.3, 0.3, 0.3):
                time.sleep(0.2)
                yield type('Tick', (), {'drain': lambda self: time.sleep(wait)})()  # noqa: B023

    monkeypatch.setattr(bench_module, 'Engine', Slow)
    # On such a machine, a device of 1 GFLOP/s whose peak was published.
    monkeypatch.setattr(bench_module.peaks, 'PEAKS', (Peak('cpu', 1e9, 'here'),))
    study = Study('?', lambda: Phase(toy.task(), toy.train_source(), {}, 1, 1), {'a': {}}, seeds=2)
    options = {'arm': (), 'seeds': None, 'layout': 'auto', 'chunk': None, 'seconds': 0.35}
    table = bench('x', study, {}, **options)
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns['seeds'] == ['1', '2']
    for cell in columns['ms/step']:
        # Two chunks, and what is still under way at their end: (0.4 + 0.3) s / 20.
        assert 30 <= float(cell) < 50
    for cell, step, seeds in zip(columns['MFU'], columns['ms/step'], (1, 2), strict=True):
        assert number(cell) == pytest.approx(100 * seeds * 1e6 / (float(step) * 1e6), rel=0.03)
    for cell in columns['compile s']:
        assert 0.2 <= float(cell) <= 0.5


QUICK = ('transfer', 'ring_gan')


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in sorted(names())],
)
def test_summary_shows_every_network_that_is_trained(name):
    _, study = load(name)
    try:
        parts = list(summarise(study, ('tiny',), {}))
    except DataMissingError as missing:
        pytest.skip(str(missing))
    said = r'tiny(?:, phase \d)?: ([\d,]+) parameters(?: \(([\d,]+) trained.*\)| \(.*\))?, '
    said += r'[\d.]+ [kMG]?FLOP and [\d.]+ [kMG]?B a'
    idle = r'\w+: [\d,]+ parameters \(all frozen\), not called in a step'
    lines = [part for part in parts if isinstance(part, str) and not re.fullmatch(idle, part)]
    found = [re.match(said, line) for line in lines]
    assert all(found), lines
    tables = [part for part in parts if not isinstance(part, str)]
    assert len(tables) >= (2 if 'gan' in name else 1) * len(lines)
    counts = [int(table.columns[3].footer.replace(',', '')) for table in tables]
    # What no step calls, as the judge of an evaluation, is counted and has no table.
    whole, trained = (
        sum(int((match[i] or match[1]).replace(',', '')) for match in found) for i in (1, 2)
    )
    assert trained <= sum(counts) <= whole
    for table in tables:
        headers = [column.header for column in table.columns]
        assert headers == ['layer', 'type', 'output', 'parameters', 'FLOP']
        layers = [cell for cell in table.columns[3].cells if cell]
        assert len(layers) >= 2 and table.columns[4].footer.strip() not in ('', '0')


def test_summary_as_it_is_typed():
    code, out, err = typed('summary', 'digits', '--arm', 'mlp', '--batch', '32')
    assert code == 0 and err == ''
    assert re.match(r'mlp: 13,660 parameters, 1\.84 MFLOP and \d+ kB a training step of 32', out)
    cells = {row[0]: row for row in rows(out)}
    assert cells['Dense_0'] == ['Dense_0', 'Dense', '32x182', '11,830', '745 k']
    assert cells['total'][3] == '13,660'


def test_every_phase_is_measured_by_name():
    phase = Phase(toy.task(), toy.train_source(), {}, steps=1, every=1)
    study = Study('?', lambda: (phase, phase), {'a': {}}, tiny={})
    parts = list(summarise(study, (), {}))
    lines = [part for part in parts if isinstance(part, str)]
    assert [line.split(':')[0] for line in lines] == ['a, phase 0', 'a, phase 1']
    tables = [part for part in parts if not isinstance(part, str)]
    assert [table.title.split(':')[0] for table in tables] == ['net', 'net']
    state = jax.eval_shape(
        phase.task.init,
        jax.random.key(0),
        phase.train.make(jax.random.key(0), phase.train.resident, next(phase.train.open(0, 0))),
    )
    assert f': {trainable(state)} parameters' in lines[0]


def test_every_network_is_listed_and_what_is_frozen_counted_apart():
    def loss(nets, batch, key):
        y, net = nets['mover'](batch['x'])
        return (y**2).mean() + nets['judge'](batch['x'])[0].mean(), ({**nets, 'mover': net}, {})

    def inputs(batch):
        return (batch['x'],)

    opt = freeze(optax.sgd(0.1), 'bias')
    players = {
        'mover': Player(nn.Dense(4), loss, opt, inputs),
        'judge': Player(nn.Dense(4), None, None, inputs),  # equal, and yet another network
        'idle': Player(nn.Dense(4), None, None, inputs),  # that no step calls
    }
    phase = Phase(game(players, lambda *_: {}), toy.train_source(), {}, steps=1)
    first, *tables = summarise(Study('?', lambda: phase, {'a': {}}), (), {})
    assert first.startswith('a: 72 parameters (20 trained, 52 frozen), ')
    assert [table.title for table in tables] == [
        'mover: Dense on 8x5 (20 trained, 4 frozen)',
        'judge: Dense on 8x5 (all frozen)',
        'idle: Dense on 8x5 (all frozen), not called in a step',
    ]
    assert [table.columns[3].footer for table in tables] == ['24'] * 3
