"""Segmentation: the metrics against scikit-learn, the task on padded and ignored pixels."""

from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as sklearn

from jaxdl.metrics import finish
from jaxdl.metrics.confusion import Confusion, dice_of_rows
from jaxdl.models.googlenet import Heads, auxiliary_loss
from jaxdl.objectives.segmentation import SCORES, middle, segmenter, show_masks

RNG = np.random.default_rng(0)
CLASSES = 5
TRUTH = RNG.integers(0, CLASSES, (6, 7, 9))
WRONG = RNG.integers(0, CLASSES, TRUTH.shape)
PREDICTED = np.where(RNG.uniform(size=TRUTH.shape) < 0.6, TRUTH, WRONG)
IGNORED = np.where(RNG.uniform(size=TRUTH.shape) < 0.2, 255, TRUTH)


def numbers(truth, predicted, classes=CLASSES):
    pairs = jnp.asarray(truth), jnp.asarray(predicted)
    return finish({'': Confusion.of(*pairs, classes, scores=SCORES)})


class TestMetrics:
    @pytest.mark.parametrize('truth', [TRUTH, IGNORED], ids=['all', 'ignored'])
    def test_are_those_of_scikit_learn(self, truth):
        got = numbers(truth, PREDICTED)
        known = truth != 255
        assert known.all() == (truth is TRUTH)
        pair = truth[known], PREDICTED[known]
        want = {
            'accuracy': sklearn.accuracy_score(*pair),
            'error': sklearn.zero_one_loss(*pair),
            'mean_accuracy': sklearn.balanced_accuracy_score(*pair),
            'iou': sklearn.jaccard_score(*pair, average=None),
            'mean_iou': sklearn.jaccard_score(*pair, average='macro'),
            'weighted_iou': sklearn.jaccard_score(*pair, average='weighted'),
            'dice': sklearn.f1_score(*pair, labels=range(1, CLASSES), average='macro'),
            'confusion': sklearn.confusion_matrix(*pair),
        }
        assert got.keys() == want.keys()
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)

    def test_dice_of_two_classes_is_that_of_class_1(self):
        truth, predicted = TRUTH > 2, PREDICTED > 2
        got = numbers(truth * 1, predicted * 1, 2)['dice']
        np.testing.assert_allclose(got, sklearn.f1_score(truth.ravel(), predicted.ravel()))

    def test_a_class_that_nobody_names_has_no_part_in_a_mean(self):
        truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
        got = numbers(truth, predicted, 3)
        np.testing.assert_allclose(got['iou'], [1 / 2, 2 / 3, np.nan])
        np.testing.assert_allclose(got['mean_iou'], (1 / 2 + 2 / 3) / 2)
        np.testing.assert_allclose(got['weighted_iou'], (1 / 2 + 2 / 3) / 2)
        np.testing.assert_allclose(got['mean_accuracy'], 3 / 4)
        np.testing.assert_allclose(got['dice'], 4 / 5)

    def test_without_pixels_there_is_no_number(self):
        got = numbers(np.full(3, 255), np.zeros(3, int))
        assert all(np.isnan(got[name]).all() for name in SCORES)

    def test_parts_add_up(self):
        def counted(rows):
            return jax.jit(lambda *pairs: Confusion.of(*pairs, CLASSES, scores=SCORES))(
                IGNORED[rows], PREDICTED[rows]
            )

        parts = [counted(slice(start, start + 4)) for start in (0, 4)]
        total = reduce(lambda a, b: a + b, parts).value()
        np.testing.assert_equal(total, counted(slice(None)).value())
        assert total['mean_iou'] != np.mean([part.value()['mean_iou'] for part in parts])


class Linear(nn.Module):
    """A 3x3 convolution."""

    classes: int = 3
    padding: str = 'SAME'

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.classes, (3, 3), padding=self.padding)(x)


class TwoHeads(nn.Module):
    """A head and an auxiliary one in training."""

    @nn.compact
    def __call__(self, x, *, train=False):
        a, b = (nn.Conv(3, (1, 1), name=name)(x) for name in 'ab')
        return Heads(a, (b,)) if train else a


def a_batch(rows=4):
    x = RNG.normal(size=(rows, 8, 6, 2)).astype(np.float32)
    truth = RNG.integers(0, 3, (rows, 8, 6)).astype(np.uint8)
    truth[:, ::3, ::2] = 255
    return {'x': x, 'segmentation': truth, 'mask': np.ones(rows, bool)}


def longer(batch, x):
    """The same batch with two more rows, of images of `x` everywhere, that do not count."""
    other = {**a_batch(2), 'mask': np.zeros(2, bool)}
    other['x'][:] = x
    return {name: np.concatenate((batch[name], other[name])) for name in batch}


class TestSegmenter:
    @pytest.mark.parametrize('padding', ['SAME', 'VALID'])
    def test_numbers_are_of_the_pixels_that_count(self, padding):
        task = segmenter(Linear(padding=padding), optax.sgd(0.1), classes=3)
        batch = a_batch()
        state = jax.jit(task.init)(jax.random.key(0), batch)
        got = finish(jax.jit(task.measure)(jax.random.key(0), state, longer(batch, np.nan)))
        net = jax.tree.leaves(state, is_leaf=lambda node: hasattr(node, 'module'))[0]
        logits = np.asarray(jax.jit(lambda x: net(x)[0])(batch['x']))
        truth = batch['segmentation']
        truth = truth if padding == 'SAME' else truth[:, 1:-1, 1:-1]
        known = truth != 255
        classes, scores = truth[known].astype(int), logits[known]
        assert got['accuracy'] == pytest.approx((scores.argmax(-1) == classes).mean())
        assert got['confusion'].sum() == known.sum()
        each = zip(truth, logits.argmax(-1), known, strict=True)
        dice = [
            sklearn.f1_score(t[k], y[k], labels=[1, 2], average='macro') for t, y, k in each
        ]  # fmt: skip
        np.testing.assert_allclose(got['dice/each'], dice, rtol=1e-6)
        p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        assert got['loss'] == pytest.approx(-np.log(p[range(len(p)), classes]).mean(), rel=1e-5)

    def test_the_dice_of_an_image_without_foreground_is_unknown(self):
        counts = np.zeros((4, 3, 3), int)
        counts[0, 0, 0] = 9  # nothing there, nothing found
        counts[1, 0, 1] = 2  # found, and not there
        counts[2] = [[5, 0, 0], [1, 3, 0], [0, 0, 0]]  # of class 2 nothing: class 1 alone counts
        counts[3] = [[5, 0, 0], [1, 3, 0], [0, 0, 7]]
        want = [np.nan, 0, 6 / 7, (6 / 7 + 1) / 2]
        np.testing.assert_allclose(dice_of_rows(jnp.asarray(counts)), want, rtol=1e-6)

    @pytest.mark.parametrize('scores', [{'mean_iou': SCORES['mean_iou']}, SCORES])
    def test_it_is_kept_beside_the_dice_coefficient(self, scores):
        task = segmenter(Linear(), optax.sgd(0.1), classes=3, scores=scores)
        batch = a_batch()
        state = jax.eval_shape(task.init, jax.random.key(0), batch)
        measured = jax.eval_shape(task.measure, jax.random.key(0), state, batch)
        assert ('dice/each' in measured) == ('dice' in scores)

    def test_a_step_sees_only_the_pixels_that_count(self):
        task = segmenter(Linear(), optax.sgd(0.1), classes=3)
        batch = a_batch()
        state = jax.jit(task.init)(jax.random.key(0), batch)
        step = jax.jit(task.step)
        results = [step(jax.random.key(0), state, b)[0] for b in (batch, longer(batch, 1e3))]
        for a, b in zip(*map(jax.tree.leaves, results), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_the_loss_is_told_which_pixels_count(self):
        code = np.arange(4 * 8 * 6).reshape(4, 8, 6)

        def loss(logits, truth, weights):
            return (code * weights).sum() + 0.01 * truth.sum() + 0 * logits.sum()

        task = segmenter(Linear(), optax.sgd(0.1), classes=3, loss=loss)
        batch = a_batch()
        state = jax.jit(task.init)(jax.random.key(0), batch)
        _, metrics = jax.jit(task.step)(jax.random.key(0), state, batch)
        known = batch['segmentation'] != 255
        want = code[known].sum() + 0.01 * batch['segmentation'][known].sum(dtype=int)
        assert 0 < (~known).sum() < known.sum()
        assert metrics['loss'].value() == pytest.approx(want, rel=1e-6)

    def test_an_auxiliary_head_is_trained(self):
        criterion = partial(auxiliary_loss, weight=0.5)
        task = segmenter(TwoHeads(), optax.sgd(1.0), classes=3, criterion=criterion)
        batch = a_batch()
        state = jax.jit(task.init)(jax.random.key(0), batch)
        after, metrics = jax.jit(task.step)(jax.random.key(0), state, batch)
        before, after = (
            jax.tree.leaves(s, is_leaf=lambda node: hasattr(node, 'module'))[0].params
            for s in (state, after)
        )
        moved = {k: np.abs(after[k]['kernel'] - before[k]['kernel']).max() for k in 'ab'}
        assert moved['a'] > 0.01 and moved['b'] > 0.005
        assert finish(jax.jit(task.measure)(jax.random.key(0), state, batch))['accuracy'] > 0
        assert np.isfinite(metrics['loss'].value())

    def test_it_learns(self):
        x = RNG.normal(size=(4, 8, 8, 1)).astype(np.float32)
        batch = {'x': x, 'segmentation': (x[..., 0] > 0) * 1, 'mask': np.ones(4, bool)}
        task = segmenter(Linear(classes=2), optax.adam(0.1), classes=2)
        state, step = jax.jit(task.init)(jax.random.key(0), batch), jax.jit(task.step)
        for i in range(100):
            state, _ = step(jax.random.key(i), state, batch)
        got = finish(jax.jit(task.measure)(jax.random.key(0), state, batch))
        assert got['dice'] > 0.97 and got['error'] < 0.03

    @pytest.mark.parametrize('padding', ['SAME', 'VALID'])
    def test_what_is_shown(self, padding):
        task = segmenter(Linear(padding=padding), optax.sgd(0.1), classes=3)
        batch = a_batch()
        state = jax.jit(task.init)(jax.random.key(0), batch)
        sample = show_masks(task.nets(state), batch, jax.random.key(0), count=3)['masks']
        size = (8, 6) if padding == 'SAME' else (6, 4)
        assert sample.pixels.shape == (3, *size, 2) and sample.predicted.shape == (3, *size)
        np.testing.assert_array_equal(
            sample.truth, middle(batch['segmentation'], sample.pixels)[:3]
        )
        assert 0 <= sample.pixels.min() and sample.pixels.max() <= 1 and sample.truth.max() == 255
