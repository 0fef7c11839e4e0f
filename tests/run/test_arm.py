"""The run of an arm: it stops, dies, is damaged, diverges, and ends as if nothing had happened."""

import json
import os
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from kinds import KINDS
from pace import mostly_slow, of_a_study

import jaxdl.run.stage
from jaxdl.checkpoint.manager import Checkpoints, load_weights
from jaxdl.cli.library import load, names, phases_of, resolve
from jaxdl.cli.standing import lengths
from jaxdl.data.stream import nothing, synthetic
from jaxdl.engine.choice import Choice
from jaxdl.engine.engine import Engine
from jaxdl.errors import (
    CheckpointError,
    DataMissingError,
    DivergedError,
    InterruptedRunError,
    JaxdlError,
    PreemptedError,
    UsageError,
)
from jaxdl.files import read_json
from jaxdl.game import ema
from jaxdl.interop.files import Weights, write_weights
from jaxdl.keys import key_at, key_for
from jaxdl.metrics import About, Each, Mean
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.keep_best import keep_best
from jaxdl.run.arm import evaluate_arm, run_arm
from jaxdl.run.config import Config, agree, read_config
from jaxdl.run.lock import locked
from jaxdl.run.record import Record, read_done, read_metrics
from jaxdl.run.stage import Options, refuse_unmeasured
from jaxdl.study import Eval, Phase
from jaxdl.task import Task

TRAIN, TEST = toy.train_source(), toy.test_source()
TASK = toy.task()
PLAIN = (Phase(TASK, TRAIN, {'test': TEST}, steps=6, every=4),)  # measures at steps 4 and 6
# Nothing of this one's parameters ever moves.
FROZEN = (
    classifier(toy.Small(), optax.sgd(0.0), classes=2, shadow=ema(0.9)),
    TRAIN,
    {'test': TEST},
)

FIRST_KERNEL = "['net']['net']['params']['Dense_0']['kernel']"

_engines = {}


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """Runs of the same task in this file share their compiled programs; nothing else of a run."""
    make = jaxdl.run.stage.Engine

    def engine(task, train, *, say, note, evaluations, **options):
        told = {name: repr(value) for name, value in options.items()}
        tests = ((name, id(test.source), *test[1:]) for name, test in evaluations.items())
        key = (id(task), id(train), *told.values(), *tests)
        if key not in _engines:
            made = make(task, train, evaluations=evaluations, **options)
            _engines[key] = made, task, train  # kept: an id is one object's while it lives
        return _engines[key][0]

    monkeypatch.setattr(jaxdl.run.stage, 'Engine', engine)


def run(folder, phases=PLAIN, *, layout='vmap', chunk=1, seeds=(0, 1), init_from=None, **params):
    config = Config('toy', 'arm', list(seeds), params, lengths(phases), init_from)
    options = Options(layout=layout, chunk=chunk, tensorboard=False)
    return run_arm(folder, phases, config, env={}, options=options)


def stop_at(monkeypatch, step, number=signal.SIGTERM, times=1):
    """Send this process a signal when it has done `step` steps."""
    progress = Record.progress

    def spy(record, at, **more):
        progress(record, at, **more)
        for _ in range(times if at == step else 0):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Record, 'progress', spy)


def interrupted(folder, monkeypatch, step, *args, **options):
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(PreemptedError, match=f'saved at step {step}; the same command'):
            run(folder, *args, **options)


def dying(folder, monkeypatch, owner, name, *args, when=lambda *args: True, **options):
    """Run and die, as by SIGKILL, in a call of `owner.name`."""
    with monkeypatch.context() as patch:
        method = getattr(owner, name)

        def die(self, *args, **more):
            if when(*args):
                raise KeyboardInterrupt
            return method(self, *args, **more)

        patch.setattr(owner, name, die)
        with pytest.raises(KeyboardInterrupt):
            run(folder, *args, **options)


def final(folder):
    """Every array of the newest checkpoint."""
    saved = load_weights(folder / 'checkpoints')
    leaves = jax.tree_util.tree_leaves_with_path(saved.state)
    return {'step': np.array(saved.step)} | {
        jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves
    }


def recorded(folder):
    """What a run wrote, but for the seconds: lines, DONE, arrays, and the bytes of its samples."""
    lines = [{**line, 'seconds': 0} for line in read_metrics(folder)]
    done = read_done(folder) | {'seconds': 0}
    arrays = dict(np.load(folder / 'arrays.npz')) if (folder / 'arrays.npz').exists() else {}
    held = {name: array.tolist() for name, array in arrays.items()}
    samples = {path.name: path.read_bytes() for path in sorted(folder.glob('samples/*'))}
    return lines, done, held, samples


def assert_same_run(folder, undisturbed):
    assert recorded(folder) == recorded(undisturbed)
    got, want = final(folder), final(undisturbed)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def damage(checkpoint):
    path = max((p for p in checkpoint.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """The finished run of PLAIN."""
    folder = tmp_path_factory.mktemp('undisturbed') / 'arm'
    payload = run(folder)
    return folder, payload


@pytest.mark.parametrize(
    'name', [*KINDS, *(pytest.param(n, marks=of_a_study(n)) for n in sorted(names()))]
)
def test_law_2_stopped_and_started_again_equals_never_stopped(name, tmp_path, monkeypatch):
    try:
        phases = KINDS[name]() if name in KINDS else tiny(name)
    except DataMissingError as missing:
        pytest.skip(str(missing))
    assert len({id(phase.task) for phase in phases}) == len(phases)
    phases = tuple(phase._replace(steps=5, every=3) for phase in phases)
    run(tmp_path / 'a', phases)
    interrupted(tmp_path / 'b', monkeypatch, 2, phases)  # between two evaluations
    interrupted(tmp_path / 'b', monkeypatch, 3, phases)  # at one
    interrupted(tmp_path / 'b', monkeypatch, 5, phases)  # at the last
    run(tmp_path / 'b', phases)
    assert_same_run(tmp_path / 'b', tmp_path / 'a')


def tiny(name):
    """The phases of an experiment's tiny arm."""
    _, study = load(name)
    return phases_of(study, resolve(study, 'tiny', {}))


def test_what_a_finished_run_holds(undisturbed):
    folder, payload = undisturbed
    assert read_done(folder) == payload
    assert payload['parameters'] == 5 * 8 + 16 + 8 * 2 + 2
    assert payload['steps'] == 6 and payload['seconds'] > 0
    # Eight rows through 5 x 8 and 8 x 2 weights: forward, and the gradients of both and of what is
    # between them; two operations each.
    assert payload['flops'] == 6 * 2 * 8 * (2 * (5 * 8 + 8 * 2) + 8 * 2)
    assert payload['epochs'] == [None]  # the rows are no table's
    (told,) = read_json(folder / 'about.json')['phases']
    assert told['steps'] == 6 and told['players'][0]['network'] == 'Small()'
    lines = read_metrics(folder)
    assert [(line['step'], line['phase']) for line in lines] == [(4, 0), (6, 0)]
    assert payload['metrics'] == lines[-1]['metrics']
    assert {'train/loss', 'test/loss', 'test/accuracy'} <= payload['metrics'].keys()
    assert all(len(values) == 2 for values in payload['metrics'].values())
    with np.load(folder / 'arrays.npz') as arrays:
        assert arrays['test/confusion'].shape == (2, 2, 2)
        assert arrays['test/confusion'].sum((1, 2)).tolist() == [100, 100]
        right = arrays['test/accuracy/each']
        assert right.shape == (2, 100)
        np.testing.assert_allclose(right.mean(1), payload['metrics']['test/accuracy'], rtol=1e-6)
    log = (folder / 'log.txt').read_text()
    assert 'phase 0: 6 steps, 74 parameters, toy; layout vmap (asked for), 1 steps a look' in log


def test_the_numbers_are_those_of_the_saved_state(undisturbed):
    folder, payload = undisturbed
    shadows = load_weights(folder / 'checkpoints').state['states']['net']['net']['shadow']
    for seed in (0, 1):
        p, m = (jax.tree.map(lambda x: x[seed], shadows[k]) for k in ('params', 'memory'))  # noqa: B023
        x, norm = toy.X @ p['Dense_0']['kernel'], m['batch_stats']['BatchNorm_0']
        x = (x - norm['mean']) / np.sqrt(norm['var'] + 1e-5)
        x = np.maximum(x * p['BatchNorm_0']['scale'] + p['BatchNorm_0']['bias'], 0)
        logits = x @ p['Dense_1']['kernel'] + p['Dense_1']['bias']
        accuracy = (logits.argmax(-1) == toy.Y).mean()
        assert payload['metrics']['test/accuracy'][seed] == pytest.approx(accuracy)


@pytest.mark.parametrize('step', mostly_slow([5, 1, 4, 6]))
def test_sigterm_saves_where_it_is_and_the_run_goes_on(step, undisturbed, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, step)
    assert load_weights(tmp_path / 'checkpoints').step == step
    assert f'saved at step {step}' in (tmp_path / 'log.txt').read_text()
    run(tmp_path)
    assert f'going on at step {step}' in (tmp_path / 'log.txt').read_text()
    assert_same_run(tmp_path, undisturbed[0])


@pytest.mark.parametrize('private', [False, True])
def test_the_order_of_the_data_after_a_resume(private, tmp_path, monkeypatch):
    steps, batch = 5, 8
    plain = toy.train_source(batch=batch, private=private)

    def make(key, resident, rows):
        return {**plain.make(key, resident, rows), 'rows': rows}

    def init(key, batch):
        return {'task': TASK.init(key, batch), 'seen': jnp.zeros((steps, 8), jnp.int32)}

    def step(key, state, batch):
        task, metrics = TASK.step(key, state['task'], batch)
        at = state['task']['net'].turn
        return {'task': task, 'seen': state['seen'].at[at].set(batch['rows'])}, metrics

    task = TASK._replace(init=init, step=step)
    source = plain.__class__(plain.open, make, plain.resident, private=private)
    phases = (Phase(task, source, {}, steps=steps, every=steps),)
    interrupted(tmp_path, monkeypatch, 2, phases)
    run(tmp_path, phases)
    seen = load_weights(tmp_path / 'checkpoints').state['states']['seen']
    for index, seed in enumerate((0, 1)):
        stream = plain.open(seed if private else 0, 0)
        np.testing.assert_array_equal(seen[index], [next(stream) for _ in range(steps)])


def test_the_first_ctrl_c_saves_and_the_second_does_not(tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        stop_at(patch, 2, signal.SIGINT)
        with pytest.raises(InterruptedRunError, match='saved at step 2') as stopped:
            run(tmp_path)
    assert stopped.value.code == 130
    assert 'Ctrl-C again stops without saving' in capfd.readouterr().err
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, 3, signal.SIGINT, times=2)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert load_weights(tmp_path / 'checkpoints').step == 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_after_the_last_step_is_not_forgotten(undisturbed, tmp_path, monkeypatch):
    done = Record.done
    with monkeypatch.context() as patch:
        patch.setattr(
            Record,
            'done',
            lambda self, payload: (os.kill(os.getpid(), signal.SIGTERM), done(self, payload)),
        )
        with pytest.raises(PreemptedError, match='is done; the same command goes on'):
            run(tmp_path)
    assert_same_run(tmp_path, undisturbed[0])


def test_a_finished_run_is_returned_without_training(undisturbed, monkeypatch):
    folder, payload = undisturbed
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.name != 'LOCK'}
    monkeypatch.setattr(Engine, 'init', None)
    monkeypatch.setattr(Engine, 'train', None)
    assert run(folder) == payload
    after = {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.name != 'LOCK'}
    assert {path for path in before if path.is_file() and before[path] != after[path]} == set()


def test_checkpoints_of_another_run_are_not_believed(tmp_path, monkeypatch):
    mine, other = tmp_path / 'mine', tmp_path / 'other'
    interrupted(mine, monkeypatch, 2, lr=0.1)
    interrupted(other, monkeypatch, 3, lr=0.2)
    shutil.rmtree(mine / 'checkpoints')
    shutil.copytree(other / 'checkpoints', mine / 'checkpoints')  # of equal shapes
    with pytest.raises(CheckpointError, match='no valid checkpoint is left'):
        run(mine, lr=0.1)
    assert load_weights(other / 'checkpoints').step == 3  # where they belong they are


@pytest.mark.parametrize('at', [1, 4])
def test_a_changed_configuration_is_refused_and_named(at, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, at, width=8, lr=0.1)
    config = (tmp_path / 'config.json').read_bytes()
    with pytest.raises(UsageError) as refused:
        run(tmp_path, width=8, lr=0.2, seeds=(0, 1, 2))
    line = str(refused.value)
    assert 'params.lr: 0.1 there, 0.2 now; seeds: [0, 1] there, [0, 1, 2] now' in line
    assert 'width' not in line and '--workdir' in line and '\n' not in line
    assert (tmp_path / 'config.json').read_bytes() == config
    with pytest.raises(UsageError, match=r'phases.0.steps: 6 there, 7 now'):
        run(tmp_path, (PLAIN[0]._replace(steps=7),), width=8, lr=0.1)


def test_where_nothing_was_trained_the_configuration_may_change(undisturbed, tmp_path):
    agree_on = Config('toy', 'arm', [0], {'lr': 9}, [{'steps': 1, 'every': 1}])
    agree(tmp_path, agree_on, trained=False)
    run(tmp_path)
    assert_same_run(tmp_path, undisturbed[0])


def test_a_config_that_json_cannot_hold_as_it_is_still_agrees(tmp_path):
    config = Config('toy', 'arm', [0], {'clip': float('inf'), 'widths': (1, 2)}, [])
    agree(tmp_path, config, trained=False)
    agree(tmp_path, config, trained=True)


def test_a_damaged_newest_checkpoint_costs_only_its_steps(undisturbed, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 5)
    damage(tmp_path / 'checkpoints' / '5')
    run(tmp_path)
    log = (tmp_path / 'log.txt').read_text()
    assert re.search(r'checkpoint 5 is not valid .* moved to .*quarantine/5', log)
    assert 'going on at step 4' in log
    assert_same_run(tmp_path, undisturbed[0])


def test_a_kill_while_a_sample_is_written_does_not_stop_the_run(undisturbed, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 5)
    for name in ('.test-images_00000004.png.tmp', '.77-0123abcd.tmp'):
        (tmp_path / 'samples').mkdir(exist_ok=True)
        (tmp_path / 'samples' / name).write_bytes(b'half')
    run(tmp_path)
    assert_same_run(tmp_path, undisturbed[0])  # no sample but the undisturbed run's


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_save_as_sigterm_does(number, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 2, number, times=2)
        with pytest.raises(PreemptedError, match='saved at step 2; the same command') as stopped:
            run(tmp_path)
    assert stopped.value.code == 75
    assert load_weights(tmp_path / 'checkpoints').step == 2


@pytest.mark.parametrize('lost', ['checkpoints', 'steps', 'checkpoints and what stands beside'])
def test_a_run_that_lost_its_checkpoints_never_starts_from_zero(lost, tmp_path, monkeypatch):
    phases = (PLAIN[0]._replace(every=1),)
    interrupted(tmp_path, monkeypatch, 4, phases)
    lines = read_metrics(tmp_path)
    if lost == 'steps':
        for step in (3, 4):
            shutil.rmtree(tmp_path / 'checkpoints' / str(step))
    else:
        shutil.rmtree(tmp_path / 'checkpoints')
    if lost.endswith('beside'):  # then metrics.jsonl still knows
        (tmp_path / 'checkpoints.json').unlink()
    for _ in range(2):
        with pytest.raises(CheckpointError, match='start from zero in another --workdir') as gone:
            run(tmp_path, phases)
        assert gone.value.code == 77
    with pytest.raises(CheckpointError if lost[-1] == 's' else UsageError):
        evaluate_arm(tmp_path, phases, read_config(tmp_path), options=Options('vmap', 1, False))
    assert read_metrics(tmp_path) == lines


def change(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_a_damaged_line_does_not_stop_a_run(undisturbed, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 5)
    change(tmp_path / 'metrics.jsonl', b'"step": 4', b'"step": 3')
    payload = run(tmp_path)
    assert payload['metrics'] == undisturbed[1]['metrics']
    assert 'metrics.jsonl: line 1 is damaged' in (tmp_path / 'log.txt').read_text()
    assert [line['step'] for line in read_metrics(tmp_path)] == [6]
    assert run(tmp_path) == payload


@pytest.mark.parametrize('left', [None, 0, 1])
def test_lines_that_are_gone_are_said_though_no_line_is_damaged(left, tmp_path, monkeypatch):
    phases = (PLAIN[0]._replace(every=1),)
    interrupted(tmp_path, monkeypatch, 4, phases)
    path = tmp_path / 'metrics.jsonl'
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink() if left is None else path.write_bytes(b''.join(lines[:left]) + b'{"torn')
    run(tmp_path, phases)
    log = (tmp_path / 'log.txt').read_text()
    steps = '2, 3, 4' if left else '1, 2, 3, 4'
    assert f'metrics.jsonl has lost the numbers of step {steps}; the curves' in log
    assert [line['step'] for line in read_metrics(tmp_path)] == [1, 5, 6] if left else [5, 6]


def test_no_other_numbers_stand_for_those_of_a_damaged_last_line(tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, Record, 'done')
    change(tmp_path / 'metrics.jsonl', b'"step": 6', b'"step": 5')
    with pytest.raises(JaxdlError, match='metrics.jsonl has lost the last numbers of a phase'):
        run(tmp_path)
    assert not (tmp_path / 'DONE').exists()


def test_a_changed_digit_of_what_is_finished_is_said(undisturbed, tmp_path):
    for name, old, new in (
        ('DONE', b'"steps": 6', b'"steps": 7'),
        ('config.json', b'"study": "toy"', b'"study": "boy"'),
        ('metrics.jsonl', b'}\n', b'} '),
    ):
        folder = tmp_path / name
        shutil.copytree(undisturbed[0], folder)
        change(folder / name, old, new)
        if name == 'metrics.jsonl':  # one damaged line, which its reader says
            assert run(folder) == undisturbed[1]
            continue
        with pytest.raises(JaxdlError, match=f'{name} was changed since it was written; '):
            run(folder)
    (tmp_path / 'DONE' / 'DONE').unlink()  # as its line says: it is made again
    assert run(tmp_path / 'DONE')['metrics'] == undisturbed[1]['metrics']


def test_a_run_without_a_valid_checkpoint_never_starts_from_zero(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 5)
    for step in (4, 5):
        damage(tmp_path / 'checkpoints' / str(step))
    lines = read_metrics(tmp_path)
    for _ in range(2):
        with pytest.raises(CheckpointError, match='no valid checkpoint is left') as lost:
            run(tmp_path)
        assert lost.value.code == 77
    assert read_metrics(tmp_path) == lines  # nothing that was recorded is lost


def poisoned(where):
    """The toy task in which something of seed 1 is NaN in its fifth step."""
    at = key_at(key_for(key_for(jax.random.key(1), 'phase 0'), 'step'), 4)

    def step(key, state, batch):
        hit = (jax.random.key_data(key) == jax.random.key_data(at)).all()
        state, metrics = TASK.step(key, state, batch)
        bad = jnp.where(hit, jnp.nan, 0)
        if where == 'loss':
            return state, {**metrics, 'loss': Mean.of(metrics['loss'].ratio() + bad)}
        seat = state['net']
        params = jax.tree.map(lambda x: x + bad if x.ndim == 2 else x, seat.net.params)
        return {'net': seat._replace(net=seat.net.replace(params=params))}, metrics

    return TASK._replace(step=step)


def test_a_loss_that_is_not_finite_names_step_and_seed_and_keeps_the_last_good_state(tmp_path):
    phases = (Phase(poisoned('loss'), TRAIN, {'test': TEST}, steps=8, every=4),)
    for _ in range(2):  # and it does so again
        with pytest.raises(DivergedError) as diverged:
            run(tmp_path, phases)
        line = str(diverged.value)
        assert line.endswith(
            'the loss of seed 1 is not finite at step 5; step 4 is the last good checkpoint'
        )
        assert str(tmp_path) in line and diverged.value.code == 78
    saved = load_weights(tmp_path / 'checkpoints')
    assert saved.step == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved.state))
    assert 'seed 1 is not finite at step 5' in (tmp_path / 'log.txt').read_text()


def test_a_state_that_is_not_finite_is_not_saved_though_every_loss_was(tmp_path):
    phases = (Phase(poisoned('state'), TRAIN, {'test': TEST}, steps=5, every=2),)
    with pytest.raises(DivergedError, match='NaN at seed index 1; step 4 is the last good'):
        run(tmp_path, phases)
    assert load_weights(tmp_path / 'checkpoints').step == 4


def test_a_death_between_the_numbers_and_the_state_repeats_no_line(
    undisturbed, tmp_path, monkeypatch
):
    def both_lines_written(state):
        return len(read_metrics(tmp_path)) == 2

    dying(tmp_path, monkeypatch, Checkpoints, 'save', when=both_lines_written)
    assert [line['step'] for line in read_metrics(tmp_path)] == [4, 6]
    run(tmp_path)
    assert_same_run(tmp_path, undisturbed[0])


def test_a_death_after_the_last_save_trains_nothing_again(undisturbed, tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, Record, 'done')
    monkeypatch.setattr(Checkpoints, 'save', None)
    run(tmp_path)
    assert_same_run(tmp_path, undisturbed[0])


def test_a_run_that_saved_nothing_says_that_it_starts_from_zero(undisturbed, tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, Checkpoints, 'save')
    run(tmp_path)
    assert 'nothing was saved yet: starting from step 0' in (tmp_path / 'log.txt').read_text()
    assert_same_run(tmp_path, undisturbed[0])


def test_another_process_in_the_folder_is_named(tmp_path):
    with locked(tmp_path), pytest.raises(UsageError, match=f'in use by process {os.getpid()} '):
        run(tmp_path)


@pytest.mark.parametrize('layout,chunk', mostly_slow([('loop', 1), ('seeds', 4)]))
def test_another_layout_on_the_way_gives_the_same_numbers(
    layout, chunk, undisturbed, tmp_path, monkeypatch
):
    interrupted(tmp_path, monkeypatch, 5)
    run(tmp_path, layout=layout, chunk=chunk)
    got, want = final(tmp_path), final(undisturbed[0])
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, atol=2e-6, err_msg=name)
    got, want = recorded(tmp_path)[1]['metrics'], recorded(undisturbed[0])[1]['metrics']
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, err_msg=name)


def graft(before, fresh):
    """The nets of the phase before, with this phase's own optimizer."""
    return {'net': fresh['net']._replace(net=before['net'].net)}


TWO = (
    Phase(TASK, TRAIN, {'test': TEST}, steps=4, every=2),
    Phase(TASK, TRAIN, {'test': TEST}, steps=3, every=2, start=graft),
)


@pytest.fixture(scope='module')
def two_phases(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two') / 'arm'
    run(folder, TWO)
    return folder


def test_a_phase_starts_from_the_outcome_of_the_one_before(two_phases, tmp_path):
    lines = read_metrics(two_phases)
    assert [(line['step'], line['phase']) for line in lines] == [(2, 0), (4, 0), (6, 1), (7, 1)]
    run(tmp_path / 'first', TWO[:1])
    first = final(tmp_path / 'first')
    run(tmp_path / 'still', (TWO[0], Phase(*FROZEN, steps=1, every=1, start=graft)))
    still = final(tmp_path / 'still')
    params = [name for name in first if "['net']['net']['params']" in name]
    assert len(params) == 5
    for name in params:
        np.testing.assert_array_equal(still[name], first[name])
    assert still["['states']['net']['turn']"].tolist() == [1, 1]  # the optimizer is its own
    run(tmp_path / 'fresh', (TWO[0], TWO[1]._replace(start=None)))
    assert any(
        (final(tmp_path / 'fresh')[name] != final(two_phases)[name]).any() for name in params
    )


@pytest.mark.parametrize('step', mostly_slow([5, 3, 4, 6]))
def test_two_phases_stop_and_go_on_anywhere(step, two_phases, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, step, TWO)
    run(tmp_path, TWO)
    assert_same_run(tmp_path, two_phases)


def test_lost_numbers_of_an_earlier_phase_are_said_before_training(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 6, TWO)
    monkeypatch.setattr(Record, 'progress', None)
    for name, what in (
        ('arrays.npz', 'arrays.npz has lost phase 0/test/confusion of a phase; put a copy'),
        ('metrics.jsonl', 'metrics.jsonl has lost the last numbers of a phase; put a copy'),
    ):
        (tmp_path / name).unlink()
        with pytest.raises(JaxdlError, match=what):
            run(tmp_path, TWO)


def test_no_run_is_done_without_its_arrays(tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, Record, 'done')
    (tmp_path / 'arrays.npz').unlink()
    with pytest.raises(JaxdlError, match='arrays.npz has lost test/confusion of a phase; put a'):
        run(tmp_path)
    assert not (tmp_path / 'DONE').exists()


def test_a_death_exactly_between_two_phases(two_phases, tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, jaxdl.run.stage.Stage, 'forget', TWO)
    assert load_weights(tmp_path / 'checkpoints').step == 4
    run(tmp_path, TWO)
    assert_same_run(tmp_path, two_phases)


def test_phases_may_have_layouts_of_their_own(two_phases, tmp_path, monkeypatch):
    import jaxdl.engine.engine

    choices = iter(['loop', 'vmap'])
    monkeypatch.setattr(
        jaxdl.engine.engine,
        'choose',
        lambda **about: Choice(next(choices), False, 'the test says so'),
    )
    run(tmp_path, TWO, layout='auto')
    got, want = final(tmp_path), final(two_phases)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, atol=2e-6, err_msg=name)


def test_divergence_names_the_phase(tmp_path):
    phases = (Phase(poisoned('loss'), TRAIN, {}, steps=5, every=5), TWO[1])
    with pytest.raises(DivergedError, match='phase 0: the loss of seed 1 .* nothing was saved'):
        run(tmp_path, phases)


def level(key, state, batch):
    """A measurement that never gets better."""
    return {'score': Mean.of(jnp.ones(3), better='higher'), **TASK.measure(key, state, batch)}


EARLY = (
    Phase(
        keep_best(TASK._replace(measure=level), 'score', patience=1),
        TRAIN,
        {'test': TEST},
        steps=12,
        every=2,
        valid=TEST,
    ),
)


@pytest.fixture(scope='module')
def stopped_early(tmp_path_factory):
    folder = tmp_path_factory.mktemp('early') / 'arm'
    run(folder, EARLY)
    return folder


def test_early_stopping_ends_a_phase_with_its_best_state(stopped_early):
    lines = read_metrics(stopped_early)
    assert [line['step'] for line in lines] == [2, 4]  # the best at 2, and no better at 4
    assert {'valid/score', 'valid/loss', 'test/loss'} <= lines[0]['metrics'].keys()
    assert 'every seed stopped early, at step 4' in (stopped_early / 'log.txt').read_text()
    # The test split is measured on the best state, the validation split on the live one.
    assert lines[1]['metrics']['test/loss'] == lines[0]['metrics']['test/loss']
    assert lines[1]['metrics']['valid/loss'] != lines[0]['metrics']['valid/loss']
    assert lines[0]['metrics']['valid/loss'] == lines[0]['metrics']['test/loss']
    done = json.loads((stopped_early / 'DONE').read_text())
    assert done['steps'] == 4  # not the 12 that were planned
    assert done['metrics']['valid/steps'] == [4, 4] and done['metrics']['valid/best_step'] == [2, 2]


@pytest.mark.parametrize('step', [1, 2, 4])
def test_early_stopping_goes_on_where_it_was(step, stopped_early, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, step, EARLY)
    run(tmp_path, EARLY)
    assert_same_run(tmp_path, stopped_early)


def test_a_death_after_early_stopping_trains_nothing_again(stopped_early, tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, Record, 'done', EARLY)
    monkeypatch.setattr(Checkpoints, 'save', None)
    run(tmp_path, EARLY)
    assert_same_run(tmp_path, stopped_early)


def test_a_run_starts_from_the_weights_of_another(undisturbed, tmp_path, monkeypatch):
    phases = (Phase(*FROZEN, steps=2, every=1),)
    run(tmp_path / 'a', phases, init_from=str(undisturbed[0]))
    got, want = final(tmp_path / 'a'), final(undisturbed[0])
    params = [name for name in want if "['net']['net']['params']" in name]
    for name in params:
        np.testing.assert_array_equal(got[name], want[name])
    assert f'weights from {undisturbed[0]}, step 6' in (tmp_path / 'a' / 'log.txt').read_text()
    interrupted(tmp_path / 'b', monkeypatch, 1, phases, init_from=str(undisturbed[0]))
    run(tmp_path / 'b', phases, init_from=str(undisturbed[0]))
    assert_same_run(tmp_path / 'b', tmp_path / 'a')
    with pytest.raises(UsageError, match='init_from: .* there, None now'):
        run(tmp_path / 'a', phases)
    nowhere = str(tmp_path / 'nowhere')
    with pytest.raises(UsageError, match=f'no checkpoints in {nowhere}'):
        run(tmp_path / 'c', phases, init_from=nowhere)


def test_a_run_starts_from_a_file_of_weights(undisturbed, tmp_path):
    phases = (Phase(*FROZEN, steps=2, every=1),)
    saved = load_weights(undisturbed[0] / 'checkpoints').state['states']['net']['net']
    kernel = saved['params']['Dense_0']['kernel'][1]
    one = jax.tree.map(lambda x: x[1], {'params': saved['params'], **saved['memory']})
    file = tmp_path / 'w.npz'
    write_weights(file, Weights(one, 'small', 'toy'))
    run(tmp_path / 'a', phases, init_from=str(file))
    (trained,) = [x for n, x in final(tmp_path / 'a').items() if n.endswith(FIRST_KERNEL)]
    np.testing.assert_array_equal(trained, [kernel, kernel])
    assert f'weights from {file} (small, toy)' in (tmp_path / 'a' / 'log.txt').read_text()
    del one['params']['Dense_1']
    write_weights(file, Weights(one, 'small', 'toy', without=('params/Dense_1/*',)))
    run(tmp_path / 'b', phases, init_from=str(file))
    assert 'toy), without params/Dense_1/*' in (tmp_path / 'b' / 'log.txt').read_text()
    one['params']['Dense_0']['kernel'] = kernel[:2]
    write_weights(file, Weights(one, 'small', 'toy', without=('params/Dense_1/*',)))
    with pytest.raises(UsageError, match=r'Dense_0/kernel. is \[2, 8\], not \[5, 8\]'):
        run(tmp_path / 'c', phases, init_from=str(file))
    with pytest.raises(UsageError, match="no file '.*nowhere.npz'"):
        run(tmp_path / 'd', phases, init_from=str(tmp_path / 'nowhere.npz'))


@pytest.mark.parametrize('layout', ['vmap', 'loop'])
def test_evaluating_again_gives_the_recorded_numbers(layout, undisturbed, stopped_early):
    for (folder, phases), last in (((undisturbed[0], PLAIN), 6), ((stopped_early, EARLY), 4)):
        config = Config('toy', 'arm', [0, 1], {}, [])
        options = Options(layout=layout, chunk=1)
        step, numbers = evaluate_arm(folder, phases, config, options=options)
        metrics = json.loads((folder / 'DONE').read_text())['metrics']
        assert step == last and set(numbers) == {n for n in metrics if n.startswith('test/')}
        for name, values in numbers.items():
            rtol = 0 if layout == 'vmap' else 1e-5
            np.testing.assert_allclose(values, metrics[name], rtol=rtol, err_msg=name)


def test_there_is_nothing_to_evaluate_where_nothing_was_saved(tmp_path):
    config = Config('toy', 'arm', [0, 1], {}, [])
    with pytest.raises(UsageError, match='has no checkpoint yet'):
        evaluate_arm(tmp_path, PLAIN, config, options=Options('vmap', 1))


# ---- numbers that are not finite, and seeds that stop --------------------------------------------


def counting(score):
    """A task whose state is its number of steps and its seed's sign; `score(state)` is measured."""

    def init(key, batch):
        return {'n': jnp.float32(0), 'odd': jax.random.bernoulli(key_for(key, 'odd'))}

    def step(key, state, batch):
        return {**state, 'n': state['n'] + 1}, {'loss': Mean.of(state['n'], better='lower')}

    def measure(key, state, batch):
        return {
            'score': Mean.of(score(state), better='higher'),
            'n': Mean.of(state['n'], better='higher'),
        }

    return Task(init, step, measure)


def counting_phase(score, *, keep=True, **options):
    task = counting(score)
    task = keep_best(task, 'score', **options) if keep else task
    valid = nothing(batches=1) if keep else None
    return (Phase(task, nothing(), {'test': nothing(batches=1)}, steps=8, every=2, valid=valid),)


def odd_and_even():
    """A seed of each sign, for which `counting` starts differently."""
    draws = {s: key_for(key_for(jax.random.key(s), 'phase 0'), 'init') for s in range(20)}
    odd = {s: bool(jax.random.bernoulli(key_for(key, 'odd'))) for s, key in draws.items()}
    return next(s for s in odd if odd[s]), next(s for s in odd if not odd[s])


def test_a_run_without_a_finite_score_says_so_and_measures_its_last_state(tmp_path):
    odd, even = odd_and_even()
    phases = counting_phase(lambda state: jnp.where(state['odd'], jnp.nan, -state['n']))
    done = run(tmp_path, phases, seeds=(odd, even))
    assert done['metrics']['test/n'] == [8, 2]
    assert done['metrics']['valid/best_step'] == [None, 2] and done['steps'] == 8
    log = (tmp_path / 'log.txt').read_text()
    assert f'warning: valid/score of seed {odd} was never finite: the last state counts' in log
    # A number that is NaN is named, once.
    assert log.count(f'warning: valid/score of seed {odd} is NaN at step 2') == 1
    assert log.count('warning: valid/score') == 2


def test_of_a_seed_that_has_stopped_the_training_metrics_keep_their_last_values(
    tmp_path, monkeypatch
):
    odd, even = odd_and_even()
    grows = counting_phase(
        lambda state: jnp.where(state['odd'], state['n'], -state['n']), patience=1
    )
    done = run(tmp_path / 'whole', grows, seeds=(odd, even))
    losses = [line['metrics']['train/loss'] for line in read_metrics(tmp_path / 'whole')]
    assert losses == [[0.5, 0.5], [2.5, 2.5], [4.5, 2.5], [6.5, 2.5]]
    assert done['metrics']['valid/steps'] == [8, 4]
    assert done['metrics']['valid/best_step'] == [8, 2]
    assert done['steps'] == 8
    log = (tmp_path / 'whole' / 'log.txt').read_text()
    assert log.count(f'seed {even} stopped early, at step 4 (best step 2)') == 1
    assert 'every seed' not in log and 'at most 8 steps' in log
    interrupted(tmp_path / 'cut', monkeypatch, 5, grows, seeds=(odd, even))
    run(tmp_path / 'cut', grows, seeds=(odd, even))
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


def test_what_diverged_in_training_is_called_by_its_name(tmp_path):
    odd, even = odd_and_even()
    (phase,) = counting_phase(lambda state: state['n'], keep=False)

    def step(key, state, batch):
        after, metrics = phase.task.step(key, state, batch)
        norm = jnp.where(state['odd'] & (state['n'] == 2), jnp.inf, 1.0)
        return after, {**metrics, 'accuracy': Mean.of(1.0), 'norm': Mean.of(norm)}

    phases = (phase._replace(task=phase.task._replace(step=step)),)
    with pytest.raises(DivergedError, match=f'train/norm of seed {odd} is not finite at step 3;'):
        run(tmp_path, phases, seeds=(even, odd))


def test_a_test_metric_that_is_nan_is_named(tmp_path):
    odd, even = odd_and_even()
    phases = counting_phase(lambda state: jnp.where(state['odd'], jnp.nan, 1.0), keep=False)
    run(tmp_path, phases, seeds=(odd, even))
    log = (tmp_path / 'log.txt').read_text()
    assert log.count('warning: ') == 1
    assert f'warning: test/score of seed {odd} is NaN at step 2' in log


# ---- evaluations with cadences of their own ------------------------------------------------------

OFTEN = (
    Phase(
        keep_best(TASK, 'accuracy'),
        TRAIN,
        {'test': TEST, 'rare': Eval(TEST, every=4)},
        steps=6,
        every=3,
        valid=Eval(TEST, every=2),
        best='valid/loss',
    ),
)


def splits(line):
    return sorted({name.split('/')[0] for name in line['metrics']})


def test_seeds_with_fewer_examples_than_others_are_filled_up(tmp_path):
    def measure(nets, batch, key):
        # Of noise that each seed draws for itself: rows that count for one and not for another.
        return {'x/each': Each.of(batch['x'], batch['x'] > 0)}

    source = synthetic(lambda key: {'x': jax.random.normal(key, (20,))}, batches=1, private=True)
    run(tmp_path, (PLAIN[0]._replace(tests={'noise': Eval(source, measure=measure)}, steps=1),))
    values = dict(np.load(tmp_path / 'arrays.npz'))['noise/x/each']
    counts = (values > 0).sum(1)
    assert counts[0] != counts[1] and values.shape == (2, counts.max())
    assert np.isnan(values).sum(1).tolist() == (counts.max() - counts).tolist()


@pytest.fixture(scope='module')
def often(tmp_path_factory):
    folder = tmp_path_factory.mktemp('often') / 'arm'
    run(folder, OFTEN)
    return folder


def test_each_evaluation_looks_when_it_is_due(often):
    assert [(line['step'], splits(line)) for line in read_metrics(often)] == [
        (2, ['valid']),
        (3, ['test', 'train']),
        (4, ['rare', 'valid']),
        (6, ['rare', 'test', 'train', 'valid']),
    ]
    steps = sorted(int(p.name) for p in (often / 'checkpoints').iterdir() if p.name.isdigit())
    assert steps == [3, 6]
    about = json.loads((often / 'numbers.json').read_text())
    assert about['valid/loss'] == {'better': 'lower', 'labels': [], 'drawn': False}
    assert about.keys() >= json.loads((often / 'DONE').read_text())['metrics'].keys()


@pytest.mark.parametrize('step', [1, 2, 3, 4, 5])
def test_a_run_with_cadences_goes_on_anywhere(step, often, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, step, OFTEN)
    run(tmp_path, OFTEN)
    assert_same_run(tmp_path, often)


def test_early_stopping_between_checkpoints_measures_and_saves_everything(tmp_path):
    (phase,) = EARLY
    phases = (phase._replace(every=6, valid=Eval(TEST, every=1)),)
    run(tmp_path, phases)
    lines = read_metrics(tmp_path)
    assert [(line['step'], splits(line)) for line in lines] == [
        (1, ['valid']),
        (2, ['test', 'train', 'valid']),
    ]
    assert load_weights(tmp_path / 'checkpoints').step == 2
    assert json.loads((tmp_path / 'DONE').read_text())['metrics'] == lines[1]['metrics']


def test_the_best_checkpoint_is_the_one_that_is_named(tmp_path, monkeypatch):
    scores = []
    save = Checkpoints.save

    def spy(self, tree, *, score, **more):
        scores.append(score)
        save(self, tree, score=score, **more)

    monkeypatch.setattr(Checkpoints, 'save', spy)
    phases = (PLAIN[0]._replace(best='test/loss'),)
    run(tmp_path, phases)
    losses = [np.mean(line['metrics']['test/loss']) for line in read_metrics(tmp_path)]
    assert scores == [-loss for loss in losses]
    for best in ('test/los', 'test/confusion'):
        with pytest.raises(UsageError, match=f"best: '{best}' is no number that says"):
            run(tmp_path / 'other', (PLAIN[0]._replace(best=best),))


def test_the_last_numbers_of_every_phase_are_kept(two_phases, tmp_path):
    lines = {line['step']: line['metrics'] for line in read_metrics(two_phases)}
    done = json.loads((two_phases / 'DONE').read_text())['metrics']
    before = {f'phase 0/{name}': values for name, values in lines[4].items()}
    assert done == before | lines[7]
    arrays = dict(np.load(two_phases / 'arrays.npz'))
    names = {'test/confusion', 'test/accuracy/each'}
    assert arrays.keys() == {*names, *(f'phase 0/{name}' for name in names)}
    named = (TWO[0]._replace(name='pretrain'), TWO[1])
    run(tmp_path, named)
    done = json.loads((tmp_path / 'DONE').read_text())['metrics']
    assert 'pretrain/test/accuracy' in done and 'phase 0/test/accuracy' not in done


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'tests': {'train': TEST}}, "tests: 'train' is what a run calls its own"),
        ({'tests': {'valid': TEST}}, "tests: 'valid' is what a run calls its own"),
        ({'tests': {'a/b': TEST}}, "tests: 'a/b' is no name"),
        ({'name': 'test'}, "phase 0: the name 'test' is taken"),
        ({'name': 'a/b'}, "phase 0: 'a/b' is no name"),
    ],
)
def test_names_that_clash_are_refused(change, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        run(tmp_path, (PLAIN[0]._replace(**change),))


def test_a_claim_on_a_number_that_is_not_measured_is_refused_before_the_first_step(tmp_path):
    config = Config('toy', 'arm', [0, 1], {}, lengths(PLAIN))
    with pytest.raises(UsageError, match="judges 'test/acuracy' of arm 'arm'; did you mean"):
        run_arm(tmp_path, PLAIN, config, env={}, judged=['test/acuracy'])
    with pytest.raises(
        UsageError, match="'gap of test/acuracy' of arm 'arm', made of 'test/acurac"
    ):
        run_arm(tmp_path, PLAIN, config, env={}, judged=['gap of test/acuracy'])
    assert read_metrics(tmp_path) == []


def test_what_derived_numbers_are_made_of_is_looked_for():
    up, none = About((), 'higher'), About(())
    about = {'test/a': up, 'train/a': up, 'test/b': none, 'train/b': none, 'test/c': up}
    names = ['area of test/a', 'gap of test/a', 'steps to test/a >= 0.9', 'seconds to test/b <= 1']
    refuse_unmeasured('x', about, judged=names, compared=names)
    refuse_unmeasured('x', about, judged=['area of test/b'], compared=[])
    for name, compared in {'area of test/b': True, 'gap of test/b': False}.items():
        with pytest.raises(UsageError, match='nothing says which values'):
            refuse_unmeasured('x', about, judged=[name], compared=[name] * compared)
    with pytest.raises(UsageError, match="in training, 'train/c'"):
        refuse_unmeasured('x', about, judged=['gap of test/c'], compared=[])
