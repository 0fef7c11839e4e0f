"""Average precision against pycocotools and by hand, and the sums that carry it."""

import contextlib
import functools
import io
import warnings
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxdl.boxes import Detections
from jaxdl.metrics import add, describe, detection, finish
from jaxdl.metrics.detection import Found
from jaxdl.objectives.detection import detector, show_boxes

KINDS = 4


def scene(rng, images, *, truths=6, found=30, kinds=KINDS):
    """Truths, and detections that are moved truths or noise; scores rounded, so that many tie."""
    low = rng.uniform(0, 100, (images, truths, 2))
    truth = np.concatenate([low, low + rng.uniform(4, 60, low.shape)], -1).astype(np.float32)
    classes = rng.integers(0, kinds - 1, (images, truths))  # the last class has no truths
    source = rng.integers(0, truths, (images, found))
    rows = np.arange(images)[:, None]
    boxes = truth[rows, source] + rng.normal(0, 5, (images, found, 4)).astype(np.float32)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 1)
    boxes[:, 0] = truth[:, 0]  # exactly on it
    same = rng.uniform(size=source.shape) < 0.7
    kind = np.where(same, classes[rows, source], rng.integers(0, kinds, source.shape))
    scores = rng.uniform(size=source.shape).round(1).astype(np.float32)
    detections = Detections(boxes, scores, kind, rng.uniform(size=source.shape) < 0.9)
    batch = {
        'boxes': truth,
        'classes': classes,
        'boxes_mask': rng.uniform(size=classes.shape) < 0.8,
        'mask': np.ones(images, bool),
    }
    return detections, batch


def coco(found, batch, limit):
    """pycocotools' own numbers: (AP, AP at 0.5, AR, AP at 0.5 of each class)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def wide(box):
        x1, y1, x2, y2 = (float(v) for v in box)
        return [x1, y1, x2 - x1, y2 - y1]

    images = range(1, len(batch['boxes']) + 1)
    annotations, results = [], []
    for i in images:
        for box, kind in zip(
            batch['boxes'][i - 1][batch['boxes_mask'][i - 1]],
            batch['classes'][i - 1][batch['boxes_mask'][i - 1]],
            strict=True,
        ):
            x, y, w, h = wide(box)
            annotations.append(
                {'id': len(annotations) + 1, 'image_id': i, 'category_id': int(kind) + 1}
                | {'bbox': [x, y, w, h], 'area': w * h, 'iscrowd': 0}
            )
        for box, score, kind, valid in zip(*(f[i - 1] for f in found), strict=True):
            if valid:
                results.append({'image_id': i, 'category_id': int(kind) + 1}
                               | {'bbox': wide(box), 'score': float(score)})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        truth = COCO()
        truth.dataset = {
            'images': [{'id': i} for i in images],
            'categories': [{'id': k + 1} for k in range(KINDS)],
            'annotations': annotations,
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), 'bbox')
        judge.params.maxDets = [1, 2, limit]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval['precision'][:, :, :, 0, 2]  # [thresholds, recalls, classes]
    recall = judge.eval['recall'][:, :, 0, 2]
    known = precision[0, 0] > -1
    each = np.where(known, precision[0].mean(0), np.nan)
    return (
        precision[..., known].mean(),
        precision[0][:, known].mean(),
        recall[:, known].mean(),
        each,
    )


def numbers(found, batch, limit=100):
    got = Found.of(found, batch, classes=KINDS, limit=limit).value()
    return tuple(got[name] for name in ('mAP', 'mAP50', 'AR', 'AP50'))


class TestAgainstPycocotools:
    @pytest.mark.parametrize('limit', [100, 3])
    @pytest.mark.parametrize('seed', range(4))
    def test_random_scenes(self, seed, limit):
        found, batch = scene(np.random.default_rng(seed), 12)
        for got, want in zip(numbers(found, batch, limit), coco(found, batch, limit), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
        assert 0.05 < got[0] < 0.95 and np.isnan(got[-1])

    def test_boxes_that_overlap_several_truths(self):
        """Crowded: which of several truths a detection takes changes what is left for others."""
        rng = np.random.default_rng(9)
        found, batch = scene(rng, 10, truths=12, found=50)
        batch['boxes'] = batch['boxes'] / 4
        found = found._replace(boxes=found.boxes / 4, classes=np.zeros_like(found.classes))
        batch['classes'][:] = 0
        for got, want in zip(numbers(found, batch), coco(found, batch, 100), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


class TestByHand:
    @staticmethod
    def one_class(hits, truths):
        """A ranking in one image: a hit is a truth of its own, a miss is far away."""
        n = len(hits)
        boxes = np.array([[20 * i, 0, 20 * i + 9, 9] for i in range(n)], np.float32)
        truth = [box for box, hit in zip(boxes, hits, strict=True) if hit]
        truth += [[0, 500 + 20 * i, 9, 509 + 20 * i] for i in range(truths - len(truth))]
        found = Detections(boxes, np.linspace(0.9, 0.1, n), np.zeros(n, int), np.ones(n, bool))
        batch = {'boxes': np.array(truth), 'classes': np.zeros(truths, int)}
        batch |= {'boxes_mask': np.ones(truths, bool), 'mask': np.array(True)}
        return Detections(*(f[None] for f in found)), {k: v[None] for k, v in batch.items()}

    @pytest.mark.parametrize(
        ('curve', 'want'),
        [
            # Precision 1, 1/2, 2/3, 1/2 at recall 1/3, 1/3, 2/3, 2/3; the third is never found.
            (detection.at_all_points, 1 / 3 * 1 + 1 / 3 * 2 / 3),
            (detection.at_11_points, (4 * 1 + 3 * 2 / 3) / 11),  # 0...0.3, then 0.4...0.6
            (detection.at_101_points, (34 * 1 + 33 * 2 / 3) / 101),
        ],
    )
    def test_three_ways_to_read_a_curve(self, curve, want):
        found, batch = self.one_class([True, False, True, False], 3)
        got = Found.of(found, batch, classes=1, thresholds=(0.5,), curve=curve).value()
        np.testing.assert_allclose(got['mAP50'], want, rtol=1e-12)
        assert got['mAP'] == got['mAP50'] == got['AP50'][0]

    def test_11_points_are_tenths(self):
        """Equation 1 in fractions: a recall of 3/10, 6/10 or 7/10 is enough for that point."""
        rng = np.random.default_rng(0)
        for truths in range(1, 31):
            hits = rng.permutation([True] * rng.integers(1, truths + 1) + [False] * 5)
            found, ranks = np.cumsum(hits), np.arange(1, len(hits) + 1)
            want = sum(
                max(Fraction(int(f), int(n)) if 10 * f >= k * truths else 0
                    for f, n in zip(found, ranks, strict=True))
                for k in range(11)
            ) / Fraction(11)  # fmt: skip
            got = detection.at_11_points(found / truths, found / ranks)
            assert got == pytest.approx(float(want), rel=1e-12), truths

    @pytest.mark.parametrize('tenths', range(11))
    def test_a_recall_of_just_a_tenth_counts(self, tenths):
        for count in (10, 20, 70):
            recall = np.arange(1, tenths * count // 10 + 1) / count
            got = detection.at_11_points(recall, np.ones(len(recall)))
            assert got == pytest.approx((tenths + 1 if tenths else 0) / 11)

    @pytest.mark.parametrize('found', [34, 35, 57, 94])
    def test_101_points_are_those_of_coco(self, found):
        """Which does not count 35 of 100 as 0.35, in its own code."""
        hits = [True] * found + [False] * 5
        detections, batch = self.one_class(hits, 100)
        ours = Found.of(detections, batch, classes=1).value()['mAP']
        np.testing.assert_allclose(ours, coco(detections, batch, 100)[0], rtol=0, atol=1e-6)
        assert ours == pytest.approx((found + (found == 34)) / 101)

    def test_a_truth_is_found_once(self):
        found, batch = self.one_class([True], 1)
        twice = Detections(*(np.concatenate([f, f], 1) for f in found))
        record = Found.of(twice, batch, classes=1)
        assert record.value()['AR'] == 1
        (ranking,) = record.rankings()
        assert ranking.hits[0].tolist() == [True, False] and ranking.truths == 1

    def test_nothing_found_and_nothing_there(self):
        found, batch = self.one_class([True], 1)
        empty = found._replace(mask=np.zeros((1, 1), bool))
        nothing = Found.of(empty, batch, classes=1).value()
        assert nothing['mAP'] == nothing['mAP50'] == nothing['AR'] == 0
        bare = {**batch, 'boxes_mask': np.zeros((1, 1), bool)}
        assert all(np.isnan(x).all() for x in Found.of(found, bare, classes=1).value().values())
        # A class without truths has no part in the mean, however much of it is found.
        assert Found.of(found, batch, classes=5).value()['mAP'] == 1


class TestSums:
    @pytest.mark.parametrize('size', [1, 5, 12])
    def test_batches_padded_or_not_give_the_same(self, size):
        found, batch = scene(np.random.default_rng(0), 12)
        whole = Found.of(found, batch, classes=KINDS).value()
        parts = []
        for first in range(0, 12, size):
            at = np.arange(first, first + size)
            mask, at = at < 12, np.minimum(at, 11)
            part = {name: column[at] for name, column in batch.items()} | {'mask': mask}
            parts.append(Found.of(Detections(*(f[at] for f in found)), part, classes=KINDS))
        np.testing.assert_equal(add(parts).value(), whole)

    def test_what_is_joined_is_left_as_it_is(self):
        """On the host sums get leaves of 64 bits; detections are many, and never grow."""
        one = Found.of(*scene(np.random.default_rng(0), 4), classes=KINDS)
        for a, b in zip(jax.tree.leaves(one.widened()), jax.tree.leaves(one), strict=True):
            assert a.dtype == b.dtype

    @pytest.mark.parametrize(('truths', 'rows'), [(0, 3), (3, 0), (0, 0)])
    def test_neither_truths_nor_detections(self, truths, rows):
        box, some = jnp.array([0.0, 0, 4, 4]), jnp.ones((2, 3, rows))
        found = Detections(jnp.tile(box, (2, 3, rows, 1)), some, some.astype(int), some > 0)
        batch = {
            'boxes': jnp.tile(box, (2, 3, truths, 1)),
            'classes': jnp.ones((2, 3, truths), int),
        }
        batch |= {'boxes_mask': jnp.ones((2, 3, truths), bool), 'mask': jnp.ones((2, 3), bool)}
        total = jax.jit(jax.vmap(functools.partial(Found.of, classes=2)))(found, batch).collapse()
        assert total.truth.shape == (6, truths, 4) and total.boxes.shape == (6, rows, 4)
        want = 0.0 if truths else np.nan
        got = (total + total).value()
        np.testing.assert_equal([got[name] for name in ('mAP50', 'mAP', 'AR')], [want] * 3)

    def test_what_a_scan_stacks_collapses(self):
        found, batch = scene(np.random.default_rng(0), 4)
        whole = Found.of(found, batch, classes=KINDS)
        stacked = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), whole)
        np.testing.assert_equal(stacked.collapse().value(), whole.value())

    def test_names_of_classes_go_with_their_numbers(self):
        record = Found.of(*scene(np.random.default_rng(0), 2), classes=('a', 'b', 'c', 'd'))
        about = describe({'': record})
        assert about['AP50'].labels == ('a', 'b', 'c', 'd') and about['mAP'].better == 'higher'


class Fixed(nn.Module):
    """A detector that finds its four parameters, as a box, in every image."""

    @nn.compact
    def __call__(self, x):
        return self.param('box', lambda key: jnp.array([2.0, 2.0, 9.0, 9.0]))

    def detect(self, x):
        boxes = jnp.broadcast_to(self(x), (len(x), 1, 4))
        ones = jnp.ones((len(x), 1))
        return Detections(boxes, ones, jnp.zeros((len(x), 1), jnp.int32), ones > 0)

    def losses(self, x, boxes, classes, boxes_mask, rows, *, train):
        assert train
        return {'distance': ((self(x)[None, None] - boxes) ** 2).mean()}


class TestTask:
    def batch(self):
        box = jnp.broadcast_to(jnp.array([[4.0, 4, 8, 8]]), (3, 1, 4))
        ones = jnp.ones((3, 1), bool)
        images = {'x': jnp.zeros((3, 12, 12, 1)), 'mask': jnp.array([True, True, False])}
        return images | {'boxes': box, 'boxes_mask': ones, 'classes': jnp.zeros((3, 1), int)}

    def test_learns_and_measures(self):
        task = detector(Fixed(), optax.sgd(2.0), classes=2)
        batch, key = self.batch(), jax.random.key(0)
        state = task.init(key, batch)
        before = finish(jax.jit(task.measure)(key, state, batch))
        for _ in range(20):
            state, metrics = jax.jit(task.step)(key, state, batch)
        assert metrics['distance'].value() == metrics['loss'].value() < 0.1
        after = finish(jax.jit(task.measure)(key, state, batch))
        assert before['mAP50'] == 0 and after['mAP50'] == after['mAP'] == after['AR'] == 1
        assert after['AP50'][0] == 1 and np.isnan(after['AP50'][1])

    def test_shows_boxes_above_a_score(self):
        task = detector(Fixed(), optax.sgd(2.0), classes=2)
        batch, key = self.batch(), jax.random.key(0)
        state = task.init(key, batch)
        for least, shown in ((0.5, True), (1.0, False)):
            sample = show_boxes(task.nets(state), batch, key, least=least, count=2)['boxes']
            assert sample.boxes.shape == (2, 1, 4) and bool(sample.mask.all()) is shown
