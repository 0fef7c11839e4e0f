"""What is restored is what was saved, or it is said; nothing starts from zero in silence."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl.checkpoint import finite, reading
from jaxdl.checkpoint import manager as checkpoint
from jaxdl.checkpoint.manager import Checkpoints, load_weights
from jaxdl.checkpoint.reading import Saved, digest_of, read_step
from jaxdl.errors import CheckpointError, DivergedError, JaxdlError, UsageError


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(reading, 'WAITS', (0.0, 0.0, 0.0))


class Seat(NamedTuple):
    net: Any
    opt: Any


class Net(struct.PyTreeNode):
    params: Any
    shadow: Any = None
    name: str = struct.field(pytree_node=False, default='net')


def small(step: int) -> dict[str, Any]:
    return {'w': jnp.arange(6.0).reshape(2, 3) + step, 'turn': jnp.int32(step)}


def abstract(state: Any) -> Any:
    return jax.tree.map(
        lambda x: (
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
            if isinstance(x, jax.Array)
            else x
        ),
        state,
    )


def like(phase: int) -> Any:
    return abstract(small(0))


def bits(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Dtype, shape and bytes: equality to the bit, NaN and -0 included."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), leaf.shape, np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(np.asarray(leaf).dtype), np.shape(leaf), np.asarray(leaf).tobytes()


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert bits(x) == bits(y)


def save(folder: Path, *steps: int, **options: Any) -> None:
    with Checkpoints(folder, **options) as checkpoints:
        for step in steps:
            checkpoints.save(small(step), step=step, phase=0)


def memory(folder: Path) -> Path:
    return folder.with_name(f'{folder.name}.json')


def largest_file(folder: Path) -> Path:
    return max((p for p in folder.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)


def flip(folder: Path) -> None:
    path = largest_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def restored(folder: Path) -> tuple[Saved | None, list[str]]:
    said: list[str] = []
    with Checkpoints(folder, say=said.append) as checkpoints:
        return checkpoints.restore(like), said


def test_any_tree_comes_back_to_the_bit(tmp_path, capfd):
    params = {'Dense_0': {'kernel': jax.random.normal(jax.random.key(0), (3, 4)) * 1e-40}}
    opt = optax.chain(optax.clip(1.0), optax.adamw(1e-3)).init(params)
    state = {
        'net': Seat(Net(params, Net(params)), opt),
        'critic/loss': (jnp.bfloat16(1 / 3) * jnp.ones((2, 2), jnp.bfloat16), None, (), {}),
        'keys': jax.random.split(jax.random.key(1), 3),
        'rbg': jax.random.key(2, impl='rbg'),
        'odd': [jnp.array([-0.0, jnp.inf]), jnp.ones((0, 3)), jnp.array(True), jnp.int8(-3)],
        'host': [np.arange(3, dtype=np.int64), np.float32(2.5), 7, 0.1, True, np.zeros((0, 2))],
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, step=5, phase=2)
        phases = []

        def of_phase(phase: int) -> Any:
            phases.append(phase)
            return abstract(state)

        step, phase, back = checkpoints.restore(of_phase)
    assert (step, phase, phases) == (5, 2, [2])
    assert_same(back, state)
    assert [type(x) for x in back['host']] == [type(x) for x in state['host']]
    assert back['net'].net.name == 'net'
    assert capfd.readouterr() == ('', '')

    step, phase, weights = load_weights(tmp_path)
    assert (step, phase) == (5, 2)
    kernel = weights['net']['net']['params']['Dense_0']['kernel']
    assert isinstance(kernel, np.ndarray)
    assert bits(kernel) == bits(params['Dense_0']['kernel'])
    assert weights['odd']['1'].shape == (0, 3)
    assert weights['keys'].dtype == np.uint32


@pytest.mark.parametrize('state', [(), {'a': None}, jnp.float32(3)])
def test_the_smallest_states(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, step=0, phase=0)
        assert_same(checkpoints.restore(lambda phase: state).state, state)


def test_phases_have_their_own_trees(tmp_path):
    trees = [{'a': jnp.ones(2)}, {'b': jnp.zeros((3, 3))}]
    with Checkpoints(tmp_path) as checkpoints:
        for phase, tree in enumerate(trees):
            checkpoints.save(tree, step=phase, phase=phase)
            assert_same(checkpoints.restore(lambda phase: trees[phase]).state, tree)


def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    spoil = jax.jit(lambda state: jax.tree.map(lambda x: x * 0 - 1, state), donate_argnums=0)
    state = {str(i): jax.random.normal(jax.random.key(i), (500, 500)) for i in range(6)}
    truth = {name: np.array(x) for name, x in state.items()}
    host = np.arange(1000)
    with Checkpoints(tmp_path) as checkpoints:
        jax.block_until_ready(spoil(jax.tree.map(jnp.copy, state)))
        checkpoints.save({'device': state, 'host': host}, step=1, phase=0)
        jax.block_until_ready(spoil(state))
        host[:] = -1
        tree = {'device': truth, 'host': np.arange(1000)}
        assert_same(checkpoints.restore(lambda phase: tree).state, tree)


@pytest.mark.parametrize(('before', 'after'), [(4, 1), (4, 2), (1, 4)])
def test_another_number_of_devices(tmp_path, before, after):
    def place(n: int, spec: PartitionSpec) -> NamedSharding:
        mesh = jax.make_mesh(
            (n,), ('x',), devices=jax.devices()[:n], axis_types=(jax.sharding.AxisType.Auto,)
        )
        return NamedSharding(mesh, spec)

    spec = PartitionSpec('x')
    truth = {
        'w': jax.random.normal(jax.random.key(0), (8, 3)),
        'key': jax.random.split(jax.random.key(1), 4),
        'all': jnp.arange(5.0),
    }
    state = {
        name: jax.device_put(x, place(before, spec if name != 'all' else PartitionSpec()))
        for name, x in truth.items()
    }
    target = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(after, spec))
        for name, x in truth.items()
        if name != 'all'
    } | {'all': jax.ShapeDtypeStruct((5,), jnp.float32, sharding=place(after, PartitionSpec()))}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, step=1, phase=0)
        back = checkpoints.restore(lambda phase: target).state
    assert_same(back, truth)
    for name, x in back.items():
        assert x.sharding.is_equivalent_to(target[name].sharding, x.ndim)


def test_the_newest_and_the_best_are_kept(tmp_path):
    scores = [0.1, 0.9, float('nan'), None, 0.9, 0.3]
    kept = []
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, score in enumerate(scores):
            checkpoints.save(small(step), step=step, phase=0, score=score)
            checkpoints.wait()
            kept.append(checkpoints.steps())
    assert kept == [[0], [0, 1], [1, 2], [1, 2, 3], [3, 4], [4, 5]]
    # The best is known again by the next process, and a worse one does not replace it.
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.restore(like).step == 5
        checkpoints.save(small(6), step=6, phase=0, score=0.5)
        checkpoints.wait()
        assert checkpoints.steps() == [4, 6]
    assert sorted(p.name for p in (tmp_path / 'digests').iterdir()) == ['4', '6']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['4', '6', 'digests']


def test_nothing_was_ever_saved(tmp_path):
    assert restored(tmp_path / 'new') == (None, [])
    leftover = tmp_path / 'new' / '3.orbax-checkpoint-tmp'
    leftover.mkdir()
    assert restored(tmp_path / 'new') == (None, [])
    assert not leftover.exists()
    with pytest.raises(UsageError, match='no checkpoints'):
        load_weights(tmp_path / 'new')
    with pytest.raises(UsageError, match='no checkpoints'):
        load_weights(tmp_path / 'missing')


def empty_a_file(folder: Path) -> None:
    largest_file(folder).write_bytes(b'')


def lose_a_file(folder: Path) -> None:
    largest_file(folder).unlink()


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def digest_flipped(folder: Path) -> None:
    digest = folder.parent / 'digests' / folder.name
    digest.write_text('0' + digest.read_text()[1:] + '0')


def digest_lost(folder: Path) -> None:
    (folder.parent / 'digests' / folder.name).unlink()


@pytest.mark.parametrize(
    'damage', [flip, empty_a_file, lose_a_file, empty_folder, digest_flipped, digest_lost]
)
def test_damage_falls_back_to_the_step_before(tmp_path, damage):
    save(tmp_path, 1, 2, 3)
    damage(tmp_path / '3')
    before = load_weights(tmp_path, say=lambda line: None)
    assert before.step == 2
    assert (tmp_path / '3').exists()  # load_weights only reads
    said: list[str] = []
    with Checkpoints(tmp_path, say=said.append) as checkpoints:
        step, _, state = checkpoints.restore(like)
        assert step == 2
        assert_same(state, small(2))
        assert len(said) == 1
        assert 'checkpoint 3' in said[0]
        assert 'quarantine' in said[0]
        assert '\n' not in said[0]
        checkpoints.save(small(3), step=3, phase=0)  # its number is free again
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3]
    assert (tmp_path / 'quarantine' / '3').exists()
    damage(tmp_path / '3')
    assert restored(tmp_path)[0].step == 2
    assert (tmp_path / 'quarantine' / '3.2').exists()


def test_a_flip_that_orbax_restores_without_a_word(tmp_path):
    # Random bits do not compress, so the array's own bytes stand in the file.
    states = [{'w': jax.random.bits(jax.random.key(i), (100, 100))} for i in range(2)]
    with Checkpoints(tmp_path) as checkpoints:
        for step, state in enumerate(states):
            checkpoints.save(state, step=step, phase=0)
    path = largest_file(tmp_path / '1')
    data = bytearray(path.read_bytes())
    data[data.index(np.asarray(states[1]['w'])[50].tobytes())] ^= 1
    path.write_bytes(data)
    wrong = read_step(tmp_path, 1, lambda phase: states[1]).state['w']
    assert (wrong != states[1]['w']).sum() == 1
    with Checkpoints(tmp_path, say=lambda line: None) as checkpoints:
        saved = checkpoints.restore(lambda phase: abstract(states[0]))
    assert saved.step == 0
    assert_same(saved.state, states[0])


def test_a_numbered_folder_that_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    (tmp_path / '99').mkdir()
    saved, said = restored(tmp_path)
    assert saved.step == 1
    assert len(said) == 1


def test_what_verifies_and_orbax_cannot_read_is_put_away(tmp_path):
    save(tmp_path, 1, 2)
    largest_file(tmp_path / '2' / 'state').write_bytes(b'not orbax')
    (tmp_path / 'digests' / '2').write_text(digest_of(tmp_path, 2))
    saved, said = restored(tmp_path)
    assert saved.step == 1
    assert len(said) == 1


def test_all_damaged_never_starts_from_zero(tmp_path):
    save(tmp_path, 1, 2)
    for step in ('1', '2'):
        flip(tmp_path / step)
    with pytest.raises(CheckpointError):
        load_weights(tmp_path, say=lambda line: None)
    for _ in range(2):  # also when it is simply started again
        with pytest.raises(CheckpointError, match='start from zero') as error:
            restored(tmp_path)
        assert error.value.code == 77
    assert sorted(p.name for p in (tmp_path / 'quarantine').iterdir()) == [
        *('1', '1.sha256', '2', '2.sha256')
    ]


@pytest.mark.parametrize(('keep', 'remain'), [(1, [2]), (2, [1, 2])])
def test_a_kill_between_commit_and_digest(tmp_path, monkeypatch, keep, remain):
    save(tmp_path, 1, 2, keep=keep)

    def die(folder: Path, step: int) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, 'digest_of', die)
        checkpoints = Checkpoints(tmp_path, keep=keep)
        checkpoints.save(small(3), step=3, phase=0)
        with pytest.raises(JaxdlError, match=f'step 3 .*{tmp_path}.*No space left'):
            checkpoints.close()
    assert (tmp_path / '3').exists()  # committed
    if keep == 2:
        assert load_weights(tmp_path, say=pytest.fail).step == 2
    with Checkpoints(tmp_path, say=pytest.fail) as checkpoints:
        assert checkpoints.steps() == remain
        assert checkpoints.restore(like).step == 2
        checkpoints.save(small(3), step=3, phase=0)
    assert restored(tmp_path)[0].step == 3


def test_a_kill_before_the_first_digest_is_a_fresh_start(tmp_path):
    save(tmp_path, 1)
    (tmp_path / 'digests' / '1').rename(tmp_path / 'digests' / '1.saving')
    memory(tmp_path).unlink()  # written after the digest
    assert restored(tmp_path) == (None, [])
    assert not (tmp_path / '1').exists()


@pytest.mark.parametrize(
    ('bad', 'seeds', 'words'),
    [
        (np.nan, True, 'NaN at seed index 3'),
        (np.inf, True, 'infinity at seed index 3'),
        (np.nan, False, 'NaN at index 3'),
    ],
)
@pytest.mark.parametrize('accelerator', [False, True])
def test_a_state_that_is_not_finite_is_refused(
    tmp_path, monkeypatch, bad, seeds, words, accelerator
):
    if accelerator:
        monkeypatch.setattr(finite, '_on_accelerator', lambda x: isinstance(x, jax.Array))
    kernel = jnp.ones((5, 2), jnp.bfloat16).at[3, 1].set(bad)
    state = {
        'net': Seat(Net({'Dense_0': {'bias': jnp.zeros((5, 1)), 'kernel': kernel}}), None),
        'turn': jnp.zeros(5 if seeds else (), jnp.int32),
    }
    good = jax.tree.map(jnp.zeros_like, state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(good, step=1, phase=0)
        with pytest.raises(DivergedError) as error:
            checkpoints.save(state, step=2, phase=0)
        assert str(error.value).endswith(f'net.net.params.Dense_0.kernel holds {words}')
        assert 'step 2 ' in str(error.value)
        assert error.value.code == 78
        assert checkpoints.restore(lambda phase: abstract(good)).step == 1
        checkpoints.save(good, step=2, phase=0)


def test_a_score_may_be_infinite_and_never_nan(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save({'best': jnp.full(3, -jnp.inf)}, step=1, phase=0)
        with pytest.raises(DivergedError, match='best holds NaN at seed index 1'):
            checkpoints.save({'best': jnp.array([0, jnp.nan, 0])}, step=2, phase=0)


def test_the_check_is_the_same_on_the_device_and_on_the_host():
    shapes = [(), (3,), (2, 2), (2, 3, 4)]
    for dtype in (jnp.float32, jnp.bfloat16, jnp.complex64):
        for value in (0.0, np.nan, np.inf, -np.inf):
            leaves = [jnp.full(shape, value, dtype) for shape in shapes]
            truth = [np.isnan(value) or (np.isinf(value) and len(s) >= 2) for s in shapes]
            assert finite._any_bad(leaves).tolist() == truth
            for place in (lambda x: x, np.asarray):
                assert [finite._any_bad_on_host(place(x)) for x in leaves] == truth


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'w': jnp.ones((2, 4))}, r'w is float32\[2,3\] there and float32\[2,4\] here$'),
        ({'w': jnp.ones((2, 3), jnp.bfloat16)}, r'w is float32\[2,3\] .* bfloat16\[2,3\] here$'),
        ({'v': jnp.ones(1)}, r'v is missing there and float32\[1\] here$'),
        ({'w': None}, r'w is float32\[2,3\] there and missing here$'),
        ({'w': jnp.ones(1), 'turn': jnp.ones(1)}, r'\(and 1 more\)$'),
    ],
)
def test_a_misfit_is_named_and_nothing_is_put_away(tmp_path, change, words):
    save(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UsageError, match=words):
            checkpoints.restore(lambda phase: small(0) | change)
        assert checkpoints.steps() == [1]


def test_steps_must_increase(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(small(2), step=2, phase=0)
        for step in (2, 1):
            with pytest.raises(ValueError, match='not newer than step 2'):
                checkpoints.save(small(step), step=step, phase=0)
        assert_same(checkpoints.restore(like).state, small(2))


@pytest.mark.parametrize('leaf', ['text', object()])
def test_what_is_no_number_is_refused(tmp_path, leaf):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError, match='a.b is a'):
        checkpoints.save({'a': {'b': leaf}}, step=1, phase=0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match='cannot write in .*Not a directory'):
        Checkpoints(tmp_path / 'file' / 'checkpoints')


def test_no_thread_is_left(tmp_path):
    before = set(threading.enumerate())
    save(tmp_path, 1, 2)
    assert set(threading.enumerate()) == before


def test_a_failed_save_does_not_hide_what_ended_the_block(tmp_path, monkeypatch):
    def die(folder: Path, step: int) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, 'digest_of', die)
    said: list[str] = []
    with pytest.raises(KeyError), Checkpoints(tmp_path, say=said.append) as checkpoints:
        checkpoints.save(small(1), step=1, phase=0)
        raise KeyError
    assert len(said) == 1
    assert 'No space left' in said[0]


FULL = """
import resource, sys
from pathlib import Path
import jax, numpy as np
from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.errors import JaxdlError

def state(step, size):
    return {'w': np.random.default_rng(step).random((size, 100))}

checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(state(1, 1), step=1, phase=0)
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for end in (checkpoints.wait, lambda: checkpoints.save(state(3, 1), step=3, phase=0)):
    checkpoints.save(state(2, 1000), step=2, phase=0)
    try:
        end()
    except JaxdlError as error:
        print(error)
    print(checkpoints.steps())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
checkpoints.save(state(2, 1000), step=2, phase=0)
checkpoints.close()
print(checkpoints.steps())
"""


def test_a_file_that_cannot_grow_is_said_and_costs_nothing_saved(tmp_path):
    # The limit on the size of a file stands for a full disk: both fail in the middle of a write.
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', FULL, str(tmp_path)], capture_output=True, text=True
    )
    error = f'cannot save step 2 in {tmp_path}: File too large; earlier steps are kept'
    assert done.stdout.splitlines() == [error, '[1]', error, '[1]', '[1, 2]']
    assert done.stderr == ''
    assert sorted(p.name for p in tmp_path.iterdir()) == ['1', '2', 'digests']


# ---- whose fault it is -----------------------------------------------------------------------


def failing(times: int, method: Any, error: BaseException) -> Any:
    """`method`, which fails at first, `times` times."""
    left = [times]

    def fails(*args: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return method(*args, **options)

    return fails


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two') / 'checkpoints'
    save(folder, 1, 2)
    return folder


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


@pytest.mark.parametrize('code', [errno.EMFILE, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize('where', ['digest', 'metadata', 'arrays', 'hidden'])
def test_a_fault_of_the_machine_is_tried_again_and_condemns_no_step(
    two_steps, monkeypatch, code, where
):
    before, error = everything(two_steps), OSError(code, os.strerror(code), 'name')
    ocp = reading.orbax()
    # As tensorstore has it, in a text.
    wrapped = ValueError(f"NOT_FOUND: Error opening 'zarr' driver [os_error_code='{code}']")
    owner, name, error = {
        'digest': (Path, 'open', error),
        'metadata': (ocp.Checkpointer, 'metadata', error),
        'arrays': (ocp.Checkpointer, 'restore', wrapped),
        'hidden': (ocp.Checkpointer, 'metadata', KeyError('phase')),  # orbax swallowed it
    }[where]
    method = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(1, method, error))
        saved, said = restored(two_steps)
    assert saved.step == 2 and said == []
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(1000, method, error))
        if where == 'hidden':
            opens, names = Path.open, []

            def refuse(path: Path, *args: Any, **options: Any) -> Any:
                names.append(path.name)
                if names.count('_METADATA') > 2:  # the step has verified
                    raise OSError(code, os.strerror(code), 'name')
                return opens(path, *args, **options)

            patch.setattr(Path, 'open', refuse)
        with pytest.raises(JaxdlError, match=os.strerror(code)) as lasting:
            restored(two_steps)
    assert lasting.value.code == 1
    assert '\n' not in str(lasting.value) and 'nothing was moved' in str(lasting.value)
    assert everything(two_steps) == before
    assert restored(two_steps)[0].step == 2


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (MemoryError(), 'out of memory'),
        (RuntimeError("can't start new thread"), 'no more threads'),
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 5 bytes'), 'device is out of memory'),
        (jax.errors.JaxRuntimeError('INTERNAL: a bug'), 'INTERNAL: a bug'),
    ],
)
def test_other_faults_of_the_machine(two_steps, monkeypatch, error, said):
    before = everything(two_steps)
    with monkeypatch.context() as patch:
        patch.setattr(reading.orbax().Checkpointer, 'restore', failing(9, None, error))
        with pytest.raises((JaxdlError, jax.errors.JaxRuntimeError), match=said):
            restored(two_steps)
        with pytest.raises((JaxdlError, jax.errors.JaxRuntimeError), match=said):
            load_weights(two_steps, say=pytest.fail)
    assert everything(two_steps) == before


def test_a_folder_that_cannot_be_opened_for_a_moment_is_no_mistake_of_the_user(
    tmp_path, monkeypatch
):
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    monkeypatch.setattr(checkpoint.tempfile, 'TemporaryFile', failing(1, None, full))
    with pytest.raises(JaxdlError, match='cannot write in .*Too many open files') as error:
        Checkpoints(tmp_path)
    assert error.value.code == 1


# ---- what is gone, and what is another's -----------------------------------------------------


@pytest.mark.parametrize(
    'lose',
    [
        lambda folder: shutil.rmtree(folder),
        lambda folder: [shutil.rmtree(folder / step) for step in ('1', '2')],
        # What stands beside the folder may be gone too, or damaged.
        lambda folder: [shutil.rmtree(folder / s) for s in ('1', '2')] + [memory(folder).unlink()],
        lambda folder: (shutil.rmtree(folder), memory(folder).write_text('{')),
    ],
    ids=['folder', 'steps', 'steps and memory', 'folder and half of memory'],
)
def test_what_was_saved_and_is_gone_is_never_a_fresh_start(two_steps, tmp_path, lose):
    folder = tmp_path / 'checkpoints'
    shutil.copytree(two_steps, folder)
    shutil.copy(memory(two_steps), memory(folder))
    lose(folder)
    for _ in range(2):
        with pytest.raises(CheckpointError, match='has no checkpoint left, and step') as lost:
            restored(folder)
        assert lost.value.code == 77 and '--workdir' in str(lost.value)


def test_a_newest_step_that_is_gone_is_said(two_steps, tmp_path):
    folder = tmp_path / 'checkpoints'
    shutil.copytree(two_steps, folder)
    shutil.rmtree(folder / '2')
    saved, said = restored(folder)
    assert saved.step == 1
    assert said == [f'checkpoint 2 is gone: {folder} has step 1']


@pytest.mark.parametrize('rename', [True, False])
def test_a_step_under_another_number_is_not_that_step(two_steps, tmp_path, rename):
    folder = tmp_path / 'checkpoints'
    shutil.copytree(two_steps, folder)
    take = shutil.move if rename else shutil.copytree
    take(folder / '2', folder / '7')
    shutil.copy(folder / 'digests' / '2', folder / 'digests' / '7')
    assert load_weights(folder, say=lambda line: None).step == (1 if rename else 2)
    saved, said = restored(folder)
    assert saved.step == (1 if rename else 2)
    assert (
        'checkpoint 7 is not valid (it is not what was saved as this step of this run)' in said[0]
    )


@pytest.mark.parametrize('name', ['\N{SUPERSCRIPT TWO}', '\N{ARABIC-INDIC DIGIT NINE}', '03', '+4'])
def test_only_the_names_of_steps_are_steps(two_steps, tmp_path, name):
    folder = tmp_path / 'checkpoints'
    shutil.copytree(two_steps, folder)
    (folder / name).mkdir()
    (folder / 'digests' / f'{name}.saving').touch()
    (folder / 'digests' / name).touch()
    assert restored(folder)[0].step == 2
    with Checkpoints(folder, say=pytest.fail) as checkpoints:
        assert checkpoints.restore(like).step == 2
        checkpoints.save(small(9), step=9, phase=0)
        checkpoints.wait()
        assert checkpoints.steps() == [2, 9]


def test_temporary_files_of_digests_are_removed(two_steps, tmp_path):
    folder = tmp_path / 'checkpoints'
    shutil.copytree(two_steps, folder)
    (folder / 'digests' / '.3-0123abcd.tmp').touch()
    (folder / 'quarantine').mkdir()
    (folder / 'quarantine' / '.evidence.tmp').touch()
    assert restored(folder)[0].step == 2
    assert sorted(p.name for p in (folder / 'digests').iterdir()) == ['1', '2']
    assert (folder / 'quarantine' / '.evidence.tmp').exists()


RUN = """
import sys
from pathlib import Path
import jax.numpy as jnp, numpy as np
from jaxdl.checkpoint.manager import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]), keep=int(sys.argv[2]))
like = {'w': np.zeros((40, 500)), 'turn': np.zeros((), np.int64)}
saved = checkpoints.restore(lambda phase: like)
step = saved.step if saved else 0
while True:
    step += 1
    w = np.random.default_rng(step).random((40, 500))
    checkpoints.save({'w': w, 'turn': np.int64(step)}, step=step, phase=step % 3)
    if step % 2:
        checkpoints.wait()
        print(step, flush=True)
"""


@pytest.mark.parametrize('keep', [1, 2])
def test_sigkill_in_the_middle_of_saves(tmp_path, keep):
    draw = random.Random(keep)
    tree = {'w': np.zeros((40, 500)), 'turn': np.int64(0)}
    newest = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, '-c', RUN, str(tmp_path), str(keep)], stdout=subprocess.PIPE
        ) as child:
            for _ in range(3):
                promised = int(child.stdout.readline())
            time.sleep(draw.uniform(0, 0.2))
            child.send_signal(signal.SIGKILL)
        assert promised > newest
        with Checkpoints(tmp_path, keep=keep, say=pytest.fail) as checkpoints:
            newest, phase, state = checkpoints.restore(lambda phase: tree)
        assert newest >= promised
        assert phase == newest % 3
        assert_same(
            state, {'w': np.random.default_rng(newest).random((40, 500)), 'turn': np.int64(newest)}
        )
        assert {p.name for p in tmp_path.iterdir()} <= {
            *(str(step) for step in range(newest + 1)),
            'digests',
        }
