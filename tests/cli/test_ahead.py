"""`jaxdl compile`: a step for devices that are not here, and what is said where it cannot be."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import optax
import pytest
import toy

from jaxdl.cli import ahead
from jaxdl.cli.ahead import MARK, TooBigError, compiled_ahead, devices_of, environment, look_ahead
from jaxdl.cli.library import phases_of
from jaxdl.cli.main import main
from jaxdl.data.stream import synthetic
from jaxdl.engine.engine import Engine
from jaxdl.engine.fitting import enough_parts
from jaxdl.errors import UsageError
from jaxdl.models.gpt import GPT
from jaxdl.objectives.language import language_model
from jaxdl.run.chips import read_topology
from jaxdl.study import Phase, Study

STUDY = Study('?', lambda: Phase(toy.task(), toy.train_source(), {}, 1, 1), {'a': {}}, seeds=1)
HERE = read_topology('h100x4')


def found(layout, topology=HERE, seeds=1):
    engine = Engine(
        toy.task(),
        toy.train_source(),
        seeds=range(seeds),
        layout_name=layout,
        ahead=devices_of(HERE),
    )
    return engine, look_ahead(engine, topology)


def test_a_step_is_compiled_and_predicted():
    engine, it = found('data=4')
    assert it.memory.parameters == 4 * 74 and it.over < 0
    assert it.formula == engine.flops() / 4
    assert it.donated >= it.memory.parameters + it.memory.optimizer  # at least these, in place
    (reduced,) = [each for each in it.links.collectives if each.kind == 'all-reduce']
    assert reduced.size == 4 and reduced.bytes >= it.memory.parameters
    assert it.prediction.compute == pytest.approx(it.formula / 989.5e12)
    assert it.prediction.links == pytest.approx(it.links.sent / 450e9)
    traffic = 2 * (it.memory.parameters + it.memory.optimizer + it.memory.activations)
    assert it.prediction.memory == pytest.approx(traffic / 3350e9)


def test_seeds_apart_send_nothing():
    engine, it = found('seeds=2', seeds=2)
    assert not it.links.collectives and it.prediction.links == 0
    assert it.formula == engine.flops()


def test_what_is_too_big_says_what_would_help():
    chip = HERE.chip._replace(memory=1000.0)
    engine, it = found('data=4', HERE._replace(chip=chip))
    line = ahead.advice('a', engine, HERE._replace(chip=chip), it)
    assert it.over == sum(it.memory) - 1000
    assert 'does not fit h100x4: ' in line and 'the largest tensors are ' in line
    assert 'cut the state over more devices (fsdp=' in line


@pytest.mark.slow
def test_micro_batches_that_would_make_it_fit_are_named():
    """Of the sixteen rows of each of two devices: state and data stay, activations are cut."""
    topology = read_topology('h100x2')
    study = Study('?', wide, {'a': {}}, seeds=1)

    def look(room=None, **asked):
        (phase,) = phases_of(study, asked)
        engine = Engine(
            phase.task, phase.train, seeds=[0], layout_name='data=2', ahead=devices_of(topology)
        )
        chip = topology.chip._replace(memory=room or topology.chip.memory)
        where = topology._replace(chip=chip)
        found = look_ahead(engine, where)
        return found, ahead.advice('a', engine, where, found) if found.over > 0 else ''

    whole, _ = look()
    stays = whole.memory.state + whole.memory.data
    room = float(stays + whole.memory.activations // 3)
    found, line = look(room)
    assert found.over > 0 and 'smaller micro-batches, one after another (--accumulate 4)' in line
    assert 'remat, which GPT can do' in line
    cut, _ = look(room, accumulate=16)
    assert cut.memory.activations < whole.memory.activations / 2


def wide() -> Phase:
    def draw(key):
        return {'tokens': jax.random.randint(key, (32, 65), 0, 16)}

    network = GPT(16, 64, width=16, depth=2, heads=2)
    return Phase(language_model(network, optax.sgd(0.1)), synthetic(draw, name='noise'), {}, 1)


def test_the_fewest_parts_that_are_enough():
    assert enough_parts(3.2, rows=16) == 4
    assert enough_parts(1.1, rows=16, now=4) == 8
    assert enough_parts(0.5, rows=16) == 2
    assert enough_parts(17, rows=16) is None
    assert enough_parts(2, rows=0) is None


def test_a_refusal_of_the_compiler_is_read():
    said = 'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. '
    assert ahead._excess(f'{said}Exceeded hbm capacity by 4.75G.') == 4.75 * 2**30
    said = 'RESOURCE_EXHAUSTED: E1000: Ran out of memory on HBM, the total memory required for '
    said += 'HLO temporaries (74.58G) exceeds available HBM (15.75G).'
    assert ahead._excess(said) == pytest.approx(58.83 * 2**30)
    assert ahead._excess('INTERNAL: something else') is None


def test_the_tables(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv(MARK, 'h100x4')  # as in the process that it starts
    file = tmp_path / 'mine.py'
    file.write_text(
        'import toy\n'
        'from jaxdl.study import Phase, Study\n'
        'def trial() -> Phase:\n'
        '    return Phase(toy.task(), toy.train_source(), {}, 1, 1)\n'
        "study = Study('?', trial, {'a': {}}, seeds=1)\n"
    )
    words = ('compile', str(file), '--topology', 'h100x4', '--layout', 'data=4')
    assert main(words) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'compiled for 4 simulated CPU devices, not for that chip' in out
    for word in ('fits', 'yes: 80.0 GB of 80.0 GB', 'all-reduce', 'predicted, not measured'):
        assert word in out
    assert 'NVIDIA H100 data sheet, 2023, SXM' in out


def test_a_process_of_its_own(monkeypatch):
    started = []

    def run(command, *, env, check):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, 'run', run)
    monkeypatch.setenv('XLA_FLAGS', '--a=b --xla_force_host_platform_device_count=4')
    words = ['digits', '--topology', 'a100x16', '--layout', 'data=16']
    assert ahead.in_own_process(words) == 3
    ((command, env),) = started
    assert command[0] == sys.executable and command[-5:] == words
    assert env['XLA_FLAGS'].split() == ['--a=b', '--xla_force_host_platform_device_count=16']
    assert (env[MARK], env['JAX_PLATFORMS'], env['JAXDL_PLAIN_LAYERS']) == ('a100x16', 'cpu', '1')
    monkeypatch.setenv(MARK, 'a100x16')
    assert ahead.in_own_process(words) is None
    assert ahead.in_own_process(['digits', '--help', '--topology', 'x']) is None


@pytest.mark.parametrize(
    'words,says',
    [
        (('--topology', 'v5:16x16'), "--topology: unknown 'v5:16x16'; did you mean 'v5e:16x16'"),
        (('--topology=h100',), "--topology: unknown 'h100'; did you mean 'h100x8'"),
        ((), '--topology: say for which devices'),
        (('--topolgy', 'h100x8'), "unknown option '--topolgy'; did you mean '--topology'"),
        (('--topology', 'v5e:4x4'), "pip install 'jaxdl[compile]'"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert main(['compile', 'digits', *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize(
    'layout,says',
    [
        ('data=3', 'it is for 3 devices, which does not divide the 4'),
        ('pmap', "'pmap' is no single program"),
        ('loop', "'loop' is no single program over devices"),
    ],
)
def test_layouts_that_cannot_be(layout, says):
    options = {'topology': 'h100x4', 'arm': (), 'seeds': None, 'layout': layout}
    with pytest.raises(UsageError, match=says):
        list(compiled_ahead(STUDY, {}, **options))


def test_too_big_ends_with_1(monkeypatch):
    chip = HERE.chip._replace(memory=1000.0)
    monkeypatch.setattr(ahead, 'read_topology', lambda text: HERE._replace(chip=chip))
    options = {'topology': 'h100x4', 'arm': (), 'seeds': None, 'layout': 'data=4'}
    parts = compiled_ahead(STUDY, {}, **options)
    with pytest.raises(TooBigError, match='a does not fit h100x4') as raised:
        for _ in parts:
            pass
    assert raised.value.code == 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason='needs jaxdl[compile]')
def test_a_step_for_tpus(tmp_path):
    topology = read_topology('v5e:2x2')
    command = [sys.executable, '-m', 'jaxdl.cli.main', 'compile', 'digits', '--arm', 'mlp']
    command += ['--topology', topology.name, '--layout', 'data=4', '--seeds', '1']
    done = subprocess.run(
        command,
        env=environment(topology) | {'PYTHONPATH': str(Path(ahead.__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    out = ' '.join(done.stdout.split())
    assert done.returncode == 0, done.stderr
    assert 'on 4 x v5e' in out and 'simulated' not in out and 'all-reduce' in out
    assert len(jax.devices()) == 4  # and nothing of it reached this process
