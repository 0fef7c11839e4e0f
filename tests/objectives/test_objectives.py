"""Objectives that studies share, by hand where they differ from a loss alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.metrics import finish
from jaxdl.models.googlenet import Heads, googlenet_loss
from jaxdl.objectives.classification import classifier


class TwoHeads(nn.Module):
    """A linear classifier with one more head in training, as GoogLeNet has two."""

    @nn.compact
    def __call__(self, x, *, train=False):
        logits, auxiliary = nn.Dense(3, name='main')(x), nn.Dense(3, name='side')(x)
        return Heads(logits, (auxiliary,)) if train else logits


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@pytest.fixture(scope='module')
def stepped():
    """A state before and after one step of SGD with rate 1, the metrics, and the batch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    batch = {'x': x, 'y': np.array([0, 2, 1, 1, 0]), 'mask': np.array([True] * 4 + [False])}
    task = classifier(TwoHeads(), optax.sgd(1.0), classes=3, criterion=googlenet_loss)
    before = task.init(jax.random.key(0), batch)
    after, metrics = jax.jit(task.step)(jax.random.key(1), before, batch)
    params = [jax.device_get(state['net'].net.params) for state in (before, after)]
    return *params, metrics, batch, task, before


def test_the_criterion_weighs_auxiliary_heads(stepped):
    before, after, metrics, batch, _, _ = stepped
    rows = batch['mask']
    x, y = batch['x'][rows], batch['y'][rows]
    loss = 0.0
    for head, weight in (('main', 1.0), ('side', 0.3)):
        logs = log_softmax(x @ before[head]['kernel'] + before[head]['bias'])
        loss += weight * -logs[np.arange(4), y].mean()
        gradient = weight * x.T @ (np.exp(logs) - np.eye(3)[y]) / 4
        np.testing.assert_allclose(
            before[head]['kernel'] - after[head]['kernel'], gradient, rtol=1e-4, atol=1e-6
        )
    assert metrics['loss'].value() == pytest.approx(loss, rel=1e-5)


def test_accuracy_is_that_of_the_main_head(stepped):
    before, _, metrics, batch, task, state = stepped
    logits = batch['x'] @ before['main']['kernel'] + before['main']['bias']
    right = (logits.argmax(-1) == batch['y'])[batch['mask']]
    assert metrics['accuracy'].value() == pytest.approx(right.mean())
    measured = task.measure(jax.random.key(0), state, jax.tree.map(jnp.asarray, batch))
    assert finish(measured)['accuracy'] == pytest.approx(right.mean())
