"""Boxes against loops in numpy, and against what their papers say of easy cases."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import boxes as bx

RNG = np.random.default_rng(0)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(n, *, extent=100.0, least=1.0, most=40.0):
    low = RNG.uniform(0, extent, (n, 2))
    return np.concatenate([low, low + RNG.uniform(least, most, (n, 2))], 1).astype(np.float32)


def loop_iou(a, b):
    """By its definition, for one pair."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


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
        got = jax.jit(functools.partial(bx.roi_align, **options))(f, REGIONS)
        want = loop_roi_align(f, REGIONS, output, 1 / 8, samples, aligned)
        np.testing.assert_allclose(got, want, atol=2e-5)

    @pytest.mark.parametrize('aligned', [False, True])
    def test_gradient_of_roi_align_is_its_transpose(self, aligned):
        """RoIAlign is linear in the features: <g, A f> = <A^T g, f> for every f."""
        f = RNG.normal(size=(8, 12, 3)).astype(np.float32)
        g = RNG.normal(size=(len(REGIONS), 3, 4, 3)).astype(np.float32)
        options = {'output': (3, 4), 'scale': 1 / 8, 'samples': 2, 'aligned': aligned}

        def product(f, boxes):
            return (bx.roi_align(f, boxes, **options) * g).sum()

        df, dboxes = jax.jit(jax.grad(product, (0, 1)))(f, REGIONS)
        assert not dboxes.any()
        for _ in range(5):
            other = RNG.normal(size=f.shape).astype(np.float32)
            np.testing.assert_allclose((df * other).sum(), product(other, REGIONS), rtol=1e-3)

    def test_a_constant_map_gives_that_constant(self):
        got = bx.roi_align(jnp.full((8, 12, 2), 3.0), REGIONS[:1], scale=1 / 8)
        np.testing.assert_allclose(got, 3, rtol=1e-6)

    @pytest.mark.parametrize('output', [(7, 7), (2, 3)])
    def test_roi_pool_equals_the_loop(self, output):
        f = RNG.normal(size=(8, 12, 3)).astype(np.float32) - 3  # negative: an empty bin shows
        got = jax.jit(functools.partial(bx.roi_pool, output=output, scale=1 / 8))(f, REGIONS)
        want = loop_roi_pool(f, REGIONS, output, 1 / 8)
        np.testing.assert_array_equal(got, want.astype(np.float32))
        assert (want == 0).any()

    def test_gradient_of_roi_pool_goes_to_the_maxima(self):
        f = RNG.permutation(96).reshape(8, 12, 1).astype(np.float32)
        boxes = jnp.array([[0.0, 0, 11, 7]])
        g = jax.grad(lambda f: bx.roi_pool(f, boxes, output=(2, 2), scale=1.0).sum())(f)
        want = np.zeros_like(f)
        for block in (np.s_[:4, :6], np.s_[:4, 6:], np.s_[4:, :6], np.s_[4:, 6:]):
            want[block] = f[block] == f[block].max()
        np.testing.assert_array_equal(g, want)


def test_padded_boxes():
    padded, mask = bx.pad_boxes([[[1, 2, 3, 4]], [], [[5, 6, 7, 8], [1, 1, 2, 2]]], count=3)
    assert padded.shape == (3, 3, 4) and padded.dtype == np.float32
    assert mask.tolist() == [[True, False, False], [False] * 3, [True, True, False]]
    assert padded[2, 1].tolist() == [1, 1, 2, 2] and not padded[~mask].any()
    assert bx.pad_boxes([[[1, 2, 3, 4]]])[0].shape == (1, 1, 4)
    with pytest.raises(ValueError, match='an image has 2 boxes where 1 are allowed'):
        bx.pad_boxes([np.zeros((2, 4))], count=1)
