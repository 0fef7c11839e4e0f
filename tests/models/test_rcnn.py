"""R-CNN and Fast R-CNN: regions to learn from, losses, warped crops and both networks."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import Jitted

from jaxdl import boxes
from jaxdl.engine import cost
from jaxdl.models import rcnn as plain
from jaxdl.models.rcnn import RCNN, FastRCNN, RegionHead, Regions, Samples

bx, rcnn = Jitted(boxes), Jitted(plain)

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def random_boxes(*shape, extent=60.0):
    low = RNG.uniform(0, extent / 2, (*shape, 2))
    return np.concatenate([low, low + RNG.uniform(4, extent / 2, (*shape, 2))], -1).astype('f')


def random_like(tree):
    return jax.tree.map(lambda s: RNG.normal(size=s.shape, scale=0.2).astype('f'), tree)


def shapes(module, *inputs):
    return jax.eval_shape(lambda *x: module.init(KEY, *x), *inputs)


OPTIONS = ('count', 'fraction', 'foreground', 'least')
DRAW = jax.jit(rcnn.sample_regions, static_argnames=OPTIONS)


class TestSampleRegions:
    TRUTH = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [9, 9, 9, 9]], np.float32)
    CLASSES, KNOWN = np.array([2, 0, 1]), np.array([True, True, False])
    # IoU with the first truth: 1, 0.8, 0.5, 0.49, 0.05, 0; the last but one is padding.
    PROPOSALS = np.array(
        [
            *([0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 4.9], [0, 0, 5, 1]),
            *([50, 50, 60, 60], [0, 0, 10, 10], [20, 20, 40, 36]),
        ],
        np.float32,
    )
    MASK = np.array([True] * 6 + [False, True])

    def draw(self, key=KEY, **options):
        options = {'count': 64, **options}
        return DRAW(key, self.PROPOSALS, self.MASK, self.TRUTH, self.CLASSES, self.KNOWN, **options)

    @pytest.mark.parametrize(
        ('options', 'want'),
        [
            ({}, [3, 3, 3, 0, 0, 0, 1, 3, 1]),  # the two true boxes are regions too
            ({'least': 0.1}, [3, 3, 3, 0, 1, 3, 1]),
            ({'foreground': 0.6}, [3, 3, 0, 0, 0, 0, 1, 3, 1]),
        ],
    )
    def test_labels_by_iou(self, options, want):
        found = self.draw(fraction=1.0, **options)
        assert found.labels[found.mask].tolist() == want
        assert len(found.mask) == len(self.PROPOSALS) + len(self.TRUTH)
        assert not np.asarray(found.boxes)[~found.mask].any()

    def test_targets_lead_to_the_truth(self):
        found = self.draw(fraction=1.0)
        back = bx.decode(found.targets, found.boxes, weights=rcnn.WEIGHTS)
        for box, label in zip(back, found.labels, strict=True):
            if label:
                truth = self.TRUTH[self.CLASSES.tolist().index(int(label) - 1)]
                np.testing.assert_allclose(box, truth, atol=1e-4)
        assert not np.asarray(found.targets)[np.asarray(found.labels) == 0].any()

    def test_at_most_a_fraction_are_objects(self):
        found = [self.draw(jax.random.key(i), count=4, fraction=0.25) for i in range(8)]
        assert all(int(each.mask.sum()) == 4 and len(each.mask) == 4 for each in found)
        assert all(int((each.labels > 0).sum()) == 1 for each in found)
        assert len({each.boxes.tobytes() for each in map(jax.device_get, found)}) > 1

    def test_without_truth_all_is_background(self):
        none = np.zeros(3, bool)
        found = DRAW(KEY, self.PROPOSALS, self.MASK, self.TRUTH, self.CLASSES, none, count=64)
        assert int(found.mask.sum()) == 7 and not found.labels.any() and not found.targets.any()


class TestLosses:
    def test_multi_task_loss_is_that_of_a_loop(self):
        shape, kinds = (2, 5), 4
        logits = RNG.normal(size=(*shape, kinds)).astype('f')
        offsets = RNG.normal(size=(*shape, kinds, 4)).astype('f')
        labels = np.array([[0, 1, 3, 2, 0], [2, 0, 0, 3, 1]])
        targets = RNG.normal(size=(*shape, 4)).astype('f')
        mask = np.array([[True] * 4 + [False], [True, True, False, True, False]])
        classification, location = [], 0.0
        for at in np.ndindex(shape):
            if mask[at]:
                p = np.exp(logits[at]) / np.exp(logits[at]).sum()
                classification.append(-np.log(p[labels[at]]))
                if labels[at] > 0:
                    e = np.abs(offsets[at][labels[at]] - targets[at])
                    location += np.where(e < 1, e**2 / 2, e - 0.5).sum()
        got = rcnn.region_losses(
            Regions(logits, offsets), Samples(np.zeros((*shape, 4)), labels, targets, mask)
        )
        np.testing.assert_allclose(
            got, (np.mean(classification), location / len(classification)), rtol=1e-5
        )

    def test_nothing_to_learn_from_is_zero(self):
        regions = Regions(jnp.ones((3, 2)), jnp.ones((3, 2, 4)))
        samples = Samples(
            jnp.zeros((3, 4)), jnp.zeros(3, int), jnp.zeros((3, 4)), jnp.zeros(3, bool)
        )
        descend = jax.jit(jax.value_and_grad(lambda r: sum(rcnn.region_losses(r, samples))))
        value, gradient = descend(regions)
        assert value == 0 and not any(g.any() for g in gradient)

    def test_signs_of_the_linear_machines(self):
        truth = TestSampleRegions.TRUTH
        regions, signs = rcnn.svm_signs(
            TestSampleRegions.PROPOSALS, TestSampleRegions.MASK, truth,
            TestSampleRegions.CLASSES, TestSampleRegions.KNOWN, count=3,
        )  # fmt: skip
        assert regions.shape == (11, 4)
        # Of class 2 (the first truth): proposals that overlap it too much are left out.
        assert signs[:, 2].tolist() == [0, 0, 0, 0, -1, -1, 0, -1, 1, 0, 0]
        assert signs[:, 0].tolist() == [-1, -1, -1, -1, -1, -1, 0, 0, 0, 1, 0]
        # Class 1 has no true box that counts.
        assert signs[:, 1].tolist() == [-1] * 6 + [0, -1, 0, 0, 0]


class TestRegionDetections:
    SIZE = (40, 50)

    def detect(self, scores, offsets, proposals, mask, **options):
        detect = jax.jit(partial(rcnn.region_detections, size=self.SIZE, limit=5, **options))
        return jax.device_get(detect(scores, offsets, proposals, mask))

    def test_each_class_has_its_own_box(self):
        proposals = np.array([[0, 0, 20, 20], [30, 20, 48, 38]], np.float32)
        want = random_boxes(2, 3, extent=38)
        offsets = bx.encode(want, proposals[:, None], weights=rcnn.WEIGHTS)
        scores = np.array([[0.9, 0.04, 0.3], [0.05, 0.8, 0.06]], np.float32)
        found = self.detect(scores, offsets, proposals, np.ones(2, bool), threshold=1.0)
        assert found.mask.tolist() == [True] * 4 + [False]
        assert found.classes.tolist() == [0, 1, 2, 2, 0]
        np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.3, 0.06, 0], rtol=1e-6)
        rows = [want[0, 0], want[1, 1], want[0, 2], want[1, 2], np.zeros(4)]
        np.testing.assert_allclose(found.boxes, rows, atol=1e-4)

    def test_boxes_are_cut_at_the_image_and_padding_is_none(self):
        proposals = np.array([[-10, 5, 20, 60], [60, 5, 70, 9], [0, 0, 9, 9]], np.float32)
        scores, offsets = np.full((3, 1), 0.5, np.float32), np.zeros((3, 1, 4), np.float32)
        found = self.detect(scores, offsets, proposals, np.array([True, True, False]))
        # The second is outside: nothing of it is left.
        assert found.mask.tolist() == [True] + [False] * 4
        assert found.boxes[0].tolist() == [0, 5, 20, 40]

    def test_suppression_within_a_class_only(self):
        proposals = np.array([[0, 0, 20, 20], [0, 0, 20, 19]], np.float32)
        offsets = np.zeros((2, 2, 4), np.float32)
        scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
        found = self.detect(scores, offsets, proposals, np.ones(2, bool))
        assert found.classes[found.mask].tolist() == [0, 1]
        np.testing.assert_allclose(found.scores[found.mask], [0.9, 0.2])


@pytest.mark.parametrize(
    ('module', 'parameters', 'gmacs'),
    [
        # VGG-16 less its last layer, and 21 classes with their offsets; 600x1000 and 100 proposals.
        (FastRCNN(), 134_260_544 + 21 * 4097 + 84 * 4097, 183.5 + 100 * 0.12),
        # AlexNet of 2012 less its last layer, and the three heads; one crop for each proposal.
        (RCNN(), 56_868_224 + 21 * 4097 + 20 * 4097 + 80 * 9217, 100 * 0.724),
    ],
    ids=['fast', 'slow'],
)
def test_sizes_of_the_networks_of_the_papers(module, parameters, gmacs):
    images = jax.ShapeDtypeStruct((1, 600, 1000, 3), jnp.float32)
    boxes = jax.ShapeDtypeStruct((1, 100, 4), jnp.float32)
    variables = shapes(module, images, boxes)
    assert cost.parameters(variables) == parameters
    counted = cost.cost(module.apply, variables, images, boxes)
    layers = sum(n for scope, n in counted.scopes.items() if {'trunk', 'hidden'} & set(scope))
    assert layers / 2e9 == pytest.approx(gmacs, rel=0.01)  # without the warping


class TestWarp:
    def test_is_bilinear_interpolation(self):
        image = RNG.normal(size=(21, 26, 2)).astype('f')
        boxes = np.array([[5.0, 4, 17, 13], [0, 0, 26, 21], [20, 10, 31, 30]], np.float32)
        size, context = 13, 2
        got = jax.jit(partial(rcnn.warp, size=size, context=context))(image, boxes)
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode='edge')
        for box, crop in zip(boxes, got, strict=True):
            scale = (box[2:] - box[:2]) / (size - 2 * context)
            for i, j in np.ndindex(size, size):
                x, y = box[:2] + (np.array([j, i]) + 0.5 - context) * scale - 0.5
                want = 0.0
                if -0.5 <= x <= 25.5 and -0.5 <= y <= 20.5:
                    for r, c in [(a, b) for a in (0, 1) for b in (0, 1)]:
                        row, column = int(np.floor(y)) + r, int(np.floor(x)) + c
                        weight = (1 - abs(y - row)) * (1 - abs(x - column))
                        want = want + weight * padded[row + 1, column + 1]
                np.testing.assert_allclose(crop[i, j], want, atol=1e-4)

    def test_the_region_lies_between_its_context(self):
        """A white region on grey: the crop is white but for `context` pixels on each side."""
        image = np.full((64, 64, 1), 0.5, np.float32)
        image[16:32, 8:40] = 1
        (crop,) = np.asarray(rcnn.warp(image, np.array([[8.0, 16, 40, 32]]), size=40, context=4))
        assert (crop[5:-5, 5:-5] == 1).all() and (crop[[0, 1, -2, -1]] == 0.5).all()
        assert (crop[:, [0, 1, -2, -1]] == 0.5).all()

    def test_what_is_outside_of_the_image_is_zero(self):
        # As large as it is warped to, without its surroundings: each pixel is one of the image.
        size = 227 - 2 * 16
        (crop,) = rcnn.warp(np.ones((size, size, 1), np.float32), np.array([[0.0, 0, size, size]]))
        assert crop.shape == (227, 227, 1)
        assert (
            (crop[:15] == 0).all()
            and (crop[:, -15:] == 0).all()
            and (crop[17:-17, 17:-17] == 1).all()
        )


class Trunk(nn.Module):
    """One convolution of stride 4."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.relu(nn.Conv(6, (4, 4), strides=4, padding='VALID', name='conv')(x))


class Hidden(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.relu(nn.Dense(8, name='fc')(x.reshape(len(x), -1)))


def convolve(x, p):
    """The trunk by its definition."""
    b, h, w, c = x.shape
    cells = x[:, : h // 4 * 4, : w // 4 * 4].reshape(b, h // 4, 4, w // 4, 4, c)
    return np.maximum(np.einsum('bhiwjc,ijco->bhwo', cells, p['kernel']) + p['bias'], 0)


def dense(x, p):
    return x @ p['kernel'] + p['bias']


class TestFastRCNN:
    MODULE = FastRCNN(
        *(Trunk, 2, partial(RegionHead, hidden=partial(rcnn.Hidden, (7, 5)))),
        output=(2, 3),
        scale=0.25,
    )

    def test_output_is_that_of_numpy(self):
        images = RNG.normal(size=(2, 24, 32, 3)).astype('f')
        boxes = np.stack([random_boxes(3, extent=24), np.zeros((3, 4), 'f')])
        boxes[1, 0] = [4, 8, 24, 20]
        p = random_like(shapes(self.MODULE, images, boxes))['params']
        got = jax.jit(self.MODULE.apply)({'params': p}, images, boxes)
        maps = convolve(images, p['trunk']['conv'])
        head = p['head']
        for i, j in np.ndindex(2, 3):
            x1, y1, x2, y2 = np.floor(boxes[i, j] * 0.25 + 0.5).astype(int)
            high, wide = y2 - y1 + 1, x2 - x1 + 1
            bins = np.zeros((2, 3, 6), 'f')
            for a, b in np.ndindex(2, 3):
                rows = slice(y1 + a * high // 2, y1 - (-(a + 1) * high // 2))
                columns = slice(x1 + b * wide // 3, x1 - (-(b + 1) * wide // 3))
                cell = maps[i, rows, columns].reshape(-1, 6)
                bins[a, b] = cell.max(0) if len(cell) else 0
            x = bins.ravel()
            for name in ('fc6', 'fc7'):
                x = np.maximum(dense(x, head['hidden'][name]), 0)
            np.testing.assert_allclose(got.logits[i, j], dense(x, head['cls_score']), atol=1e-5)
            offsets = dense(x, head['bbox_pred']).reshape(3, 4)
            np.testing.assert_allclose(got.offsets[i, j], offsets, atol=1e-5)

    def test_dropout_only_in_training(self):
        images, boxes = jnp.ones((1, 16, 16, 3)), jnp.array([[[0.0, 0, 12, 12]]])
        p = random_like(shapes(self.MODULE, images, boxes))

        @partial(jax.jit, static_argnames='train')
        def run(key, *, train):
            rngs = {'dropout': key}
            return self.MODULE.apply(p, images, boxes, train=train, rngs=rngs).logits

        keys = [jax.random.key(i) for i in range(5)]
        still, noisy = (
            {np.asarray(run(key, train=train)).tobytes() for key in keys} for train in (False, True)
        )
        assert len(still) == 1 and len(noisy) > 1


class TestRCNN:
    MODULE = RCNN(Trunk, Hidden, 2, size=20, context=3)
    IMAGES = RNG.normal(size=(2, 30, 34, 3)).astype('f')
    BOXES = np.concatenate([random_boxes(2, 3, extent=30), np.zeros((2, 1, 4), 'f')], 1)

    def variables(self):
        return random_like(shapes(self.MODULE, self.IMAGES, self.BOXES))

    def test_output_is_that_of_each_crop_alone(self):
        variables = self.variables()
        got = jax.jit(self.MODULE.apply)(variables, self.IMAGES, self.BOXES)
        assert all(np.isfinite(x).all() for x in got)  # padding too
        p = variables['params']
        for i, j in np.ndindex(2, 4):
            crop = rcnn.warp(self.IMAGES[i], self.BOXES[i, j][None], size=20, context=3)
            pool5 = convolve(np.asarray(crop), p['trunk']['conv']).ravel()
            fc7 = np.maximum(dense(pool5, p['hidden']['fc']), 0)
            np.testing.assert_allclose(got.logits[i, j], dense(fc7, p['softmax']), atol=1e-4)
            np.testing.assert_allclose(got.margins[i, j], dense(fc7, p['svm']), atol=1e-4)
            want = dense(pool5, p['bbox']).reshape(2, 4)
            np.testing.assert_allclose(got.offsets[i, j], want, atol=1e-4)

    @pytest.mark.parametrize(
        ('output', 'moved'),
        [('logits', {'trunk', 'hidden', 'softmax'}), ('margins', {'svm'}), ('offsets', {'bbox'})],
    )
    def test_each_stage_moves_its_own_parameters(self, output, moved):
        variables = self.variables()

        def loss(variables):
            out = self.MODULE.apply(variables, self.IMAGES, self.BOXES)
            return (getattr(out, output) ** 2).sum()

        gradient = jax.jit(jax.grad(loss))(variables)['params']
        assert {
            name for name, g in gradient.items() if any(x.any() for x in jax.tree.leaves(g))
        } == moved
