"""SimCLR, BYOL, pseudo-labels and FixMatch against their equations, written out in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from test_losses import contrast, cosines

from jaxdl.errors import UsageError
from jaxdl.metrics import finish, total
from jaxdl.metrics.embeddings import Spread
from jaxdl.models.heads import Headed, Online
from jaxdl.models.mlp import MLP
from jaxdl.objectives.byol import byol, target_decay
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.contrastive import simclr
from jaxdl.objectives.semisupervised import fixmatch, pseudo_label

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ENCODER, HEAD, PREDICTOR = MLP((6,)), MLP((5, 4)), MLP((5, 4))
LR, ROWS, MANY, CLASSES = 0.1, 5, 9, 3


def rows(n):
    return jnp.asarray(RNG.normal(size=(n, 7)), jnp.float32)


PAIR = {name: rows(ROWS) for name in ('x', 'first', 'second')} | {'mask': jnp.arange(ROWS) < 4}
BESIDE = {name: rows(MANY) for name in ('x', 'weak', 'strong')} | {'mask': jnp.arange(MANY) != 2}
LABELLED = {'x': rows(ROWS), 'y': jnp.arange(ROWS) % CLASSES, 'mask': PAIR['mask']}
BATCH = {**LABELLED, 'unlabelled': BESIDE}
SEEN, KEPT = np.asarray(BESIDE['mask']), np.asarray(PAIR['mask'])


def apply(net, x, method=None):
    return np.asarray(net(x, method=method)[0], np.float64)


def loss_of(task):
    """The loss of the one player, as a function of (net, batch)."""
    loss = task.method.players['net'].loss
    return lambda net, batch: loss({'net': net}, batch, KEY)[0]


def assert_descends(task, batch, formula, shadow=None):
    """A step moves against the gradient of `formula(net, frozen net)`, of the first alone."""
    state = jax.jit(task.init)(KEY, batch)
    net = state['net'].net
    if shadow is not None:
        net = net.replace(shadow=shadow)
        state = {'net': state['net']._replace(net=net)}
    after, metrics = jax.jit(task.step)(KEY, state, batch)

    @jax.jit
    @jax.grad
    def gradient(params):
        return formula(net.replace(params=params), net)

    expected = jax.tree.map(lambda p, g: p - LR * g, net.params, gradient(net.params))
    for a, b in zip(
        jax.tree.leaves(after['net'].net.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    return net, after['net'].net, finish(metrics)


def test_simclr_contrasts_the_projections_of_real_rows():
    task = simclr(Headed(ENCODER, HEAD), optax.sgd(LR), temperature=0.2)
    state = jax.jit(task.init)(KEY, PAIR)
    _, metrics = jax.jit(task.step)(KEY, state, PAIR)
    net = state['net'].net
    views = (apply(net, PAIR[name])[KEPT] for name in ('first', 'second'))
    np.testing.assert_allclose(finish(metrics)['loss'], contrast(*views, 0.2), rtol=1e-5)
    z = apply(net, PAIR['x'])[KEPT]
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    found = finish(jax.jit(task.measure)(KEY, state, PAIR))
    assert found == {'spread': pytest.approx(z.var(0).sum(), rel=1e-5)}
    with pytest.raises(UsageError, match='temperature is 0'):
        simclr(Headed(ENCODER, HEAD), optax.sgd(LR), temperature=0)


def test_spread_is_zero_of_one_direction_and_one_of_all():
    line = np.outer(np.arange(1, 5), [3.0, 4.0])
    cross = np.array([[1, 0], [0, 2], [-3, 0], [0, -1], [9, 9]])
    mask = np.arange(5) < 4
    assert Spread.of(line, np.ones(4)).value() == pytest.approx(0, abs=1e-6)
    assert Spread.of(cross, mask).value() == pytest.approx(1, abs=1e-6)
    parts = [{'spread': Spread.of(cross[i : i + 1], mask[i : i + 1])} for i in range(5)]
    assert finish(total(parts))['spread'] == pytest.approx(1, abs=1e-6)
    assert np.isnan(Spread.of(cross, np.zeros(5)).value())


def online(steps=10):
    return byol(Online(ENCODER, HEAD, PREDICTOR), optax.sgd(LR), steps=steps, decay=0.9)


def bootstrap(net, fixed):
    """Equation 2 and its twin, with the shadow of `fixed` as the target."""

    def cosine(one, other):
        q, z = net(PAIR[one])[0], fixed.shadow(PAIR[other], method='project')[0]
        norms = jnp.linalg.norm(q, axis=1) * jnp.linalg.norm(z, axis=1)
        return (q * z).sum(1) / norms

    each = 4 - 2 * cosine('first', 'second') - 2 * cosine('second', 'first')
    return jnp.where(PAIR['mask'], each, 0).sum() / KEPT.sum()


@pytest.fixture(scope='module')
def elsewhere():
    """A target that is not what the net is."""
    net = jax.jit(online().init)(KEY, PAIR)['net'].net
    return net.shadow.replace(params=jax.tree.map(lambda x: x * 1.3 + 0.1, net.params))


def test_byol_descends_equation_2_and_its_target_follows(elsewhere):
    net, after, metrics = assert_descends(online(), PAIR, bootstrap, elsewhere)
    q = [apply(net, PAIR[name])[KEPT] for name in ('first', 'second')]
    z = [apply(elsewhere, PAIR[name], 'project')[KEPT] for name in ('second', 'first')]
    parts = [2 - 2 * cosines(*pair).diagonal().mean() for pair in zip(q, z, strict=True)]
    np.testing.assert_allclose(metrics['loss'], sum(parts), rtol=1e-5)
    decay = 1 - 0.1 * (np.cos(np.pi / 10) + 1) / 2
    follow = jax.tree.map(lambda s, p: decay * s + (1 - decay) * p, elsewhere.params, after.params)
    for a, b in zip(jax.tree.leaves(after.shadow.params), jax.tree.leaves(follow), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_no_gradient_reaches_the_target_of_byol(elsewhere):
    """What keeps it from making its own task easy: the target moves by the average alone."""
    task = online()
    net = jax.jit(task.init)(KEY, PAIR)['net'].net

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients(params, target):
        shadow = elsewhere.replace(params=target)
        return loss_of(task)(net.replace(params=params, shadow=shadow), PAIR)

    own, target = gradients(net.params, elsewhere.params)
    assert all(leaf.any() for leaf in jax.tree.leaves(own))
    assert not any(leaf.any() for leaf in jax.tree.leaves(target))


def test_the_decay_of_byol_rises_to_one_along_a_cosine():
    decay = target_decay(0.996, 100)
    np.testing.assert_allclose([decay(t) for t in (0, 50, 100, 200)], [0.996, 0.998, 1, 1])
    for wrong in ((1.1, 100), (0.9, 0)):
        with pytest.raises(UsageError, match=f'decay={wrong[0]}, steps={wrong[1]}'):
            target_decay(*wrong)


def entropy(logits, y, keep):
    log_p = logits - special.logsumexp(logits, axis=1, keepdims=True)
    return -log_p[np.arange(len(y)), y][keep]


def test_pseudo_labels_weigh_as_the_step_says():
    weight = optax.linear_schedule(0.0, 3.0, 2, 1)  # 0, 0, 1.5, 3, 3
    task = pseudo_label(MLP((4, CLASSES)), optax.sgd(LR), classes=CLASSES, weight=weight)
    state, step = jax.jit(task.init)(KEY, BATCH), jax.jit(task.step)
    for alpha in (0, 0, 1.5, 3, 3):
        net = state['net'].net
        known, unknown = apply(net, BATCH['x']), apply(net, BESIDE['x'])
        value = entropy(known, np.asarray(BATCH['y']), KEPT).mean()
        value += alpha * entropy(unknown, unknown.argmax(1), SEEN).mean()
        state, metrics = step(KEY, state, BATCH)
        found = finish(metrics)
        np.testing.assert_allclose(found['loss'], value, rtol=1e-5)
        right = known.argmax(1) == np.asarray(BATCH['y'])
        np.testing.assert_allclose(found['accuracy'], right[KEPT].mean())


@pytest.mark.parametrize('threshold', [0.0, 0.5, 1.0])
def test_fixmatch_descends_equations_3_and_4(threshold):
    options = dict(classes=CLASSES, threshold=threshold, weight=0.7)
    task = fixmatch(MLP((4, CLASSES)), optax.sgd(LR), **options)

    def formula(net, fixed):
        q = jax.nn.softmax(fixed(BESIDE['weak'])[0])
        chosen = SEEN & (q.max(1) >= threshold)
        known = jax.nn.log_softmax(net(BATCH['x'])[0])[jnp.arange(ROWS), BATCH['y']]
        strong = jax.nn.log_softmax(net(BESIDE['strong'])[0])[np.arange(MANY), q.argmax(1)]
        supervised = -jnp.where(KEPT, known, 0).sum() / KEPT.sum()
        return supervised - 0.7 * jnp.where(chosen, strong, 0).sum() / SEEN.sum()

    net, _, metrics = assert_descends(task, BATCH, formula)
    np.testing.assert_allclose(metrics['loss'], formula(net, net), rtol=1e-5)
    sure = special.softmax(apply(net, BESIDE['weak']), axis=1).max(1) >= threshold
    assert metrics['kept'] == pytest.approx(sure[SEEN].mean())
    assert {0.0: sure.all(), 0.5: 0 < sure[SEEN].sum() < SEEN.sum(), 1.0: not sure.any()}[threshold]


def test_what_is_measured_is_what_a_classifier_measures():
    module = MLP((4, CLASSES))
    plain = classifier(module, optax.sgd(LR), classes=CLASSES)
    task = fixmatch(module, optax.sgd(LR), classes=CLASSES)
    state = jax.jit(task.init)(KEY, BATCH)
    ours, theirs = (finish(each.measure(KEY, state, LABELLED)) for each in (task, plain))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert task.labels['y'].classes == CLASSES and not task.labels['y'].probabilities


def test_a_threshold_is_a_probability():
    with pytest.raises(UsageError, match='threshold is 95'):
        fixmatch(MLP((3,)), optax.sgd(LR), classes=3, threshold=95)
    task = fixmatch(MLP((4,)), optax.sgd(LR), classes=3)
    with pytest.raises(UsageError, match='has 4 outputs, and there are 3 classes'):
        jax.eval_shape(task.step, KEY, jax.eval_shape(task.init, KEY, BATCH), BATCH)
