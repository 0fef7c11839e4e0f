"""Boxes against loops in numpy, and against what their papers say of easy cases."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from as_users import AS_USERS
from jax.extend.core import Literal
from jitted import Jitted

from jaxdl import boxes
from jaxdl.models import faster_rcnn, yolo
from jaxdl.models import rcnn as plain_rcnn
from jaxdl.nn import regions

bx, rois, rcnn = Jitted(boxes), Jitted(regions), Jitted(plain_rcnn)

RNG = np.random.default_rng(0)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(n, *, extent=100.0, least=1.0, most=40.0, rng=RNG):
    low = rng.uniform(0, extent, (n, 2))
    return np.concatenate([low, low + rng.uniform(least, most, (n, 2))], 1).astype(np.float32)


def loop_iou(a, b):
    """By its definition, for one pair."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


ARITHMETIC = {
    *('add', 'add_any', 'sub', 'mul', 'div', 'pow', 'integer_pow', 'square'),
    *('exp', 'log', 'sqrt', 'rsqrt', 'logistic', 'tanh'),
}


def recomputed(fn, *args):
    """`fn(*args)` where each use of a number computes it anew, and rounds it its own way.

    That is what a compiler may do with cheap arithmetic, which it fuses into all that reads it.
    What a reduction gives is computed once; selecting and moving numbers rounds nothing, and a
    floor is a whole number however often it is computed.
    """
    rng = np.random.default_rng(0)

    def use(value, rounded):
        if not rounded or not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return value * (1 + rng.choice([-1, 1], value.shape) * 2e-7).astype(value.dtype)

    def run(jaxpr, constants, args):
        known = {v: (x, False) for v, x in zip(jaxpr.constvars, constants, strict=True)}
        known |= dict(zip(jaxpr.invars, args, strict=True))

        def get(v):
            return (jnp.asarray(v.val, v.aval.dtype), False) if isinstance(v, Literal) else known[v]

        for eqn in jaxpr.eqns:
            name, inputs = eqn.primitive.name, [get(v) for v in eqn.invars]
            if name in ('jit', 'custom_jvp_call', 'custom_vjp_call'):
                inner = eqn.params.get('jaxpr') or eqn.params['call_jaxpr']
                outs = run(inner.jaxpr, inner.consts, inputs)
            else:
                outs = eqn.primitive.bind(*(use(*x) for x in inputs), **eqn.params)
                outs = outs if eqn.primitive.multiple_results else [outs]
                moved = any(rounded for _, rounded in inputs)
                once = name.startswith(('reduce', 'arg', 'dot', 'gather', 'scatter', 'floor'))
                outs = [(out, name in ARITHMETIC or moved and not once) for out in outs]
            known |= dict(zip(eqn.outvars, outs, strict=True))
        return [get(v) for v in jaxpr.outvars]

    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    outs = run(closed.jaxpr, closed.consts, [(jnp.asarray(x), False) for x in args])
    return jax.tree.unflatten(jax.tree.structure(shape), [out for out, _ in outs])


class TestGeometry:
    def test_iou_of_every_pair(self):
        a, b = random_boxes(12), random_boxes(9)
        b[0] = a[0]
        want = [[loop_iou(p, q) for q in b] for p in a]
        got = bx.iou(a, b)
        np.testing.assert_allclose(got, want, atol=1e-6)
        assert got[0, 0] == 1 and (np.asarray(got) == 0).any()

    def test_empty_boxes_overlap_nothing_and_give_no_nan(self):
        empty, inverted = jnp.zeros((1, 4)), jnp.array([[5.0, 5.0, 2.0, 9.0]])
        for one in (empty, inverted):
            assert bx.area(one) == 0
            assert bx.iou(one, one) == 0 and bx.iou(one, jnp.array([[0.0, 0, 9, 9]])) == 0
            gradient = jax.grad(lambda a: bx.iou(a, a).sum() + bx.generalised_iou(a, a).sum())(one)
            assert np.isfinite(gradient).all()

    def test_generalised_iou_of_known_pairs(self):
        square = jnp.array([[0.0, 0, 2, 2]] * 3)
        # The same; a half overlap in a hull of 3x2; apart, in a hull of 6x2 with 4 empty.
        other = jnp.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [4, 0, 6, 2]])
        want = [1, 2 / 6 - 0, 0 - 4 / 12]
        np.testing.assert_allclose(bx.generalised_iou(square, other), want, rtol=1e-6)

    def test_generalised_iou_pulls_boxes_together_that_do_not_touch(self):
        a, b = jnp.array([0.0, 0, 2, 2]), jnp.array([5.0, 0, 7, 2])
        assert jax.grad(lambda a: bx.generalised_iou(a, b))(a)[2] > 0

    @pytest.mark.slow
    def test_its_gradient_is_there_whatever_is_computed_twice(self):
        """Behind other arithmetic, as a network's boxes are, away from ties."""
        rng = np.random.default_rng(0)
        truth = random_boxes(40, extent=60, least=10, rng=rng)
        deltas = rng.normal(0, 0.3, (40, 4)).astype(np.float32)
        deltas[0, 2:] = 30  # sizes that are clipped

        def total(deltas):
            found = bx.decode(3 * deltas, truth, weights=(2, 2, 3, 3))
            return bx.generalised_iou(bx.clip(found, size=(70, 80)), truth).sum()

        want, got = jax.grad(total)(deltas), recomputed(jax.grad(total), deltas)
        assert (np.asarray(want) != 0).mean() > 0.8
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)

    def test_equal_edges_share_a_gradient(self):
        """So that a box that is its truth stays where it is."""
        box = jnp.array([[1.0, 2, 5, 9]])
        gradient = jax.grad(lambda a: bx.generalised_iou(a, box).sum())(box)
        np.testing.assert_allclose(gradient, np.zeros((1, 4)), atol=1e-7)

    def test_whole_numbers_stay_whole_and_nan_stays(self):
        whole = jnp.array([[1, 2, 5, 9], [0, 0, 2, 30]])
        assert bx.area(whole).dtype == whole.dtype and bx.area(whole).tolist() == [28, 60]
        assert bx.clip(whole, size=(8, 9)).tolist() == [[1, 2, 5, 8], [0, 0, 2, 8]]
        for one in (bx.larger, bx.smaller):
            assert jnp.isnan(one(jnp.nan, 1.0)) and jnp.isnan(one(1.0, jnp.nan))

    def test_centred_and_corners_are_inverse(self):
        box = jnp.array([[1.0, 2, 5, 10]])
        assert bx.centred(box).tolist() == [[3, 6, 4, 8]]
        some = random_boxes(20)
        np.testing.assert_allclose(bx.corners(bx.centred(some)), some, atol=1e-5)

    def test_clip_cuts_rows_by_height_and_columns_by_width(self):
        box = jnp.array([[[-5.0, -6, 50, 60], [1, 2, 3, 4]]])
        assert bx.clip(box, size=(30, 40)).tolist() == [[[0, 0, 40, 30], [1, 2, 3, 4]]]


class TestCoding:
    def test_is_the_formula_of_the_paper(self):
        (box, anchor), ws = random_boxes(2), WEIGHTS
        x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *(box[2:] - box[:2])
        xa, ya = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
        wa, ha = anchor[2:] - anchor[:2]
        t = [(x - xa) / wa, (y - ya) / ha, math.log(w / wa), math.log(h / ha)]
        got = bx.encode(jnp.asarray(box), jnp.asarray(anchor), weights=ws)
        np.testing.assert_allclose(got, np.multiply(t, ws), rtol=1e-4)

    @pytest.mark.parametrize('weights', [(1, 1, 1, 1), WEIGHTS])
    def test_decode_inverts_encode(self, weights):
        some, anchors = random_boxes(50), random_boxes(50)
        t = bx.encode(some, anchors, weights=weights)
        np.testing.assert_allclose(bx.decode(t, anchors, weights=weights), some, atol=1e-3)

    def test_sizes_are_clipped_before_the_exponential(self):
        anchor = jnp.array([[0.0, 0, 16, 16]])
        huge = bx.decode(jnp.array([[0.0, 0, 100, 100]]), anchor)
        np.testing.assert_allclose(bx.centred(huge), [[8, 8, 1000, 1000]], rtol=1e-5)
        double = bx.decode(jnp.array([[0.0, 0, 100, 0]]), anchor, clip=math.log(2))
        np.testing.assert_allclose(bx.centred(double), [[8, 8, 32, 16]], rtol=1e-5)
        # The clip is of the logarithm itself, after the weights.
        weighted = bx.decode(jnp.array([[0.0, 0, 500, 0]]), anchor, weights=WEIGHTS)
        np.testing.assert_allclose(bx.centred(weighted)[0, 2], 1000, rtol=1e-5)

    def test_padding_is_coded_finitely(self):
        assert np.isfinite(bx.encode(jnp.zeros((1, 4)), jnp.array([[0.0, 0, 8, 8]]))).all()


class TestAnchors:
    def test_order_and_rounding_are_those_of_torchvision(self):
        # cell_anchors of torchvision's AnchorGenerator(((32, 64),), ((0.5, 1.0, 2.0),)), by hand:
        # w = s / sqrt(r), h = s sqrt(r), halved and rounded; ratios outside, sizes inside.
        base = [
            *([-23, -11, 23, 11], [-45, -23, 45, 23], [-16, -16, 16, 16]),
            *([-32, -32, 32, 32], [-11, -23, 11, 23], [-23, -45, 23, 45]),
        ]
        got = bx.anchor_grid((2, 3), stride=(8, 16), sizes=(32, 64), ratios=(0.5, 1.0, 2.0))
        assert got.shape == (2 * 3 * 6, 4)
        for i in range(2):
            for j in range(3):
                want = np.add(base, [16 * j, 8 * i, 16 * j, 8 * i])
                np.testing.assert_array_equal(got[(i * 3 + j) * 6 :][:6], want)


def loop_match(ious, mask, high, low, force):
    """Anchor by anchor."""
    matched = []
    for column in ious.T:
        best, truth = -1.0, -1
        for n, value in enumerate(column):
            if mask[n] and value > best:
                best, truth = value, n
        matched.append(truth if best >= high else -1 if best < low else -2)
        if force and truth >= 0:
            for n, row in enumerate(ious):
                if mask[n] and row.max() > 0 and column[n] == row.max():
                    matched[-1] = truth
    return matched


class TestMatch:
    @pytest.mark.parametrize('force', [False, True])
    def test_equals_the_loop(self, force):
        for _ in range(5):
            ious = RNG.uniform(0, 0.9, (5, 60)).round(1).astype(np.float32)  # rounded: many ties
            ious[3] = 0  # a truth that overlaps nothing
            ious[4] = 1  # padding
            mask = np.array([True, True, True, True, False])
            matched = bx.match(ious, mask, high=0.7, low=0.3, force_best=force)
            assert matched.tolist() == loop_match(ious, mask, 0.7, 0.3, force)
            assert {-1, -2, 0} & set(matched.tolist())

    def test_a_truth_without_a_good_anchor_gets_its_best(self):
        ious = jnp.array([[0.1, 0.2, 0.0], [0.8, 0.0, 0.0]])
        mask = jnp.array([True, True])
        plain = bx.match(ious, mask, high=0.7, low=0.3)
        forced = bx.match(ious, mask, high=0.7, low=0.3, force_best=True)
        assert plain.tolist() == [1, -1, -1] and forced.tolist() == [1, 0, -1]

    def test_an_image_without_truths_is_background(self):
        for force in (False, True):
            ious, mask = jnp.ones((2, 4)), jnp.zeros(2, bool)
            matched = bx.match(ious, mask, high=0.7, low=0.3, force_best=force)
            assert matched.tolist() == [-1] * 4


class TestTies:
    match = staticmethod(functools.partial(bx.match, high=0.9, low=0.3, force_best=True))

    @pytest.mark.slow
    def test_the_best_is_found_whatever_is_computed_twice(self):
        rng = np.random.default_rng(0)
        truths, anchors = random_boxes(30, rng=rng), random_boxes(500, rng=rng)
        mask, best = np.ones(30, bool), np.asarray(bx.iou(truths, anchors)).argmax(1)
        run = lambda a, b: self.match(bx.iou(a, b), mask)  # noqa: E731
        want = run(truths, anchors)
        assert (want[best] >= 0).all()
        np.testing.assert_array_equal(recomputed(run, truths, anchors), want)

    @pytest.mark.slow
    def test_all_that_tie_are_forced_whatever_is_computed_twice(self):
        """Anchors of one size that hold the truth, and a better one that does not exist."""
        truth = np.array([[40.2, 40.3, 43.7, 45.1]], np.float32)
        low = np.random.default_rng(0).uniform(20, 38, (50, 2)).round()
        anchors = np.concatenate([low, low + 40], 1).astype(np.float32)
        anchors[30:] += 100
        run = lambda a, b: self.match(bx.iou(a, b), np.ones(1, bool))  # noqa: E731
        want = [0] * 30 + [-1] * 20
        assert run(truth, anchors).tolist() == want
        assert recomputed(run, truth, anchors).tolist() == want

    def test_the_next_best_is_not_forced(self):
        ious = jnp.array([[0.2, 0.2 * (1 - 1e-4), 0.2 * (1 - 1e-6), 0.2]])
        assert self.match(ious, jnp.ones(1, bool)).tolist() == [0, -1, 0, 0]


class TestSampling:
    draw = staticmethod(jax.jit(bx.sample_balanced, static_argnames=('count', 'fraction')))

    @pytest.mark.parametrize(
        ('positives', 'negatives', 'drawn'),
        [(40, 50, (8, 24)), (3, 50, (3, 29)), (0, 50, (0, 32)), (40, 10, (8, 10)), (2, 3, (2, 3))],
    )
    def test_how_many_of_each(self, positives, negatives, drawn):
        kinds = RNG.permutation([1] * positives + [0] * negatives + [-1] * 10)
        for i in range(5):
            p, n = self.draw(jax.random.key(i), kinds == 1, kinds == 0, count=32, fraction=0.25)
            assert (int(p.sum()), int(n.sum())) == drawn
            assert (kinds[np.asarray(p)] == 1).all() and (kinds[np.asarray(n)] == 0).all()

    def test_every_row_is_as_likely(self):
        keys = jax.random.split(jax.random.key(0), 2000)
        rows = jnp.arange(10)
        draw = functools.partial(bx.sample_balanced, count=4, fraction=0.5)
        p, n = jax.vmap(draw, (0, None, None))(keys, rows < 5, rows >= 5)
        rates = np.asarray((p | n).mean(0))
        np.testing.assert_allclose(rates, 0.4, atol=0.05)  # 4.5 standard errors


def loop_nms(boxes, scores, mask, threshold, limit, groups=None):
    left = [i for i in np.argsort(-scores, kind='stable') if mask[i]]
    kept = []
    while left and len(kept) < limit:
        best, *rest = left
        kept.append(int(best))
        left = [
            i
            for i in rest
            if (groups is not None and groups[i] != groups[best])
            or loop_iou(boxes[best], boxes[i]) <= threshold
        ]
    return kept


class TestNms:
    nms = staticmethod(jax.jit(bx.nms, static_argnames=('threshold', 'limit')))

    @pytest.mark.parametrize('limit', [5, 200])
    @pytest.mark.parametrize('grouped', [False, True])
    def test_equals_the_loop(self, limit, grouped):
        for _ in range(3):
            boxes = random_boxes(120)
            scores = RNG.uniform(size=120).round(2).astype(np.float32)  # rounded: ties
            mask = RNG.uniform(size=120) < 0.8
            groups = RNG.integers(0, 3, 120) if grouped else None
            index, valid = self.nms(boxes, scores, mask, threshold=0.4, limit=limit, groups=groups)
            want = loop_nms(boxes, scores, mask, 0.4, limit, groups)
            assert index.shape == valid.shape == (limit,)
            assert index[: len(want)].tolist() == want
            assert valid.tolist() == [i < len(want) for i in range(limit)]
            assert 3 < len(want) < mask.sum()

    def test_of_equal_scores_the_lower_index_is_kept(self):
        boxes = jnp.array([[0.0, 0, 4, 4], [50, 50, 54, 54], [0, 0, 4, 4], [50, 50, 54, 54]])
        index, valid = self.nms(boxes, jnp.ones(4), jnp.ones(4, bool), threshold=0.5, limit=4)
        assert index[:2].tolist() == [0, 1] and int(valid.sum()) == 2

    def test_an_overlap_of_just_the_threshold_is_no_overlap(self):
        boxes = jnp.array([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # an IoU of 1/2, exactly
        for threshold, kept in ((0.5, 2), (0.49, 1)):
            args = boxes, jnp.ones(2), jnp.ones(2, bool)
            assert int(self.nms(*args, threshold=threshold, limit=2)[1].sum()) == kept

    def test_nothing_to_keep(self):
        boxes, scores = random_boxes(3), jnp.array([jnp.nan, -jnp.inf, 1.0])
        mask = jnp.array([True, True, False])
        assert not self.nms(boxes, scores, mask, threshold=0.5, limit=2)[1].any()

    def test_a_batch_is_image_after_image(self):
        boxes = np.stack([random_boxes(30), random_boxes(30, extent=10), random_boxes(30)])
        scores = RNG.uniform(size=(3, 30)).astype(np.float32)
        mask = np.ones((3, 30), bool)
        mask[2] = False
        one = functools.partial(bx.nms, threshold=0.3, limit=30)
        index, valid = jax.vmap(one)(boxes, scores, mask)
        for i in range(3):
            assert index[i][valid[i]].tolist() == loop_nms(boxes[i], scores[i], mask[i], 0.3, 30)


class TestDetections:
    detect = staticmethod(
        jax.jit(bx.detections, static_argnames=('least', 'threshold', 'limit', 'candidates'))
    )

    @pytest.mark.parametrize('each', [False, True])
    def test_equal_suppression_class_by_class(self, each):
        boxes = np.stack([random_boxes(40) for _ in range(3)], 1)
        boxes = boxes if each else boxes[:, :1]
        scores = RNG.uniform(size=(40, 3)).astype(np.float32)
        mask = RNG.uniform(size=40) < 0.8
        found = self.detect(boxes, scores, mask, least=0.3, threshold=0.2, limit=100)
        want = []
        for k in range(3):
            mine, good = boxes[:, k if each else 0], mask & (scores[:, k] > 0.3)
            for i in loop_nms(mine, scores[:, k], good, 0.2, 100):
                want.append((scores[i, k], k, *mine[i]))
        want.sort(key=lambda row: -row[0])
        n = len(want)
        assert found.mask.tolist() == [i < n for i in range(100)] and n < mask.sum() * 3
        got = np.column_stack([found.scores, found.classes, found.boxes])[:n]
        np.testing.assert_allclose(got, want, rtol=1e-6)

    def test_only_the_best_candidates_are_looked_at(self):
        boxes, scores = random_boxes(40)[:, None], RNG.uniform(size=(40, 3)).astype(np.float32)
        options = {'least': 0.0, 'threshold': 1.0, 'limit': 50}
        found = self.detect(boxes, scores, np.ones(40, bool), candidates=7, **options)
        assert int(found.mask.sum()) == 7
        np.testing.assert_array_equal(found.scores[:7], -np.sort(-scores.ravel())[:7])


def bilinear(f, y, x):
    """Features at a point, as torchvision's kernel reads them."""
    height, width = f.shape[:2]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(f.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    ly = 0.0 if y0 == height - 1 else y - y0
    lx = 0.0 if x0 == width - 1 else x - x0
    top = f[y0, x0] * (1 - lx) + f[y0, x1] * lx
    bottom = f[y1, x0] * (1 - lx) + f[y1, x1] * lx
    return top * (1 - ly) + bottom * ly


def loop_roi_align(f, boxes, output, scale, samples, aligned):
    (bins_y, bins_x), offset = output, 0.5 if aligned else 0.0
    out = np.zeros((len(boxes), bins_y, bins_x, f.shape[2]))
    for r, box in enumerate(boxes.astype(np.float64)):
        x1, y1, x2, y2 = box * scale - offset
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        for p in range(bins_y):
            for q in range(bins_x):
                for i in range(samples):
                    for j in range(samples):
                        y = y1 + (p + (i + 0.5) / samples) * height / bins_y
                        x = x1 + (q + (j + 0.5) / samples) * width / bins_x
                        out[r, p, q] += bilinear(f, y, x) / samples**2
    return out


def loop_roi_pool(f, boxes, output, scale):
    out = np.zeros((len(boxes), *output, f.shape[2]))
    for r, box in enumerate(boxes):
        x1, y1, x2, y2 = (math.floor(v * scale + 0.5) for v in box)
        length = {'y': max(y2 - y1 + 1, 1), 'x': max(x2 - x1 + 1, 1)}
        for p in range(output[0]):
            for q in range(output[1]):
                top = y1 + math.floor(p * length['y'] / output[0])
                bottom = y1 + math.ceil((p + 1) * length['y'] / output[0])
                left = x1 + math.floor(q * length['x'] / output[1])
                right = x1 + math.ceil((q + 1) * length['x'] / output[1])
                part = f[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                if part.size:
                    out[r, p, q] = part.max((0, 1))
    return out


# Inside, small, over each edge, larger than the image, outside, of no area.
REGIONS = np.array(
    [
        *([10.3, 7.1, 60.9, 41.7], [20, 20, 23, 22], [-9, -14, 30, 30], [50, 30, 99, 79]),
        *([-40, -40, 200, 200], [300, 300, 340, 350], [12, 12, 12, 12], [0, 0, 95, 63]),
    ],
    np.float32,
)


class TestRegions:
    @pytest.mark.parametrize('aligned', [False, True])
    @pytest.mark.parametrize(('output', 'samples'), [((7, 7), 2), ((2, 3), 1), ((3, 2), 3)])
    def test_roi_align_equals_the_loop(self, output, samples, aligned):
        f = RNG.normal(size=(8, 12, 3)).astype(np.float32)
        options = {'output': output, 'scale': 1 / 8, 'samples': samples, 'aligned': aligned}
        got = jax.jit(functools.partial(rois.roi_align, **options))(f, REGIONS)
        want = loop_roi_align(f, REGIONS, output, 1 / 8, samples, aligned)
        np.testing.assert_allclose(got, want, atol=2e-5)

    @pytest.mark.parametrize('aligned', [False, True])
    def test_gradient_of_roi_align_is_its_transpose(self, aligned):
        """RoIAlign is linear in the features: <g, A f> = <A^T g, f> for every f."""
        f = RNG.normal(size=(8, 12, 3)).astype(np.float32)
        g = RNG.normal(size=(len(REGIONS), 3, 4, 3)).astype(np.float32)
        options = {'output': (3, 4), 'scale': 1 / 8, 'samples': 2, 'aligned': aligned}

        def product(f, boxes):
            return (rois.roi_align(f, boxes, **options) * g).sum()

        df, dboxes = jax.jit(jax.grad(product, (0, 1)))(f, REGIONS)
        assert not dboxes.any()
        for _ in range(5):
            other = RNG.normal(size=f.shape).astype(np.float32)
            np.testing.assert_allclose((df * other).sum(), product(other, REGIONS), rtol=1e-3)

    def test_a_constant_map_gives_that_constant(self):
        got = rois.roi_align(jnp.full((8, 12, 2), 3.0), REGIONS[:1], scale=1 / 8)
        np.testing.assert_allclose(got, 3, rtol=1e-6)

    @pytest.mark.parametrize('output', [(7, 7), (2, 3)])
    def test_roi_pool_equals_the_loop(self, output):
        f = RNG.normal(size=(8, 12, 3)).astype(np.float32) - 3  # negative: an empty bin shows
        got = jax.jit(functools.partial(rois.roi_pool, output=output, scale=1 / 8))(f, REGIONS)
        want = loop_roi_pool(f, REGIONS, output, 1 / 8)
        np.testing.assert_array_equal(got, want.astype(np.float32))
        assert (want == 0).any()

    def test_gradient_of_roi_pool_goes_to_the_maxima(self):
        f = RNG.permutation(96).reshape(8, 12, 1).astype(np.float32)
        boxes = jnp.array([[0.0, 0, 11, 7]])
        g = jax.grad(lambda f: rois.roi_pool(f, boxes, output=(2, 2), scale=1.0).sum())(f)
        want = np.zeros_like(f)
        for block in (np.s_[:4, :6], np.s_[:4, 6:], np.s_[4:, :6], np.s_[4:, 6:]):
            want[block] = f[block] == f[block].max()
        np.testing.assert_array_equal(g, want)

    @pytest.mark.parametrize('remat', [False, True])
    def test_gradient_of_roi_pool_is_there_behind_a_norm(self, remat):
        """XLA computes these few features once for the maxima and once for their gradient."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(1, 4, 6, 3)).astype(np.float32)
        kernel = rng.normal(size=(3, 3, 3, 3)).astype(np.float32)
        boxes = jnp.array([[0.0, 0, 63, 31], [10, 10, 30, 30], [5, 0, 60, 20]])

        def pooled(x, kernel, shift):
            y = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
            )
            mean = y.mean((0, 1, 2), keepdims=True)
            variance = ((y - mean) ** 2).mean((0, 1, 2), keepdims=True)
            y = (y - mean) * jax.lax.rsqrt(variance + 1e-5) + shift
            pool = functools.partial(rois.roi_pool, output=(3, 3), scale=6 / 64)
            return jax.vmap(pool, (0, None))(y, boxes).sum()

        pooled = jax.checkpoint(pooled) if remat else pooled
        gradient = jax.jit(jax.grad(pooled, 2), compiler_options=AS_USERS)
        gradient = gradient(x, kernel, jnp.zeros(x.shape))
        assert gradient.sum() == 3 * 3 * 3 * 3  # of regions and bins and channels, one each

    @pytest.mark.slow
    def test_gradient_of_roi_pool_is_there_whatever_is_computed_twice(self):
        rng = np.random.default_rng(0)
        f = rng.normal(size=(8, 12, 3)).astype(np.float32)
        g = rng.uniform(0.5, 1.5, (len(REGIONS), 3, 4, 3)).astype(np.float32)
        regions = REGIONS + 0.3  # whose edges no rounding moves

        def total(f):
            return (rois.roi_pool(1.5 * f, regions, output=(3, 4), scale=1 / 8) * g).sum()

        want = jax.grad(total)(f)
        np.testing.assert_allclose(recomputed(jax.grad(total), f), want, rtol=1e-5, atol=1e-6)

    def test_of_equal_maxima_the_first_has_the_gradient(self):
        f = np.zeros((2, 3, 1), np.float32)
        boxes = jnp.array([[0.0, 0, 2, 1]])
        g = jax.grad(lambda f: rois.roi_pool(f, boxes, output=(1, 1), scale=1.0).sum())(f)
        assert g[..., 0].tolist() == [[1, 0, 0], [0, 0, 0]]

    def test_a_region_of_infinities_is_not_an_empty_one(self):
        f, box = jnp.full((4, 4, 1), -jnp.inf), jnp.array([[0.0, 0, 3, 3], [90, 90, 95, 95]])
        inside, outside = rois.roi_pool(f, box, output=(1, 1), scale=1.0).ravel()
        assert inside == -jnp.inf and outside == 0


class TestNothing:
    """No boxes, no truths, no anchors, and rows that may not be kept."""

    none, absent = jnp.zeros((0, 4)), jnp.zeros(0, bool)

    @pytest.mark.parametrize('force', [False, True])
    @pytest.mark.parametrize(('truths', 'anchors'), [(0, 5), (5, 0), (0, 0)])
    def test_match(self, truths, anchors, force):
        match = functools.partial(bx.match, high=0.7, low=0.3, force_best=force)
        matched = jax.jit(match)(jnp.zeros((truths, anchors)), jnp.ones(truths, bool))
        assert matched.tolist() == [-1] * anchors and matched.dtype == jnp.int32

    @pytest.mark.parametrize('groups', [None, jnp.zeros(0, int)])
    @pytest.mark.parametrize('limit', [0, 3])
    def test_suppression(self, limit, groups):
        nms = functools.partial(bx.nms, threshold=0.5, limit=limit)
        index, valid = nms(self.none, jnp.zeros(0), self.absent, groups=groups)
        assert index.shape == valid.shape == (limit,) and not valid.any()
        assert index.dtype == jnp.int32
        some = jnp.tile(jnp.array([0.0, 0, 2, 2]), (5, 1)), jnp.ones(5), jnp.ones(5, bool)
        assert nms(*some)[1].tolist() == [True, False, False][:limit]

    @pytest.mark.parametrize('each', [False, True])
    @pytest.mark.parametrize(
        ('rows', 'classes', 'limit'), [(0, 3, 4), (5, 0, 4), (0, 0, 4), (5, 3, 0), (0, 3, 0)]
    )
    def test_detections(self, rows, classes, limit, each):
        boxes = jnp.zeros((2, rows, classes if each else 1, 4))
        scores, mask = jnp.ones((2, rows, classes)), jnp.ones((2, rows), bool)
        detect = functools.partial(bx.detections, least=0.1, threshold=0.5, limit=limit)
        found = jax.jit(jax.vmap(detect))(boxes, scores, mask)
        assert found.boxes.shape == (2, limit, 4) and found.mask.shape == (2, limit)
        assert not found.mask.any() and not found.scores.any()

    def test_the_rest_of_this_file(self):
        a, some = self.none, jnp.ones((3, 4))
        pairs = jax.eval_shape(lambda: (bx.iou(a, some), bx.iou(some, a)))
        assert [pair.shape for pair in pairs] == [(0, 3), (3, 0)]
        for two in (bx.generalised_iou, bx.intersection, bx.encode, bx.decode):
            assert jax.eval_shape(two, a, a).shape[0] == 0
        for one in (bx.area, bx.centred, bx.corners, functools.partial(bx.clip, size=(3, 4))):
            assert jax.eval_shape(one, a).shape[0] == 0
        masks = bx.sample_balanced(jax.random.key(0), self.absent, self.absent, count=4, fraction=1)
        assert all(mask.shape == (0,) for mask in masks)
        for pool in (rois.roi_align, rois.roi_pool):
            gradient = jax.jit(jax.grad(lambda f, pool=pool: pool(f, a, scale=1.0).sum()))
            assert not gradient(jnp.ones((4, 5, 2))).any()
        assert bx.take(a, jnp.zeros((2, 3), int)).tolist() == np.zeros((2, 3, 4)).tolist()

    @pytest.mark.slow
    def test_losses_of_faster_rcnn_are_those_of_padding(self):
        """A batch in which no image has a true box: everything is background."""
        anchors = jnp.asarray(random_boxes(20))
        keys = jax.random.split(jax.random.key(0), 2)

        def losses(offsets, count):
            boxes, truth = jnp.zeros((2, count, 4)), jnp.zeros((2, count), bool)
            targets = jax.vmap(faster_rcnn.anchor_targets, (0, None, 0, 0))(
                keys, anchors, boxes, truth
            )
            first = faster_rcnn.proposal_losses(offsets[..., 0], offsets, targets)
            propose = functools.partial(rcnn.sample_regions, count=12)
            samples = jax.vmap(propose, (0, None, None, 0, 0, 0))(
                keys, anchors, jnp.ones(20, bool), boxes, jnp.zeros((2, count), int), truth
            )
            regions = rcnn.Regions(
                offsets[:, :12, :3], jnp.tile(offsets[:, :12, None], (1, 1, 3, 1))
            )
            return sum((*first, *rcnn.region_losses(regions, samples))), samples

        offsets = jnp.asarray(RNG.normal(size=(2, 20, 4)), jnp.float32)
        both = jax.jit(jax.value_and_grad(losses, has_aux=True), static_argnums=1)
        ((got, samples), slope), ((want, _), other) = (both(offsets, count) for count in (0, 1))
        np.testing.assert_allclose(got, want, rtol=1e-6)
        np.testing.assert_allclose(slope, other, rtol=1e-6)
        assert samples.mask.all() and not samples.labels.any() and not samples.targets.any()
        assert got > 1 and not slope[..., 3].any()

    def test_neither_proposals_nor_truths(self):
        regions = rcnn.sample_regions(
            *(jax.random.key(0), self.none, self.absent, self.none, jnp.zeros(0, int), self.absent),
            count=4,
        )
        assert regions.boxes.shape == (0, 4) and regions.labels.shape == (0,)
        hidden = rcnn.Hidden((5,))
        kernel = {'fc6': {'kernel': jnp.ones((12, 5)), 'bias': jnp.ones(5)}}
        assert hidden.apply({'params': kernel}, jnp.ones((2, 0, 2, 2, 3))).shape == (2, 0, 5)
        logits, offsets = jnp.zeros((0, 3)), jnp.zeros((0, 3, 4))
        assert not any(rcnn.region_losses(rcnn.Regions(logits, offsets), regions))
        found = rcnn.region_detections(
            logits, offsets, self.none, self.absent, size=(8, 8), limit=2
        )
        assert found.mask.tolist() == [False, False]

    def test_loss_of_yolo_is_that_of_padding(self):
        maps = tuple(jnp.asarray(RNG.normal(size=(2, n, n, 3, 8)), jnp.float32) for n in (2, 4))

        def loss(maps, count):
            truth = (
                jnp.zeros((2, count, 4)),
                jnp.zeros((2, count), bool),
                jnp.zeros((2, count), int),
            )
            parts = yolo.yolo_loss(maps, *truth, anchors=yolo.COCO_TINY, size=(64, 64))
            return sum(part.sum() for part in parts.values())

        got, want = (jax.jit(jax.value_and_grad(loss), static_argnums=1)(maps, n) for n in (0, 1))
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        assert got[0] > 1


def test_smooth_l1_of_regions_and_its_gradient_whatever_is_computed_twice():
    """Girshick 2015, eq. 3, of offsets behind other arithmetic."""
    errors = np.random.default_rng(0).normal(0, 2, (50, 4)).astype(np.float32)

    def located(errors):
        ones = jnp.ones(50, bool)
        return 50 * rcnn.two_terms(jnp.zeros(50), 1.5 * errors, ones, ones, beta=0.5)[1]

    e = 1.5 * errors.astype(np.float64)
    want = np.where(abs(e) < 0.5, e**2, abs(e) - 0.25).sum()
    np.testing.assert_allclose(located(errors), want, rtol=1e-5)
    slope = 1.5 * np.clip(e / 0.5, -1, 1)
    for gradient in (jax.grad(located)(errors), recomputed(jax.grad(located), errors)):
        np.testing.assert_allclose(gradient, slope, rtol=1e-4)


def test_padded_boxes():
    padded, mask = boxes.pad_boxes([[[1, 2, 3, 4]], [], [[5, 6, 7, 8], [1, 1, 2, 2]]], count=3)
    assert padded.shape == (3, 3, 4) and padded.dtype == np.float32
    assert mask.tolist() == [[True, False, False], [False] * 3, [True, True, False]]
    assert padded[2, 1].tolist() == [1, 1, 2, 2] and not padded[~mask].any()
    assert boxes.pad_boxes([[[1, 2, 3, 4]]])[0].shape == (1, 1, 4)
    with pytest.raises(ValueError, match='an image has 2 boxes where 1 are allowed'):
        boxes.pad_boxes([np.zeros((2, 4))], count=1)
