"""The raced networks have the sizes they are said to have, and a race adds up."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from experiments import _against_torch as against
from experiments import throughput
from jaxdl.cli.library import phases_of, resolve
from jaxdl.engine.engine import Engine
from jaxdl.errors import UsageError
from jaxdl.net import Net, trainable
from jaxdl.run.peaks import Peak

PARAMETERS = {
    'cnn': 4_216_522,
    # He et al. 2015: stem 1,856, stages of 147,968, 525,568, 2,099,712 and 8,393,728, head 5,130.
    'resnet18': 11_173_962,
    # Convolutions 4,709,664 down and 2,350,080 up, up-convolutions 696,800, norms 5,888, head 66.
    'unet': 7_762_498,
    # 6 blocks of 1,774,464, patches 18,816, positions 98,688, token 384, norm 768, head 3,850.
    'vit': 10_769_290,
    'lenet': 61_706,
    # Embedding 8,320, layers of 394,240 and 525,312, output 16,705.
    'lstm': 944_577,
    # 4 blocks of 198,272, embeddings 8,320 and 8,192, norm 256.
    'gpt': 809_856,
    # 6 blocks of 1,774,464, embeddings 24,960 and 98,304, norm 768.
    'gpt_wide': 10_770_816,
    # 4 blocks of 789,760, embeddings 2,081,280 and norm 512, heads: 66,304 of words and their
    # biases 8,000, pooler 65,792 and 514.
    'bert': 5_381_442,
    'gpt2': 124_439_808,
}


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters(name):
    load = throughput.WORKLOADS[name]
    x = jnp.zeros((1, *load.row), jnp.int32 if load.reads else jnp.float32)
    net = jax.eval_shape(lambda key: Net.init(load.module, key, x), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(net.params)) == PARAMETERS[name]
    output, _ = jax.eval_shape(lambda net: net(x), net)
    logits = getattr(output, 'words', output)
    assert logits.shape == (1, *load.row[: load.labelled], load.classes)


def test_every_token_of_a_text_is_predicted():
    (phase,) = phases_of(
        throughput.study, resolve(throughput.study, 'tiny', {'network': 'text', 'batch': 3})
    )
    batch = phase.train.make(jax.random.key(0), phase.train.resident, next(phase.train.open(0, 0)))
    assert batch['x'].shape == batch['y'].shape == (3, 8) and batch['x'].max() < 9
    state = jax.eval_shape(phase.task.init, jax.random.key(0), batch)
    jax.eval_shape(phase.task.step, jax.random.key(1), state, batch)


def test_a_graph_is_a_workload_too():
    module = throughput.GRAPHS['gcn'].module
    assert module.features == (16, 7) and module.first.keywords == {'columns': 1433}
    (phase,) = phases_of(
        throughput.study, resolve(throughput.study, 'tiny', {'network': 'citations'})
    )
    batch = phase.train.make(jax.random.key(0), phase.train.resident, next(phase.train.open(0, 0)))
    assert batch['labelled'].sum() == 6 and batch['values'].shape == (1, 30)
    state = jax.eval_shape(phase.task.init, jax.random.key(0), batch)
    jax.eval_shape(phase.task.step, jax.random.key(1), state, batch)


GAMES = {
    # Generator 409,600, 524,288, 131,072 and 3,072, norms 896; critic 3,072, 131,072, 524,288 and
    # 4,096, norms 768.
    'dcgan': 1_732_224,
    # As the same networks in PyTorch: mapping 33,280, synthesis 255,667, critic 288,993.
    'stylegan2': 577_940,
}


@pytest.mark.parametrize('name', mostly_slow(GAMES))
def test_a_game_is_a_workload_too(name):
    (phase,) = phases_of(throughput.study, resolve(throughput.study, name, {}))
    batch = phase.train.make(jax.random.key(0), phase.train.resident, next(phase.train.open(0, 0)))
    assert batch['x'].shape == (throughput.GAMES[name].batch, 32, 32, 3)
    state = jax.eval_shape(phase.task.init, jax.random.key(0), batch)
    assert trainable(state) == GAMES[name]
    _, metrics = jax.eval_shape(phase.task.step, jax.random.key(1), state, batch)
    assert metrics.keys() >= {'critic/loss', 'generator/loss'}


def test_a_turn_of_a_game_has_whole_cycles_of_both():
    calls = []

    def racer(name):
        def run(steps):
            calls.append((name, steps))
            return steps * 0.01

        return run

    engine = type('Engine', (), {'chunk': 16, 'seeds': [0]})()
    ours, theirs = racer('ours'), {'torch': racer('torch')}
    turns = against.raced(ours, theirs, engine, rounds=1, seconds=0.4, cycle=16)
    np.testing.assert_allclose(turns, [[0.01, 0.01]])
    assert {steps % 16 for _, steps in calls} == {0}
    assert calls[-2:] == [('ours', 32), ('torch', 32)]


def step_of(precision):
    (phase,) = phases_of(
        throughput.study, resolve(throughput.study, 'tiny', {'precision': precision})
    )
    sent = next(phase.train.open(0, 0))
    batch = phase.train.make(jax.random.key(0), phase.train.resident, sent)
    state = phase.task.init(jax.random.key(0), batch)
    return phase.task.step, (jax.random.key(1), state, batch)


@pytest.mark.slow
def test_half_precision_is_of_the_network_and_not_of_its_parameters():
    step, args = step_of('bfloat16')
    assert 'bf16[8,12,12,4]' in str(jax.make_jaxpr(step)(*args))
    whole, own = step_of('float32')  # what a network computes in is said in its state
    assert 'bf16' not in str(jax.make_jaxpr(whole)(*own))
    assert all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(step(*args)[0]))


def test_a_race_is_in_turn_and_counts_every_seed(monkeypatch):
    calls = []

    def racer(name, pace):
        def run(steps):
            calls.append((name, steps))
            return steps * pace

        return run

    engine = type('Engine', (), {'chunk': 4, 'seeds': [0, 1, 2]})()
    turns = against.raced(
        racer('ours', 0.01), {'torch': racer('torch', 0.02)}, engine, rounds=2, seconds=0.4
    )
    # Ours trains 3 seeds in 0.01 s, PyTorch one in 0.02 s: a turn of each lasts 0.4 s.
    np.testing.assert_allclose(turns, [[0.01, 0.06]] * 2)
    assert calls[-4:] == [('ours', 40), ('torch', 20)] * 2
    assert against.cells(turns) == ['10.0', '60.0', '0.17']
    more = np.stack([[0.01, 0.01 / r, np.nan] for r in (0.5, 0.6, 0.7, 0.8, 0.9, 1.5)])
    assert against.cells(more)[3:] == ['0.75 [0.50, 1.50]', '–']
    engine.flops = lambda: 2e6
    assert against.mfu(engine, turns) == []
    monkeypatch.setattr(against.peaks, 'PEAKS', (Peak('cpu', 1e9, 'here'),))
    assert against.mfu(engine, turns) == ['60.0%']  # 6 MFLOP in 10 ms


def test_our_loop_trains_the_steps_it_is_told_to():
    (phase,) = phases_of(throughput.study, resolve(throughput.study, 'tiny', {}))
    engine = Engine(phase.task, phase.train, seeds=[0], chunk=2, layout_name='loop')
    with against.our_loop(engine) as advance:
        assert 0 < advance(2)
        assert 0 < advance(4) < 60


def test_a_process_with_another_network_is_refused(tmp_path, monkeypatch):
    program = tmp_path / '_in_torch.py'
    program.write_text('print(7, flush=True)\nprint(0.25 * int(input()), flush=True)\n')
    monkeypatch.setattr(against, '__file__', str(tmp_path / '_against_torch.py'))
    with against.torch_process(['net'], parameters=7) as advance:
        assert advance(2) == 0.5
    with pytest.raises(ValueError, match='net: 8 parameters, in PyTorch 7'):
        with against.torch_process(['net'], parameters=8):
            raise AssertionError('entered')


def test_without_torch_a_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(against, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match='make bench installs it'):
        against.main(throughput.study, [])


def test_a_record_is_of_all_arms():
    with pytest.raises(UsageError, match='--record: it records all arms'):
        against.main(throughput.study, ['--record', '--arm', 'tiny'])


def test_the_table_of_a_race(tmp_path, monkeypatch, capsys):
    @contextmanager
    def process(words, *, parameters):
        assert words[:3] == ['small', '8', '0.001'] and parameters > 1000
        yield lambda steps: 1e-9

    monkeypatch.setattr(against, 'find_spec', lambda name: True)
    monkeypatch.setattr(against, 'torch_process', process)
    monkeypatch.setattr(against, 'apart', lambda work, *args: work(*args))
    monkeypatch.setenv('JAXDL_MALLOPT', '0')
    against.machine.tune_memory.cache_clear()
    monkeypatch.setattr(against, 'version', lambda name: '1.0')
    monkeypatch.setattr(against, '__file__', str(tmp_path / '_against_torch.py'))
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{against.BEGIN}\nold\n{against.END}\nafter\n')
    study = throughput.study._replace(arms={'small': {}})
    against.main(study, ['--record', '--rounds', '1', '--seconds', '1e-6'])
    out = capsys.readouterr().out
    assert 'small' in out and 'jaxdl / eager' in out and 'memory kept' in out
    text = readme.read_text()
    assert 'There is no MFU: no published peak of cpu' in text
    assert '| small | 1 |' in text and 'old' not in text and text.endswith('after\n')
