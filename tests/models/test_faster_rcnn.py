"""Faster R-CNN: pyramid, proposals, what is learned from, losses, and the whole network.

That it is torchvision's, weight for weight, is in test_parity.py.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import Jitted, jitted
from test_boxes import recomputed

from jaxdl import boxes
from jaxdl.engine import cost
from jaxdl.models import faster_rcnn
from jaxdl.models.faster_rcnn import (
    AnchorTargets,
    BoxHead,
    BoxHidden,
    FasterRCNN,
    FrozenBatchNorm,
)
from jaxdl.models.resnet import BasicBlock, Stages
from jaxdl.net import Net
from jaxdl.nn import fpn, regions

bx = Jitted(boxes)

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union else 0.0


class TestPyramid:
    @pytest.mark.parametrize('shape', [(6, 8), (5, 8), (6, 7), (5, 7)])
    def test_doubled_takes_the_nearest(self, shape):
        x = normal(2, 3, 4, 2)
        got = fpn.doubled(x, shape)
        for i, j in np.ndindex(shape):
            np.testing.assert_array_equal(got[:, i, j], x[:, i // 2, j // 2])

    def test_maps_that_are_not_halves_of_each_other_are_refused(self):
        with pytest.raises(ValueError, match='is not twice the resolution'):
            fpn.doubled(normal(1, 3, 4, 2), (7, 8))

    def test_coarse_levels_reach_fine_ones_and_not_the_reverse(self):
        maps = [normal(1, 8, 8, 3), normal(1, 4, 4, 5), normal(1, 2, 2, 4)]
        module = fpn.FeaturePyramid(6)
        variables = jax.jit(module.init)(KEY, maps)
        levels = jax.jit(module.apply)(variables, maps)
        assert [x.shape for x in levels] == [(1, n, n, 6) for n in (8, 4, 2, 1)]
        np.testing.assert_array_equal(levels[3], levels[2][:, ::2, ::2])

        @jax.jit
        def reach(maps):
            gradients = [
                jax.grad(lambda m, i=i: (module.apply(variables, m)[i] ** 2).sum())(maps)
                for i in range(3)
            ]
            return jnp.array([[abs(g).sum() > 0 for g in row] for row in gradients])

        assert reach(maps).tolist() == [[True] * 3, [False, True, True], [False, False, True]]

    def test_the_level_of_a_region(self):
        sides = jnp.array([224.0, 448, 112, 56])
        boxes = jnp.stack([0 * sides, 0 * sides, sides / 2, sides * 2], -1)
        np.testing.assert_allclose(fpn.level_of(boxes), [4, 5, 3, 2], rtol=1e-6)

    def test_each_region_is_pooled_from_its_level(self):
        size, sides = (512, 512), [10, 111.9, 112, 223.9, 224, 448, 511]
        maps = [normal(512 // s, 512 // s, 2) for s in (4, 8, 16, 32)]
        boxes = np.array([[0, 0, s, s] for s in sides], np.float32)
        got = jax.jit(partial(fpn.pyramid_align, size=size))(maps, boxes)
        for row, box, level in zip(got, boxes, [0, 0, 1, 1, 2, 3, 3], strict=True):
            want = jitted(regions.roi_align)(maps[level], box[None], scale=1 / (4 << level))[0]
            np.testing.assert_allclose(row, want, atol=1e-5)

    def test_each_region_is_on_one_level_whatever_is_computed_twice(self):
        size = (512, 512)
        maps = [np.ones((512 // s, 512 // s, 1), np.float32) for s in (4, 8, 16, 32)]
        # Where two roundings of a size lie on both sides of a level's edge.
        sides = 112 * np.float32(1 - 1e-6) * (1 + np.arange(-8, 9) * np.float32(2e-7))
        boxes = np.stack([0 * sides, 0 * sides, sides, sides], -1)
        align = lambda boxes, *maps: fpn.pyramid_align(maps, boxes, size=size)  # noqa: E731
        got = recomputed(align, boxes, *maps)
        np.testing.assert_allclose(got, np.ones_like(got), rtol=1e-4)


class TestProposals:
    SIZE = (48, 64)

    def test_equal_a_loop(self):
        counts, before, after = (30, 12), 20, 14
        anchors = [random_boxes(n) for n in counts]
        levels = [(normal(n), 0.3 * normal(n, 4)) for n in counts]
        levels[0][1][np.argmax(levels[0][0])] = [0, 0, -30, 0]  # the best has no width
        found = []
        for i, ((scores, offsets), grid) in enumerate(zip(levels, anchors, strict=True)):
            boxes = np.asarray(bx.clip(bx.decode(offsets, grid), size=self.SIZE))
            rows = [
                r for r in np.argsort(-scores)[:before]
                if (boxes[r, 2:] - boxes[r, :2] >= 1e-3).all()
            ]  # fmt: skip
            while rows:
                best, *rest = rows
                found.append((scores[best], i, *boxes[best]))
                rows = [r for r in rest if iou(boxes[best], boxes[r]) <= 0.5]
        want = np.array(sorted(found, reverse=True))[:after, 2:]
        boxes, mask = jax.jit(
            partial(faster_rcnn.propose, size=self.SIZE, before=before, after=after, threshold=0.5)
        )(levels, anchors)
        assert mask.tolist() == [i < len(want) for i in range(after)]
        np.testing.assert_allclose(boxes[: len(want)], want, atol=1e-4)
        assert not boxes[len(want) :].any()
        widths = jax.jit(
            partial(faster_rcnn.propose, size=self.SIZE, before=5, after=1000)
        )(levels, anchors)[1]  # fmt: skip
        assert len(widths) == 10  # as many as were looked at

    def test_anchors_to_learn_from(self):
        # IoU with the truth: 0.8, 0.5, 0.1, 0; a second truth overlaps the last but one a little.
        anchors = np.array(
            [[0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 5, 2], [40, 40, 50, 50], [60, 60, 70, 70]],
            np.float32,
        )
        truth = np.array([[0, 0, 10, 10], [45, 45, 55, 55], [60, 60, 70, 70]], np.float32)
        mask = np.array([True, True, False])
        targets = jax.jit(partial(faster_rcnn.anchor_targets, count=64))
        found = targets(KEY, anchors, truth, mask)
        # The fourth is the best there is for the second truth; the second is neither.
        assert found.positive.tolist() == [True, False, False, True, False]
        assert found.negative.tolist() == [False, False, True, False, True]
        back = bx.decode(found.offsets, anchors)
        np.testing.assert_allclose(back[jnp.array([0, 3])], truth[:2], atol=1e-4)
        none = targets(KEY, anchors, truth, np.zeros(3, bool))
        assert not none.positive.any() and none.negative.all()
        few = jax.jit(partial(faster_rcnn.anchor_targets, count=2))(KEY, anchors, truth, mask)
        assert int(few.positive.sum()) == 1 and int(few.negative.sum()) == 1

    def test_losses_are_those_of_a_loop(self):
        objectness, offsets, want = normal(2, 6), 0.2 * normal(2, 6, 4), 0.2 * normal(2, 6, 4)
        kind = RNG.permutation([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2]).reshape(2, 6)
        cross, located = 0.0, 0.0
        for at in np.ndindex(2, 6):
            p = 1 / (1 + np.exp(-objectness[at]))
            cross -= np.log(p) if kind[at] == 1 else np.log(1 - p) if kind[at] == 2 else 0
            e = np.abs(offsets[at] - want[at])
            if kind[at] == 1:
                located += np.where(e < 1 / 9, 4.5 * e**2, e - 1 / 18).sum()
        targets = AnchorTargets(kind == 1, kind == 2, want)
        got = jax.jit(faster_rcnn.proposal_losses)(objectness, offsets, targets)
        np.testing.assert_allclose(got, (cross / 9, located / 9), rtol=1e-5)


def random_boxes(n, *, extent=48):
    low = RNG.uniform(0, extent / 2, (n, 2))
    return np.concatenate([low, low + RNG.uniform(8, extent / 2, (n, 2))], 1).astype(np.float32)


def test_frozen_norm_is_one_that_does_not_learn():
    x = normal(2, 3, 3, 5)
    statistics = {k: RNG.uniform(0.5, 1.5, 5).astype('f') for k in ('scale', 'bias', 'mean', 'var')}
    got, memory = FrozenBatchNorm(use_running_average=False).apply(
        {'batch_stats': statistics}, x, mutable=['batch_stats']
    )
    params = {k: statistics.pop(k) for k in ('scale', 'bias')}
    plain = nn.BatchNorm(use_running_average=True, epsilon=1e-5)
    want = plain.apply({'params': params, 'batch_stats': statistics}, x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert memory['batch_stats'].keys() == {'scale', 'bias', 'mean', 'var'}
    assert 'params' not in FrozenBatchNorm().init(KEY, x)


@pytest.mark.slow
def test_size_of_the_named_network():
    module = faster_rcnn.fasterrcnn_resnet50_fpn()
    x = jax.ShapeDtypeStruct((1, 800, 800, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(KEY, x), x)
    assert cost.parameters(variables['params']) == 41_755_286
    gmacs = cost.flops(module.apply, variables, x) / 2e9
    assert gmacs == pytest.approx(134.38, rel=0.01)  # torchvision's table


# The smallest network with two levels to pool from: every case below is compiled once.
SMALL = FasterRCNN(
    partial(Stages, (1, 1), BasicBlock, (8, 12)),
    classes=2,
    pyramid=partial(fpn.FeaturePyramid, 8),
    head=partial(BoxHead, hidden=partial(BoxHidden, units=(16, 16))),
    sizes=((8,), (16,), (32,)),
    before=(40, 30),
    after=(24, 12),
    anchors_drawn=4096,
    regions_drawn=4096,
    canonical=64.0,
    limit=30,
)
IMAGES = normal(3, 40, 48, 3)
BOXES = np.stack([random_boxes(4, extent=40) for _ in range(3)])
CLASSES = RNG.integers(0, 2, (3, 4))
MASK = np.array([[True] * 4, [True, False, True, False], [False] * 4])


@pytest.fixture(scope='module')
def net():
    return jax.jit(lambda: Net.init(SMALL, KEY, jnp.asarray(IMAGES)))()


@jax.jit
def losses(net, *truth, key=KEY):
    return net(*truth, key=key, train=False, method='losses')[0]


@jax.jit
def total(net, rows):
    """Loss and gradient where only some rows count."""
    return jax.value_and_grad(
        lambda params: sum(
            net.replace(params=params)(
                *(IMAGES, BOXES, CLASSES, MASK, rows), key=KEY, train=True, method='losses'
            )[0]
        )
    )(net.params)


class TestNetwork:
    def test_detections_are_padded_and_of_each_image_alone(self, net):
        found = jax.jit(lambda net, x: net(x)[0])
        whole = found(net, IMAGES)
        assert whole.proposals.shape == (3, 12, 4) and whole.detections.boxes.shape == (3, 30, 4)
        assert not np.asarray(whole.detections.boxes)[~whole.detections.mask].any()
        only, _ = jax.jit(lambda net, x: net(x, method='detect'))(net, IMAGES)
        for a, b in zip(only, whole.detections, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
        assert whole.detections.mask.any() and (whole.detections.classes < 2).all()
        order = np.array([2, 0, 1])
        again = found(net, IMAGES[order])
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b[order], atol=1e-4)

    def test_padding_and_the_order_of_truth_do_not_matter(self, net):
        want = losses(net, IMAGES, BOXES, CLASSES, MASK)
        assert all(np.isfinite(x) and x > 0 for x in want)
        other, kinds = BOXES.copy(), CLASSES.copy()
        other[~MASK], kinds[~MASK] = 7.0, 1
        order = np.array([3, 1, 0, 2])
        for truth, classes, mask in (
            (other, kinds, MASK),
            (BOXES[:, order], CLASSES[:, order], MASK[:, order]),
        ):
            got = losses(net, IMAGES, truth, classes, mask)
            np.testing.assert_allclose(got, want, rtol=1e-5)
        wrong = losses(net, IMAGES, BOXES, 1 - CLASSES, MASK)
        assert wrong.objectness == want.objectness
        assert abs(wrong.classification - want.classification) > 1e-3

    def test_images_that_do_not_count(self, net):
        """The sums over rows, each times the number it is divided by, add up."""
        rows = np.eye(3, dtype=bool)
        all_rows = total(net, rows.any(0))
        none, gradient = total(net, np.zeros(3, bool))
        assert none == 0 and not any(g.any() for g in jax.tree.leaves(gradient))
        each = [total(net, row) for row in rows]
        assert len({float(value) for value, _ in each}) == 3
        assert min(v for v, _ in each) < all_rows[0] < max(v for v, _ in each)
        assert all(g.any() for g in jax.tree.leaves(all_rows[1]))

    def test_what_is_drawn_depends_on_the_key(self, net):
        few = net.replace(module=SMALL.clone(anchors_drawn=8, regions_drawn=8))
        first, again, other = (
            losses(few, IMAGES, BOXES, CLASSES, MASK, key=jax.random.key(i)) for i in (0, 0, 1)
        )
        assert first == again and all(a != b for a, b in zip(first, other, strict=True))

    def test_levels_without_anchors_are_refused(self):
        module = SMALL.clone(sizes=((8,), (16,)))
        with pytest.raises(ValueError, match='2 sizes of anchors for 3 levels'):
            jax.eval_shape(module.init, KEY, IMAGES)
