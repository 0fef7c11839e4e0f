"""YOLOv3: sizes of the papers, and boxes, assignment and loss against loops in numpy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.boxes import BACKGROUND, IGNORED
from jaxdl.engine import cost
from jaxdl.models import yolo
from jaxdl.models.yolo import Darknet, TinyYOLOv3, YOLOv3
from jaxdl.net import Net

RNG = np.random.default_rng(0)
SIZE = (64, 96)  # of the image
SHAPES = [(2, 3), (4, 6)]
ANCHORS = (((30, 20), (14, 33)), ((8, 9), (16, 5)))
KINDS = 3


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return x, jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class TestNetworks:
    @pytest.mark.parametrize(
        ('module', 'parameters', 'numbers', 'products'),
        [
            # Numbers of Darknet's weight files (running statistics too), and its BFLOPs at 416x416.
            pytest.param(*(YOLOv3(), 61_949_149, 62_001_757, 65.86e9), marks=pytest.mark.slow),
            (TinyYOLOv3(), 8_852_366, 8_858_734, 5.56e9),
        ],
    )
    def test_sizes_are_those_of_darknet(self, module, parameters, numbers, products):
        x, variables = shapes(module, 1, 416, 416, 3)
        assert count(variables['params']) == parameters
        assert count(variables) == numbers
        flops = cost.cost(module.apply, variables, x).products
        assert abs(flops / products - 1) < 0.01
        maps = jax.eval_shape(module.apply, variables, x)
        strides = [32, 16, 8][: len(maps)]
        assert [m.shape for m in maps] == [(1, 416 // s, 416 // s, 3, 85) for s in strides]

    def test_darknet_53_has_52_convolutions_before_its_classifier(self):
        _, variables = shapes(Darknet(), 1, 64, 64, 3)
        kernels = [p for p in jax.tree.leaves(variables['params']) if p.ndim == 4]
        assert len(kernels) == 52
        # Table 1: 1x1 and 3x3 by turns in the residual blocks, halving and restoring channels.
        first = variables['params']['stage3_0']
        assert first['reduce']['conv']['kernel'].shape == (1, 1, 256, 128)
        assert first['expand']['conv']['kernel'].shape == (3, 3, 128, 256)

    @pytest.mark.parametrize('module', [YOLOv3(2, width=1), TinyYOLOv3(2, width=1)])
    def test_sides_must_be_multiples_of_the_stride(self, module):
        with pytest.raises(ValueError, match='maps of .* do not join'):
            shapes(module, 1, 80, 96, 3)

    def test_what_it_sees_moves_with_the_image(self):
        """32 pixels to the right move the coarse map by one cell and the fine one by two."""
        module = TinyYOLOv3(1, (((8, 8),), ((8, 8),)), width=1)
        x = np.zeros((2, 32, 384, 3), np.float32)
        x[0, :, 160:192] = x[1, :, 192:224] = RNG.normal(size=(32, 32, 3))
        _, variables = shapes(module, *x.shape)
        variables = jax.tree.map(
            lambda s: np.abs(RNG.normal(size=s.shape)).astype(np.float32) + 0.1, variables
        )
        for maps, cells in zip(jax.jit(module.apply)(variables, x), (1, 2), strict=True):
            scale = np.abs(maps).max()
            left, right = maps[0, :, 3 * cells : 8 * cells], maps[1, :, 4 * cells : 9 * cells]
            np.testing.assert_allclose(left / scale, right / scale, atol=1e-5)
            assert np.abs(maps[0] - maps[1]).max() / scale > 1e-3

    def test_upsampling_repeats_pixels(self):
        x = jnp.arange(6.0).reshape(1, 1, 3, 2)
        want = np.repeat(np.repeat(np.asarray(x), 2, 1), 2, 2)
        np.testing.assert_array_equal(yolo.upsample(x), want)


def loop_priors():
    """(scale, row, column, anchor, stride) of each prior, in the order of the maps."""
    return [
        (s, i, j, anchor, SIZE[0] / h)
        for s, (h, w) in enumerate(SHAPES)
        for i in range(h)
        for j in range(w)
        for anchor in ANCHORS[s]
    ]


GRID = yolo.priors(ANCHORS, SHAPES, size=SIZE)


def some_truth(n):
    """Boxes over the image, the last of no area, and their mask, without the one before."""
    centre = RNG.uniform(0, 1, (n, 2)) * [SIZE[1], SIZE[0]]
    half = RNG.uniform(2, 20, (n, 2))
    truth = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
    truth[-1, 2] = truth[-1, 0]
    mask = np.arange(n) != n - 2
    return truth, mask


def overlap(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def loop_assign(truth, mask, ignore):
    """Truth by truth: the best anchor of all by shape, in the cell of the centre."""
    places = loop_priors()
    owner = [None] * len(places)
    for n, (x1, y1, x2, y2) in enumerate(truth.astype(float)):
        if not mask[n] or x2 <= x1 or y2 <= y1:
            continue
        w, h, x, y = x2 - x1, y2 - y1, (x1 + x2) / 2, (y1 + y2) / 2
        best = max(
            ((s, anchor) for s in range(len(ANCHORS)) for anchor in ANCHORS[s]),
            key=lambda place: overlap((0, 0, w, h), (0, 0, *place[1])),
        )
        for p, (s, i, j, anchor, stride) in enumerate(places):
            here = (int(y // stride), int(x // stride)) == (i, j)
            if (s, anchor) == best and here and owner[p] is None:
                owner[p] = n
    for p, (_, i, j, (w, h), stride) in enumerate(places):
        if owner[p] is None:
            x, y = (j + 0.5) * stride, (i + 0.5) * stride
            prior = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            seen = [overlap(prior, box) for box, m in zip(truth, mask, strict=True) if m]
            owner[p] = IGNORED if max(seen, default=0) > ignore else BACKGROUND
    return owner


class TestAssignment:
    assign = staticmethod(jax.jit(functools.partial(yolo.assign, priors=GRID, ignore=0.4)))

    def test_equals_the_loop(self):
        seen = []
        for _ in range(8):
            truth, mask = some_truth(12)
            got = self.assign(truth, mask).tolist()
            assert got == loop_assign(truth, mask, 0.4)
            seen += got
        assert {BACKGROUND, IGNORED, 0, 9} <= set(seen) and not {10, 11} & set(seen)

    def test_one_prior_a_truth_over_all_scales(self):
        truth, mask = np.array([[40.0, 20, 54, 53]]), np.ones(1, bool)  # exactly 14x33
        owner = np.asarray(self.assign(truth, mask))
        (p,) = np.flatnonzero(owner == 0)
        assert loop_priors()[p][:4] == (0, 1, 1, (14, 33))

    def test_where_two_want_one_prior_the_first_has_it(self):
        truth = np.array([[8.0, 8, 16, 17], [9, 9, 17, 18]])
        owner = self.assign(truth, np.ones(2, bool))
        assert (owner == 0).sum() == 1 and (owner == 1).sum() == 0
        other = self.assign(truth, np.array([False, True]))
        assert (other == 1).sum() == 1

    def test_no_truths_is_all_background(self):
        assert (self.assign(np.zeros((3, 4)), np.zeros(3, bool)) == BACKGROUND).all()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def entropy(target, logit):
    p = sigmoid(logit)
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def loop_loss(t, truth, mask, classes):
    """The loss of one image, prior by prior."""
    total = {'box': 0.0, 'objectness': 0.0, 'class': 0.0}
    for p, owner in enumerate(loop_assign(truth, mask, 0.3)):
        _, i, j, (aw, ah), stride = loop_priors()[p]
        tx, ty, tw, th, to = t[p][:5].astype(float)
        if owner >= 0:
            x1, y1, x2, y2 = truth[owner].astype(float)
            fx, fy = (x1 + x2) / 2 / stride - j, (y1 + y2) / 2 / stride - i
            gw, gh = math.log((x2 - x1) / aw), math.log((y2 - y1) / ah)
            weight = 2 - (x2 - x1) * (y2 - y1) / (SIZE[0] * SIZE[1])
            squares = ((gw - tw) ** 2 + (gh - th) ** 2) / 2
            total['box'] += weight * (entropy(fx, tx) + entropy(fy, ty) + squares)
            total['objectness'] += entropy(1, to)
            total['class'] += sum(
                entropy(float(k == classes[owner]), t[p][5 + k]) for k in range(KINDS)
            )
        elif owner == BACKGROUND:
            total['objectness'] += entropy(0, to)
    return total


def some_maps(batch):
    return [RNG.normal(size=(batch, *s, 2, 5 + KINDS)).astype(np.float32) for s in SHAPES]


class TestLoss:
    loss = staticmethod(
        jax.jit(functools.partial(yolo.yolo_loss, anchors=ANCHORS, size=SIZE, ignore=0.3))
    )

    def test_equals_the_loop(self):
        maps = some_maps(3)
        truth, mask = map(np.stack, zip(*(some_truth(9) for _ in range(3)), strict=True))
        mask[2] = False
        classes = RNG.integers(0, KINDS, mask.shape)
        parts = self.loss(maps, truth, mask, classes)
        t = np.asarray(yolo.flat(maps))
        for b in range(3):
            want = loop_loss(t[b], truth[b], mask[b], classes[b])
            for name, value in want.items():
                np.testing.assert_allclose(parts[name][b], value, rtol=1e-4, err_msg=name)
        assert parts['box'][2] == parts['class'][2] == 0 < parts['objectness'][2]

    def test_padding_has_no_part_whatever_stands_there(self):
        maps, (truth, mask) = some_maps(1), some_truth(6)
        classes = np.zeros((1, 6), int)

        def total(maps, truth):
            return sum(v.sum() for v in self.loss(maps, truth, mask[None], classes).values())

        value, grads = jax.value_and_grad(total)(maps, truth[None])
        truth = truth.copy()
        truth[-2:] = [[0, 0, 0, 0], [1e9, 5, -3, 5]]
        again, other = jax.value_and_grad(total)(maps, truth[None])
        assert value == again
        for a, b in zip(grads, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.isfinite(a).all() and a.any()

    def test_gradient_is_the_truth_minus_the_prediction(self):
        """Section 2.1, of each coordinate's target and what is predicted of it."""
        maps = some_maps(1)
        truth, mask, classes = np.array([[[40.0, 20, 54, 53]]]), np.ones((1, 1), bool), [[0]]

        def box(maps):
            return self.loss(maps, truth, mask, np.array(classes))['box'].sum()

        gradient = np.asarray(yolo.flat(jax.grad(box)(maps)))[0]
        p = loop_priors().index((0, 1, 1, (14, 33), 32))
        t = np.asarray(yolo.flat(maps))[0, p]
        weight = 2 - 14 * 33 / (64 * 96)
        fx, fy = 47 / 32 - 1, 36.5 / 32 - 1
        want = [sigmoid(t[0]) - fx, sigmoid(t[1]) - fy, t[2] - 0, t[3] - 0]
        np.testing.assert_allclose(gradient[p, :4], weight * np.array(want), rtol=1e-4, atol=1e-6)
        assert np.abs(np.delete(gradient, p, 0)).max() == 0


class TestDetection:
    detect = staticmethod(
        jax.jit(
            functools.partial(yolo.detect, anchors=ANCHORS, size=SIZE),
            static_argnames=('least', 'limit'),
        )
    )

    def test_decoding_is_the_paper_s(self):
        t = yolo.flat(some_maps(2))
        boxes = np.asarray(yolo.decode(t, GRID))
        for p in (0, 5, 13, 40, len(loop_priors()) - 1):
            _, i, j, (w, h), stride = loop_priors()[p]
            tx, ty, tw, th = (float(v) for v in t[1, p, :4])
            x, y = (sigmoid(tx) + j) * stride, (sigmoid(ty) + i) * stride
            w, h = w * math.exp(tw), h * math.exp(th)
            want = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            np.testing.assert_allclose(boxes[1, p], want, rtol=1e-4, atol=1e-4)

    def test_huge_sizes_stay_finite(self):
        assert np.isfinite(yolo.decode(jnp.full((1, len(GRID.sizes), 4), 1e4), GRID)).all()

    def test_what_the_loss_teaches_is_what_is_found(self):
        """Maps moved down their own gradient find the true boxes and their classes."""
        truth = np.array([[[40.0, 20, 54, 53], [6, 40, 15, 48], [60, 8, 92, 30]]])
        mask, classes = np.ones((1, 3), bool), np.array([[2, 0, 1]])

        @jax.jit
        def step(maps):
            def total(maps):
                parts = yolo.yolo_loss(maps, truth, mask, classes, anchors=ANCHORS, size=SIZE)
                return sum(v.sum() for v in parts.values())

            return jax.tree.map(lambda m, g: m - 0.5 * g, maps, jax.grad(total)(maps))

        maps = some_maps(1)
        for _ in range(300):
            maps = step(maps)
        found = self.detect(maps, least=0.5, limit=5)
        assert found.mask[0].tolist() == [True] * 3 + [False] * 2
        order = np.argsort(found.classes[0][:3])
        np.testing.assert_allclose(found.boxes[0][order], truth[0][[1, 2, 0]], atol=0.5)

    def test_scores_are_those_of_objects_and_classes_together(self):
        maps = [
            np.full((1, 2, 3, 2, 8), -20, np.float32),
            np.full((1, 4, 6, 2, 8), -20, np.float32),
        ]
        maps[1][0, 2, 3, 0, 4:] = [1.0, 2.0, -20, 0.5]
        found = self.detect(maps, least=0.01, limit=3)
        assert found.classes[0].tolist()[:2] == [0, 2] and found.mask[0].tolist() == [1, 1, 0]
        want = [sigmoid(1) * sigmoid(2), sigmoid(1) * sigmoid(0.5)]
        np.testing.assert_allclose(found.scores[0][:2], want, rtol=1e-5)
        assert (found.boxes[0] >= 0).all() and (found.boxes[0][:, 2] <= 96).all()


ANCHORS_2 = (((8, 9), (4, 4)), ((5, 3), (2, 6)))


class TestModule:
    SMALL = TinyYOLOv3(2, ANCHORS_2, width=1, stages=2)

    def test_losses_and_detections_are_those_of_its_maps(self):
        """Rows that do not count have no part: the sum is over true boxes of those that do."""
        x = RNG.normal(size=(3, 16, 24, 3)).astype(np.float32)
        boxes = np.array([[[2, 3, 9, 12], [10, 1, 20, 8]]] * 3, np.float32)
        classes, mask = np.array([[0, 1]] * 3), np.array([[True, True]] * 2 + [[True, False]])
        net = jax.jit(lambda x: Net.init(self.SMALL, jax.random.key(0), x))(x)
        maps = jax.jit(lambda net, x: net(x)[0])(net, x)
        size = (16, 24)
        loss = functools.partial(yolo.yolo_loss, anchors=ANCHORS_2, size=size)
        parts = jax.jit(loss)(maps, boxes, mask, classes)
        losses = jax.jit(lambda *args: net(*args, method='losses')[0])
        for rows, count in ((np.array([True] * 3), 5), (np.array([True, False, True]), 3)):
            got = losses(x, boxes, classes, mask, rows)
            for name, each in parts.items():
                want = np.asarray(each)[rows].sum() / count
                np.testing.assert_allclose(got[name], want, rtol=1e-4)
        found = jax.jit(lambda net, x: net(x, method='detect')[0])(net, x)
        want = jax.jit(functools.partial(yolo.detect, anchors=ANCHORS_2, size=size))(maps)
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
