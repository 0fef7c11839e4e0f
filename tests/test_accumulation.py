"""Micro-batches: the numbers of the whole batch, the memory of one, and what cannot be cut."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from pace import mostly_slow

from jaxdl import losses
from jaxdl.accumulation import accumulating
from jaxdl.cli.library import options_of, phases_of, resolve
from jaxdl.data.stream import synthetic
from jaxdl.engine.collectives import collectives
from jaxdl.engine.cost import flops
from jaxdl.engine.engine import Engine
from jaxdl.engine.layout import Devices, temporary_bytes
from jaxdl.errors import UsageError
from jaxdl.game import Lazy, Player, game, supervised
from jaxdl.metrics import finish
from jaxdl.micro_batches import cut, dividing_by, joined_again, whole, wholes
from jaxdl.models.mlp import MLP
from jaxdl.models.transformer import Transformer
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.semisupervised import fixmatch
from jaxdl.objectives.seq2seq import seq2seq
from jaxdl.rl.dqn import q_learner
from jaxdl.rl.env import Transition
from jaxdl.rl.replay import Drawn
from jaxdl.study import Phase, Study

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
# Of twelve rows the first part of four would weigh 2, 1, 3, 2: no two ways to count them agree.
MASK = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1], bool)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def mlp():
    batch = {'x': normal(12, 5), 'y': jnp.asarray(RNG.integers(3, size=12)), 'mask': MASK}
    return classifier(MLP((16, 3)), optax.adam(1e-2), classes=3, label_smoothing=0.1), batch


def transformer():
    """Rows that are padding, and tokens that are: lengths from 2 to 6."""
    network = Transformer(11, width=8, depth=1, heads=2, mlp=16, dropout=0.0)
    tokens = jnp.asarray(RNG.integers(4, 11, size=(2, 12, 6)))
    lengths = jnp.asarray(RNG.integers(2, 7, size=(2, 12)))
    batch = {'source': tokens[0], 'source_lengths': lengths[0], 'mask': MASK}
    return seq2seq(network, optax.sgd(0.1)), {
        **batch,
        'target': tokens[1],
        'target_lengths': lengths[1],
    }


def gan():
    """Two players in turns, one of which moves twice, and is penalised now and then."""

    def fake(nets, batch):
        return nets['generator'](batch['z'])[0]

    def score(nets, x):
        return nets['critic'](x)[0]

    def critic(nets, batch, key):
        real, made = score(nets, batch['x']), score(nets, fake(nets, batch))
        value = losses.non_saturating_discriminator(real, made, weights=batch['mask'])
        return value, (nets, {})

    def penalty(nets, batch, key):
        value = losses.r1_penalty(lambda x: score(nets, x), batch['x'], weights=batch['mask'])
        return value, (nets, {})

    def generator(nets, batch, key):
        value = losses.non_saturating_generator(score(nets, fake(nets, batch)))
        return value, (nets, {})

    opt = optax.sgd(0.1)
    players = {
        'critic': Player(MLP((8, 1)), critic, opt, lambda b: (b['x'],), 2, lazy=Lazy(penalty, 2)),
        'generator': Player(MLP((8, 5)), generator, opt, lambda b: (b['z'],)),
    }
    batch = {'x': normal(24, 5), 'z': normal(24, 2), 'mask': np.tile(MASK, 2)}
    return game(players, lambda nets, batch, key: {}), batch


def few_labels():
    """Two tables of different length, and weights that depend on what the network says."""
    task = fixmatch(MLP((16, 3)), optax.sgd(0.3), classes=3, threshold=0.5)
    rest = {'weak': normal(24, 5), 'strong': normal(24, 5), 'mask': np.tile(MASK, 2)}
    labelled = {'x': normal(12, 5), 'y': jnp.asarray(RNG.integers(3, size=12)), 'mask': MASK}
    return task, {**labelled, 'unlabelled': rest}


def q_learning():
    """Rows that weigh differently, whose errors are told in their order."""
    rows = Transition(
        normal(12, 4), jnp.arange(12) % 3, normal(12), jnp.full(12, 0.9), normal(12, 4)
    )
    batch = Drawn(rows, jnp.asarray(RNG.uniform(0, 1, 12), jnp.float32), jnp.arange(12))
    return q_learner(MLP((8, 3)), optax.sgd(0.1), copy_every=2), batch


def trained(task, batch, steps=3):
    state, step, told = jax.jit(task.init)(KEY, batch), jax.jit(task.step), []
    for i in range(steps):
        state, metrics = step(jax.random.fold_in(KEY, i), state, batch)
        told.append(finish(metrics))
    return state, told


@pytest.mark.parametrize('kind', [mlp, transformer, gan, few_labels, q_learning])
def test_micro_batches_change_no_number(kind):
    task, batch = kind()
    (want, said), (got, told) = trained(task, batch), trained(accumulating(task, 3), batch)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    for one, other in zip(told, said, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=2e-5, atol=2e-6, err_msg=name)


def test_a_loss_of_ones_own_is_averaged():
    """Without `jaxdl.losses` nothing is known of weights: the mean of means, as before."""

    def loss(net, batch, key):
        y, net = net(batch['x'], key=key, train=True)
        return ((y[:, 0] - batch['x'][:, 0]) ** 2).mean(), (net, {})

    task = supervised(MLP((4, 1)), loss, optax.sgd(0.1), lambda *_: {})
    batch = {'x': normal(12, 5)}
    (want, _), (got, _) = trained(task, batch), trained(accumulating(task, 4), batch)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_what_a_batch_weighs_at_least_is_of_the_batch():
    """One box in four images: the batch weighs 1, and no micro-batch is taken for one of 1."""
    boxes = jnp.array([0, 1, 0, 0])

    def loss(part):
        return 5.0 * part.sum() / whole(part.sum(), least=1)

    parts = cut(boxes, 4, what='')
    known = wholes(loss, parts)
    assert [float(x) for x in known] == [0.25]

    def divided(part, known=known):
        with dividing_by(known, 4):
            return float(loss(part))

    assert np.mean([divided(part) for part in parts]) == float(loss(boxes)) == 5.0
    none = wholes(loss, 0 * parts)
    assert divided(0 * parts[0], none) == 0.0


def test_rows_that_are_cut_come_together_again():
    rows = np.arange(24).reshape(12, 2)
    parts = cut(rows, 3, what='')
    assert parts.shape == (3, 4, 2) and parts[1][:, 0].tolist() == [2, 8, 14, 20]
    np.testing.assert_array_equal(joined_again(parts, 4), rows)
    tokens = parts.reshape(3, 8)  # two entries a row
    np.testing.assert_array_equal(joined_again(tokens, 4), rows.ravel())


def wide(parts, rows=256):
    """The step of a wide network, and what it is called with."""
    task = accumulating(classifier(MLP((512, 512, 10)), optax.sgd(0.1), classes=10), parts)
    batch = {'x': jnp.zeros((rows, 8)), 'y': jnp.zeros(rows, int), 'mask': jnp.ones(rows, bool)}
    return task.step, (KEY, jax.eval_shape(task.init, KEY, batch), batch)


def test_the_memory_of_activations_is_that_of_a_micro_batch():
    """Two hidden layers of 512 units are kept for the gradient, 4 bytes a row and unit."""

    def temporaries(parts):
        step, inputs = wide(parts, rows=4096)
        return temporary_bytes(jax.jit(step, donate_argnums=1).lower(*inputs).compile())

    kept = 2 * 512 * 4 * 4096
    once, eighth = temporaries(1), temporaries(8)
    assert once >= kept
    assert eighth < once / 3


def test_what_a_step_computes_is_the_same():
    """What finds the weights is without the network, whose masks come with the batch."""
    (once, inputs), (often, _) = wide(1), wide(4)
    assert flops(once, *inputs) == flops(often, *inputs)


def phase(parts=2, task=None, rows=8):
    def draw(key):
        x = jax.random.normal(key, (rows, 5))
        return {'x': x, 'y': (x[:, 0] > 0).astype(jnp.int32), 'mask': x[:, 1] > -0.5}

    task = task or classifier(MLP((16, 2)), optax.sgd(0.1), classes=2)
    return Phase(accumulating(task, parts), synthetic(draw, name='drawn'), {}, 4)


def after(layout, parts=2):
    it = phase(parts)
    engine = Engine(it.task, it.train, seeds=[0, 1], layout_name=layout, chunk=2)
    *_, tick = engine.train(engine.init(), start=0, stop=4, cadences=[4])
    return jax.device_get(engine.layout.stack(tick.states))


@pytest.mark.parametrize('layout', mostly_slow(['data=2', 'loop', 'fsdp=2', 'seeds=2,data=2']))
def test_the_numbers_are_the_same_in_every_layout(layout):
    want = after('vmap', parts=1)
    for a, b in zip(jax.tree.leaves(after(layout)), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_a_micro_batch_lies_over_devices_as_the_batch_does():
    it = phase()
    two = Devices(tuple(jax.devices()[:2]), 'gpu')
    engine = Engine(it.task, it.train, seeds=[0], layout_name='data=2', chunk=1, ahead=two)
    sent = collectives(engine.lower()[0].compile().as_text(), 2)
    # Gradients and sums over rows, and no rows.
    assert {each.kind for each in sent.collectives} == {'all-reduce'}


def test_statistics_of_micro_batches_are_told():
    said = []
    it = phase(task=toy.task())
    Engine(it.task, it.train, seeds=[0], say=said.append, note=said.append)
    (line,) = [line for line in said if 'BatchNorm' in line]
    assert line == (
        '--accumulate 2: the statistics of BatchNorm are those of micro-batches of 4 rows, '
        'not of the batch'
    )
    assert any('2 micro-batches' in note for note in it.task.method.notes)
    said.clear()
    it = phase()
    Engine(it.task, it.train, seeds=[0], say=said.append, note=said.append)
    assert not [line for line in said if 'BatchNorm' in line]


def inside(transform):
    def loss(net, batch, key):
        y, net = net(batch['x'], key=key, train=True)
        return transform(losses.mean_squared_error)(y, 0 * y), (net, {})

    return supervised(MLP((4, 1)), loss, optax.sgd(0.1), lambda *_: {})


def one_device(parts, layout='vmap', **options):
    it = phase(parts, **options)
    return Engine(it.task, it.train, seeds=[0], layout_name=layout)


CUSTOM = toy.task()._replace(step=lambda key, state, batch: (state, {}))


@pytest.mark.parametrize(
    'make,says',
    [
        (
            lambda: one_device(3),
            '--accumulate 3: 3 micro-batches do not divide a batch of 8 rows; 4 do',
        ),
        (
            lambda: one_device(100, rows=7),
            '--accumulate 100: 100 micro-batches do not divide a batch of 7 rows; 7 do',
        ),
        (
            lambda: one_device(4, 'data=4'),
            '--layout data=4: 4 parts do not divide a micro-batch of 2 rows; 2 do',
        ),
        (
            lambda: one_device(2, task=CUSTOM),
            '--accumulate 2: the task takes its gradients itself, in no game; 1 does',
        ),
        (lambda: one_device(2, task=inside(jax.jit)), 'inside a jit, vmap or scan of its own'),
        (lambda: one_device(2, task=inside(jax.vmap)), 'inside a jit, vmap or scan of its own'),
        (lambda: accumulating(CUSTOM, 0), 'accumulate is 0; it must be a whole number, at least 1'),
        (lambda: cut({}, 2, what='--accumulate 2'), '--accumulate 2: a batch has no rows in it'),
        (lambda: cut({'x': jnp.ones(())}, 2, what='--accumulate 2'), 'a single number in it'),
    ],
)
def test_what_cannot_be_cut_is_refused(make, says):
    with pytest.raises(UsageError) as raised:
        make()
    assert says in str(raised.value)


def test_every_study_is_lent_the_option():
    study = Study('?', lent, {'a': {}}, 1)
    assert [option.name for option in options_of(study)][-1] == 'accumulate'
    params = resolve(study, 'a', {'accumulate': 4})
    assert params == {'accumulate': 4}
    (found,) = phases_of(study, params)
    assert found.task.micro_batches == 4
    (found,) = phases_of(study, resolve(study, 'a', {}))
    assert found.task.micro_batches == 1
    own = Study('?', of_its_own, {'a': {}}, 1)
    assert [option.name for option in options_of(own)] == ['accumulate', 'precision']
    (found,) = phases_of(own, resolve(own, 'a', {'accumulate': 4}))
    assert found.task.micro_batches == 1 and found.steps == 4


def lent() -> Phase:
    return phase(1)


def of_its_own(accumulate: int = 2) -> Phase:
    return phase(1)._replace(steps=accumulate)


def test_it_is_part_of_what_is_computed():
    one, two = (Engine(*phase(n)[:2], seeds=[0]).identity for n in (1, 2))
    assert one != two
