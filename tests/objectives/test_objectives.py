"""Objectives that studies share, by hand where they differ from a loss alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.metrics import finish
from jaxdl.metrics.confusion import Score, macro_f1
from jaxdl.models.googlenet import Heads, googlenet_loss
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.detection import detector
from jaxdl.objectives.keep_best import keep_best
from jaxdl.objectives.segmentation import segmenter
from jaxdl.task import Labels


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
    measured = finish(task.measure(jax.random.key(0), state, jax.tree.map(jnp.asarray, batch)))
    assert measured['accuracy'] == pytest.approx(right.mean())
    np.testing.assert_array_equal(measured['accuracy/each'], right)


def test_single_rows_are_kept_beside_an_accuracy_alone(stepped):
    *_, batch, _, state = stepped
    scores = {'macro_f1': Score(macro_f1)}
    task = classifier(TwoHeads(), optax.sgd(1.0), classes=3, scores=scores)
    measured = jax.eval_shape(task.measure, jax.random.key(0), state, batch)
    assert measured.keys() == {'loss', ''}


@pytest.mark.parametrize('classes', [2, 4, ('a', 'b')])
def test_a_network_has_an_output_for_each_class(classes):
    # Too few make NaN of a label, of too many those that are predicted are counted nowhere.
    task = classifier(nn.Dense(3), optax.sgd(1.0), classes=classes)
    count = classes if isinstance(classes, int) else len(classes)
    batch = {'x': jnp.ones((2, 4)), 'y': jnp.zeros(2, jnp.int32), 'mask': jnp.ones(2, bool)}
    state = jax.eval_shape(task.init, jax.random.key(0), batch)
    for part in (task.step, task.measure):
        with pytest.raises(UsageError, match=f'Dense has 3 outputs, and there are {count} classes'):
            jax.eval_shape(part, jax.random.key(0), state, batch)


def test_a_task_says_which_columns_are_classes():
    opt = optax.sgd(1.0)
    task = classifier(nn.Dense(3), opt, classes=('a', 'b', 'c'))
    assert keep_best(task, 'accuracy').labels == task.labels == {
        'y': Labels(3, probabilities=True, names=('a', 'b', 'c'))
    }  # fmt: skip
    assert detector(nn.Dense(3), opt, classes=3).labels == {
        'classes': Labels(3, axes=1, mask='boxes_mask')
    }
    assert segmenter(nn.Dense(3), opt, classes=3, ignore=9).labels == {
        'segmentation': Labels(3, axes=2, ignore=9)
    }
