"""CLIP's objective: the loss by hand, the bound of the temperature, pairs learned by heart."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.metrics import finish
from jaxdl.models.clip import CLIP, TextTower
from jaxdl.models.mlp import MLP
from jaxdl.objectives.clip import at_most, clip, info_nce, zero_shot

KEY = jax.random.key(0)
LOGITS = 3 * jax.random.normal(KEY, (5, 5))


def test_the_loss_by_hand_and_padding_is_no_candidate():
    mask = jnp.array([True, True, False, True, False])
    kept = np.flatnonzero(mask)
    p = np.exp(np.asarray(LOGITS, np.float64)[np.ix_(kept, kept)])
    rows, columns = (-np.log(np.diag(p / p.sum(axis, keepdims=True))).mean() for axis in (1, 0))
    value, slope = jax.value_and_grad(info_nce)(LOGITS, mask)
    assert value == pytest.approx((rows + columns) / 2, rel=1e-5)
    assert jnp.isfinite(slope).all()
    assert (slope[2] == 0).all() and (slope[:, 4] == 0).all() and (slope[0, [0, 1, 3]] != 0).all()


def test_a_parameter_stops_at_its_limit_and_comes_back():
    opt = optax.chain(optax.sgd(1.0), at_most(math.log(100), name='logit_scale'))
    params = {'a': {'w': jnp.float32(4.0)}, 'logit_scale': jnp.float32(4.0)}
    state = opt.init(params)
    seen = []
    for slope in (-5.0, -5.0, 1.0):
        updates, state = opt.update(
            jax.tree.map(lambda x, s=slope: x * 0 + s, params), state, params
        )
        params = optax.apply_updates(params, updates)
        seen.append((float(params['a']['w']), float(jnp.exp(params['logit_scale']))))
    assert [w for w, _ in seen] == [9, 14, 13]
    np.testing.assert_allclose([s for _, s in seen], [100, 100, 100 / math.e], rtol=1e-5)


@pytest.fixture(scope='module')
def learned():
    """A CLIP that has learned six pairs by heart."""
    texts = partial(TextTower, 9, 3, 16, 1, 2, 16)
    module = CLIP(partial(MLP, (16, 8)), texts, 8)
    task = clip(module, optax.adam(1e-2), ks=(1,))
    tokens = jnp.array([[2, 4, 3], [2, 5, 3], [2, 6, 3], [2, 7, 3], [2, 8, 3], [2, 1, 3]])
    batch = {
        'x': jax.random.normal(KEY, (6, 4, 4, 1)),
        'tokens': tokens,
        'lengths': jnp.full(6, 3),
        'mask': jnp.ones(6, bool),
    }

    def trained(state):
        return jax.lax.scan(lambda s, i: task.step(jax.random.fold_in(KEY, i), s, batch), state,
                            jnp.arange(60))  # fmt: skip

    state, metrics = jax.jit(trained)(task.init(KEY, batch))
    return task, state, batch, metrics


def test_pairs_are_learned_by_heart(learned):
    task, state, batch, metrics = learned
    loss = np.asarray(metrics['loss'].total)
    assert loss[0] > 1 and loss[-1] < 0.05
    found = finish(jax.jit(task.measure)(KEY, state, batch))
    assert found['image_to_text/recall@1'] == found['text_to_image/recall@1'] == 1
    assert found['contrastive_loss'] == pytest.approx(loss[-1], abs=0.02)


def test_classes_are_told_by_their_texts(learned):
    task, state, batch, _ = learned
    batch = {**batch, 'y': jnp.arange(6)}
    twice = jnp.stack([batch['tokens']] * 2, axis=1)  # the mean of a text with itself
    wrong = jnp.roll(batch['tokens'], 1, axis=0)
    for tokens, right in ((batch['tokens'], 1.0), (twice, 1.0), (wrong, 0.0)):
        measure = zero_shot(tokens, jnp.full(tokens.shape[:-1], 3), classes=6)
        found = finish(jax.jit(lambda s, m=measure: m(task.nets(s), batch, KEY))(state))
        assert found['accuracy'] == right
    with pytest.raises(UsageError, match='for 4 classes'):
        zero_shot(twice, jnp.full((6, 2), 3), classes=4)
