"""The laws of the design: over a few kinds of tasks here, over every experiment in `make laws`.

A task obeys them without knowing them: they are what jit, scan, vmap, devices and checkpoints may
do to it. Laws 7 and 9 are properties of players and networks: test_game.py and test_models.py; law
2 is in test_run.py.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from kinds import KINDS
from pace import mostly_slow, of_a_study

from jaxdl.accumulation import accumulating
from jaxdl.cli.library import load, names, phases_of, resolve
from jaxdl.engine.axes import is_axes, read_axes
from jaxdl.engine.engine import Engine
from jaxdl.errors import DataMissingError
from jaxdl.metrics import finish
from jaxdl.net import Net
from jaxdl.study import Phase, evaluations

STEPS = 4
SEEDS = [0, 1, 2, 3]
LAYOUTS = mostly_slow(['data=2,fsdp=2', 'loop', 'pmap', 'seeds=2,data=2', 'data=2,tensor=2'])
TOLERANCE = 2e-5  # of the largest entry of a leaf: float32 sums in another order, a few steps long
# Adam moves by whole steps where a gradient is no more than rounding. What goes further than the
# tolerance may go as far as one rounding of the first parameters, times this; and no law is to
# be believed of a task that one rounding leads further astray than ASTRAY.
ROUNDINGS, ASTRAY = 4, 2e-2


@functools.cache
def phases_of_study(study: str) -> tuple[Phase, ...]:
    """The phases of a kind of task, or of the tiny arm of an experiment."""
    if study in KINDS:
        return KINDS[study]()
    _, found = load(study)
    return phases_of(found, resolve(found, 'tiny', {}))


def phase_of(name: str) -> Phase:
    """A phase by its study's name and its number: 'transfer 1' is the second of 'transfer'."""
    study, index = name.rsplit(' ', 1)
    return phases_of_study(study)[int(index)]


@functools.cache
def engine(name: str, layout: str = 'vmap', chunk: int = 2, seeds: tuple = tuple(SEEDS)) -> Engine:
    phase = phase_of(name)
    options = {'seeds': seeds, 'chunk': chunk, 'scan': chunk > 1}
    if is_axes(layout):
        layout = fitting(layout, engine(name).rows, len(seeds))
    return Engine(phase.task, phase.train, layout_name=layout, **options)


def fitting(layout: str, rows: int, seeds: int) -> str:
    """A layout for so many rows: where they do not divide, layers are cut instead of rows."""
    axes = read_axes(layout, seeds=seeds, devices=jax.device_count())
    for name in ('fsdp', 'data'):
        if rows % axes.rows:
            axes = axes._replace(tensor=axes.tensor * getattr(axes, name), **{name: 1})
    return str(axes)


@functools.cache
def trained(name: str, layout: str = 'vmap', chunk: int = 2, seeds: tuple = tuple(SEEDS)):
    """(states on the host with a leading axis of seeds, the same before training)."""
    e = engine(name, layout, chunk, seeds)
    states = e.init()
    before = jax.device_get(e.layout.stack(states))
    *_, tick = e.train(states, start=0, stop=STEPS, cadences=[STEPS])
    return jax.device_get(e.layout.stack(tick.states)), before


def distances(got, want) -> dict[str, float]:
    """How far each leaf is from the wanted one, of its largest entry."""
    found = {}
    pairs = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True)
    for (path, a), b in pairs:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = max(np.abs(b[np.isfinite(b)]).max(initial=0), 1e-3)
        differ = a != b  # not the score of a state that nothing has been measured of yet, -inf
        error = np.abs(a[differ] - b[differ]).max(initial=0) / scale
        found[jax.tree_util.keystr(path)] = float(error)
    return found


def assert_close(got, want, tolerance=TOLERANCE):
    for leaf, error in distances(got, want).items():
        assert error <= tolerance, f'{leaf} differs by {error:.1e}'


def assert_trained_alike(got, want, name):
    """That two ways of training stage `name` give the same numbers, as far as float32 has them."""
    if max(distances(got, want).values()) > TOLERANCE:
        astray = sensitivity(name)
        assert astray <= ASTRAY
        assert_close(got, want, max(TOLERANCE, ROUNDINGS * astray))


@functools.cache
def sensitivity(name: str) -> float:
    """How far one rounding of the parameters before training leads the trained ones."""
    e = engine(name)
    rng = np.random.default_rng(0)

    def rounded(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        up = rng.choice([-1, 1], leaf.shape) * np.finfo(leaf.dtype).eps / 2
        return jax.device_put((np.asarray(leaf) * (1 + up)).astype(leaf.dtype), leaf.sharding)

    *_, tick = e.train(jax.tree.map(rounded, e.init()), start=0, stop=STEPS, cadences=[STEPS])
    states = jax.device_get(e.layout.stack(tick.states))
    return max(distances(states, trained(name)[0]).values())


def seed(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


# One worker for all laws of an experiment, one experiment after another: what is compiled for one
# law serves the others, and goes before the next, because a process may only map so much memory.
@pytest.fixture(
    scope='module',
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in KINDS]
    + [
        pytest.param(name, marks=[pytest.mark.xdist_group(name), of_a_study(name)])
        for name in sorted(names())
    ],
)
def study(request):
    yield request.param
    for cached in (phases_of_study, engine, trained, sensitivity):
        cached.cache_clear()
    jax.clear_caches()


def stages(study: str) -> list[str]:
    """Every phase of a study, by names for `phase_of`."""
    try:
        return [f'{study} {i}' for i in range(len(phases_of_study(study)))]
    except DataMissingError as missing:
        pytest.skip(str(missing))


def test_law_1_a_seed_among_many_equals_the_seed_alone_and_no_other(study):
    for name in stages(study):
        many, before = trained(name)
        alone, _ = trained(name, seeds=(2,))
        assert_trained_alike(seed(alone, 0), seed(many, 2), name)
        with pytest.raises(AssertionError):
            assert_trained_alike(seed(alone, 0), seed(many, 1), name)
        for net in toy.nets(before):
            # Those that are drawn: a head of zeros or a bias of several axes is none.
            kernels = [
                leaf for leaf in jax.tree.leaves(net.params) if leaf.ndim > 2 and np.ptp(leaf)
            ]
            assert kernels and all(not np.array_equal(k[0], k[1]) for k in kernels)


def test_law_3_one_step_a_call_equals_many(study):
    for name in stages(study):
        assert_trained_alike(trained(name, chunk=1)[0], trained(name)[0], name)  # one, two a call


@pytest.mark.parametrize('layout', LAYOUTS)
def test_law_4_every_layout_of_devices_gives_the_same_numbers(study, layout):
    for name in stages(study):
        states, before = trained(name, layout)
        assert_close(before, trained(name)[1])
        assert_trained_alike(states, trained(name)[0], name)


def one_step(name):
    phase = phase_of(name)
    sent = next(phase.train.open(0, 0))
    key = jax.random.key(1)
    batch = phase.train.make(key, phase.train.resident, sent)
    state = jax.tree.map(jnp.copy, seed(jax.tree.map(jnp.asarray, trained(name)[0]), 0))
    return phase.task, (key, state, batch)


def test_law_5_compiled_or_not_a_step_is_the_same(study):
    for name in stages(study):
        task, args = one_step(name)
        assert_close(jax.jit(task.step)(*args), task.step(*args))


def rebatched(batch, size):
    """The rows of a batch in batches of `size`, the last one padded with row 0."""
    rows = len(batch['mask'])
    for first in range(0, rows, size):
        at = np.arange(first, first + size)
        part = jax.tree.map(lambda x, at=at: x[np.where(at < rows, at, 0)], batch)
        yield {**part, 'mask': part['mask'] & (at < rows)}


def test_law_6_measuring_does_not_depend_on_the_batches(study):
    for name in stages(study):
        phase = phase_of(name)
        source = next(iter(evaluations(phase).values())).source
        batch = source.make(jax.random.key(0), source.resident, next(source.open(0, 0)))
        if 'mask' not in batch:
            # The task measures itself: there are no rows to batch.
            assert jax.tree.leaves(batch) == []
            continue
        batch = jax.tree.map(lambda x: x[:50], batch)
        state = seed(jax.tree.map(jnp.asarray, trained(name)[0]), 0)
        measure = jax.jit(phase.task.measure)
        numbers = []
        for size in (7, 13):
            parts = [measure(jax.random.key(0), state, part) for part in rebatched(batch, size)]
            total = functools.reduce(lambda a, b: {k: a[k] + b[k] for k in a}, parts)
            numbers.append(finish(total))
        for metric in numbers[0]:
            np.testing.assert_allclose(numbers[0][metric], numbers[1][metric], rtol=1e-5, atol=1e-6)


def test_law_8_a_step_never_calls_the_host(study):
    for name in stages(study):
        task, args = one_step(name)
        text = str(jax.make_jaxpr(task.step)(*args))
        assert not re.search(r'callback|infeed|outfeed', text)


def test_every_gradient_can_be_taken_in_micro_batches(study):
    """What is learned of is cut, with weights that are found; test_accumulation.py has numbers."""
    for name in stages(study):
        phase, rows = phase_of(name), engine(name).rows
        if rows % 2:
            assert rows == 1  # one graph
            continue
        task = accumulating(phase.task, 2)
        cut = Engine(task, phase.train, seeds=[0], layout_name='vmap')
        assert jax.tree.map(jnp.shape, cut.shapes[:2]) == jax.tree.map(
            jnp.shape, engine(name).shapes[:2]
        )


@pytest.mark.parametrize('name', ['digits', pytest.param('lenet_mnist', marks=pytest.mark.slow)])
def test_law_10_a_classifier_overfits_one_batch(name):
    _, study = load(name)
    params = resolve(study, 'tiny', {'steps': 1000, 'lr': 1e-3, 'smoothing': 0.0})
    try:
        phase = phases_of(study, params)[0]
    except DataMissingError as missing:
        pytest.skip(str(missing))
    task = phase.task
    sent = next(phase.train.open(0, 0))
    batch = phase.train.make(jax.random.key(0), phase.train.resident, sent)
    state = task.init(jax.random.key(0), batch)
    step = jax.jit(task.step)
    for i in range(150):
        state, metrics = step(jax.random.fold_in(jax.random.key(0), i), state, batch)
    assert metrics['accuracy'].value() == 1 and metrics['loss'].value() < 0.01
    assert isinstance(toy.nets(state)[0], Net)
