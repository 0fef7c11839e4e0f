"""Boxes: geometry, coding, anchors, matching, suppression and pooling, as pure functions.

A box is (x1, y1, x2, y2), its left, top, right and bottom edge in pixels of the image: the pixel in
row i and column j is the box (j, i, j + 1, i + 1). Functions are of one image, for `jax.vmap`;
where the number of boxes varies, arrays are padded and a mask says which rows count. Every number
of boxes may be 0.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

BACKGROUND, IGNORED = -1, -2  # what `match` says of an anchor that has no truth
LARGEST = math.log(1000 / 16)  # the largest logarithm of a size ratio that `decode` takes
TIE = 1e-5  # IoUs whose ratio is that near to 1 are equal but for rounding


# ---- geometry -----------------------------------------------------------------------------------


def larger(a: Any, b: Any) -> Array:
    """`jnp.maximum`, with a gradient that compares the two numbers; equal ones have half each.

    The gradient of `jnp.maximum` looks for the result among the two. Where a compiler has computed
    them twice, with other rounding, it finds none and is 0.
    """
    kind = jnp.result_type(a, b)
    return _larger(jnp.asarray(a, kind), jnp.asarray(b, kind))


def smaller(a: Any, b: Any) -> Array:
    """`jnp.minimum`, likewise."""
    kind = jnp.result_type(a, b)
    return -_larger(-jnp.asarray(a, kind), -jnp.asarray(b, kind))


@jax.custom_jvp
def _larger(a: Array, b: Array) -> Array:
    return jnp.maximum(a, b)


@_larger.defjvp
def _larger_tangent(of: tuple[Array, Array], tangents: Any) -> tuple[Array, Array]:
    (a, b), (da, db) = of, tangents
    return jnp.maximum(a, b), jnp.where(a > b, da, jnp.where(a < b, db, (da + db) / 2))


def area(boxes: Array) -> Array:
    """Areas [...] of boxes [..., 4]; 0 where right is left of left."""
    size = larger(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]


def intersection(a: Array, b: Array) -> Array:
    """Areas [...] common to boxes a [..., 4] and b [..., 4]."""
    size = larger(smaller(a[..., 2:], b[..., 2:]) - larger(a[..., :2], b[..., :2]), 0)
    return size[..., 0] * size[..., 1]


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of every pair, a [N, 4], b [M, 4] -> [N, M]; 0 of two empty ones."""
    common = intersection(a[:, None], b[None])
    return _ratio(common, area(a)[:, None] + area(b)[None] - common)


def generalised_iou(a: Array, b: Array) -> Array:
    """IoU less the empty share of the hull, in (-1, 1] (Rezatofighi et al. 2019, algorithm 1).

    a, b [..., 4] -> [...]: |a and b| / |a or b| - (|hull| - |a or b|) / |hull|.
    """
    common = intersection(a, b)
    union = area(a) + area(b) - common
    hull = area(jnp.concatenate([smaller(a, b)[..., :2], larger(a, b)[..., 2:]], -1))
    return _ratio(common, union) - _ratio(hull - union, hull)


def centred(boxes: Array) -> Array:
    """(x1, y1, x2, y2) -> (centre x, centre y, width, height), [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def corners(boxes: Array) -> Array:
    """(centre x, centre y, width, height) -> (x1, y1, x2, y2), [..., 4]; inverse of `centred`."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def clip(boxes: Array, *, size: tuple[int, int]) -> Array:
    """Boxes [..., 4] cut at the edges of an image of `size` (height, width)."""
    height, width = size
    x = smaller(larger(boxes[..., 0::2], 0), width)
    y = smaller(larger(boxes[..., 1::2], 0), height)
    return jnp.stack([x, y], -1).reshape(boxes.shape)


def _ratio(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


# ---- coding -------------------------------------------------------------------------------------


def encode(boxes: Array, anchors: Array, *, weights: Sequence[float] = (1, 1, 1, 1)) -> Array:
    """Boxes [..., 4] as offsets from anchors [..., 4] (Girshick et al. 2014, appendix C, eq. 6-9).

        t = (wx (x - xa) / wa, wy (y - ya) / ha, ww log(w / wa), wh log(h / ha))

    weights: (wx, wy, ww, wh), the inverse standard deviations of the offsets. A box without area
    (padding) is coded as if it were 1e-3 pixels wide, so that nothing is infinite.
    """
    (x, y, w, h), (xa, ya, wa, ha) = _split(centred(boxes)), _split(centred(anchors))
    wx, wy, ww, wh = weights
    w, h = larger(w, 1e-3), larger(h, 1e-3)
    t = (wx * (x - xa) / wa, wy * (y - ya) / ha, ww * jnp.log(w / wa), wh * jnp.log(h / ha))
    return jnp.stack(t, -1)


def decode(
    deltas: Array,
    anchors: Array,
    *,
    weights: Sequence[float] = (1, 1, 1, 1),
    clip: float = LARGEST,
) -> Array:
    """Boxes [..., 4] from offsets and anchors [..., 4]; the inverse of `encode`.

    clip: the largest logarithm of a size ratio: larger ones are cut before the exponential.
    """
    (tx, ty, tw, th), (xa, ya, wa, ha) = _split(deltas), _split(centred(anchors))
    wx, wy, ww, wh = weights
    w, h = jnp.exp(smaller(tw / ww, clip)) * wa, jnp.exp(smaller(th / wh, clip)) * ha
    return corners(jnp.stack((tx / wx * wa + xa, ty / wy * ha + ya, w, h), -1))


def _split(boxes: Array) -> tuple[Array, Array, Array, Array]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


# ---- anchors and their truths -------------------------------------------------------------------


def anchor_grid(
    shape: tuple[int, int],
    *,
    stride: tuple[int, int],
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> Array:
    """Anchors of every position of a feature map, [h * w * A, 4], A = len(ratios) * len(sizes).

    shape: (h, w) of the map. stride: (y, x) in pixels of the image. An anchor of size s and ratio r
    is s / sqrt(r) wide and s sqrt(r) high, around the top left corner of its cell, its corners
    rounded to pixels relative to it. Order: row, column, ratio, size (torchvision's).
    """
    tall = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    s = np.asarray(sizes, np.float32)[None]
    half = np.stack([(s / tall).ravel(), (s * tall).ravel()], -1) / 2
    base = np.round(np.concatenate([-half, half], -1))
    y, x = np.meshgrid(
        *(np.arange(n) * by for n, by in zip(shape, stride, strict=True)), indexing='ij'
    )
    shift = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return jnp.asarray((shift + base).reshape(-1, 4), jnp.float32)


def match(
    ious: Array, truth_mask: Array, *, high: float, low: float, force_best: bool = False
) -> Array:
    """The truth of each anchor, int [A]: its index, BACKGROUND (-1) or IGNORED (-2).

    ious: [N truths, A anchors]; truth_mask [N]: the rows that count. An anchor goes to the truth of
    its highest IoU if that is `high` at least; it is background below `low`, ignored between.
    force_best: the anchors that overlap some truth most (all that tie, but for rounding) are never
    background or ignored; they too go to the truth of their own highest IoU (Ren et al. 2015,
    section 3.1.2, as torchvision reads it). A truth that overlaps no anchor at all forces none.
    """
    if not ious.size:
        return jnp.full(ious.shape[1], BACKGROUND)
    ious = jnp.where(truth_mask[:, None], ious, -1.0)
    best, truth = ious.max(0), ious.argmax(0)
    matched = jnp.where(best >= high, truth, jnp.where(best < low, BACKGROUND, IGNORED))
    if force_best:
        # A compiler may compute the IoUs once for their maximum and once, rounded otherwise, to
        # compare them with it (on CPU an optimization barrier is gone before it fuses): none might
        # be equal. So the best is known by its place, and ties are what rounding may have parted.
        most, at = ious.max(1, keepdims=True), ious.argmax(1, keepdims=True)
        forced = (ious > (1 - TIE) * most) | (jnp.arange(ious.shape[1])[None] == at)
        matched = jnp.where((forced & (most > 0)).any(0), truth, matched)
    return matched


def take(rows: Array, index: Array) -> Array:
    """The rows [..., *shape] of an array [N, *shape] at index [...]; zeros if it has none."""
    if not len(rows):
        return jnp.zeros((*index.shape, *rows.shape[1:]), jnp.result_type(rows))
    return rows[index]


def sample_balanced(
    key: Any, positive: Array, negative: Array, *, count: int, fraction: float
) -> tuple[Array, Array]:
    """At most `count` of the rows of two masks [A], drawn evenly: (positive, negative) masks [A].

    At most `fraction` of `count` are positive; negatives fill up what is left.
    """
    scores = jax.random.uniform(key, (2, len(positive)))
    most = int(count * fraction)
    positives = _draw(scores[0], positive, most, most)
    return positives, _draw(scores[1], negative, count, count - positives.sum())


def _draw(scores: Array, mask: Array, most: int, number: Any) -> Array:
    """The `number` (at most `most`) rows of `mask` with the highest scores, as a mask."""
    most = min(most, len(mask))
    values, rows = lax.top_k(jnp.where(mask, scores, -1.0), most)
    drawn = (jnp.arange(most) < number) & (values >= 0)
    return jnp.zeros(len(mask), bool).at[rows].set(drawn)


# ---- suppression --------------------------------------------------------------------------------


def nms(
    boxes: Array,
    scores: Array,
    mask: Array,
    *,
    threshold: float,
    limit: int,
    groups: Array | None = None,
) -> tuple[Array, Array]:
    """Non-maximum suppression: (indices int [limit], mask bool [limit]), best score first.

    The best box is kept, all that overlap it with an IoU above `threshold` are dropped, and so on
    with what is left until `limit` are kept. Of equal scores the lower index comes first.

    boxes [N, 4], scores [N], mask [N]: what counts; a score of NaN or -inf never does.
    groups: int [N]; boxes suppress only boxes of their own group (class, pyramid level).
    """
    if not (limit and len(scores)):
        return jnp.zeros(limit, int), jnp.zeros(limit, bool)
    count, alive = len(scores), mask & (scores > -jnp.inf)
    order = jnp.argsort(jnp.where(alive, scores, -jnp.inf), descending=True)
    boxes, sizes, at = boxes[order], area(boxes)[order], jnp.arange(count)
    x1, y1, x2, y2 = _split(boxes)  # contiguous: this loop is what a detector waits for
    group = None if groups is None else groups[order]

    # In order of score, what is left holds its own place and what is dropped the number of boxes:
    # the next to be kept is the minimum, which is several times cheaper than the best score.
    def more(carry: tuple[Array, Array, Array, Array]) -> Array:
        _, best, _, found = carry
        return (best < count) & (found < limit)

    def keep(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        left, best, kept, found = carry
        across = jnp.minimum(x2, x2[best]) - jnp.maximum(x1, x1[best])
        down = jnp.minimum(y2, y2[best]) - jnp.maximum(y1, y1[best])
        common = jnp.maximum(across, 0) * jnp.maximum(down, 0)
        drop = _ratio(common, sizes + sizes[best] - common) > threshold
        if group is not None:
            drop &= group == group[best]
        left = jnp.where(drop | (at == best), count, left)
        return left, left.min(), kept.at[found].set(best), found + 1

    left = jnp.where(alive[order], at, count)
    start = left, left.min(), jnp.zeros(limit, at.dtype), jnp.zeros((), at.dtype)
    _, _, kept, found = lax.while_loop(more, keep, start)
    chosen = jnp.arange(limit) < found
    return jnp.where(chosen, order[kept], 0), chosen


class Detections(NamedTuple):
    """What a detector found, padded, best first: D rows for each image."""

    boxes: Array  # [..., D, 4]
    scores: Array  # [..., D], in 0..1
    classes: Array  # int [..., D]
    mask: Array  # [..., D]: the rows that count


def detections(
    boxes: Array,
    scores: Array,
    mask: Array,
    *,
    least: float,
    threshold: float,
    limit: int,
    candidates: int | None = None,
) -> Detections:
    """The best boxes of one image after suppression in each class.

    boxes: [A, K, 4], a box for each class, or [A, 1, 4], one for all. scores [A, K], mask [A].
    least: the score above which a (box, class) counts; one box may count for several classes.
    threshold: the IoU above which suppression is done. limit: rows of the result.
    candidates: pairs with the highest scores that are looked at, all by default.
    """
    rows, classes = scores.shape
    flat = jnp.where(mask[:, None] & (scores > least), scores, -jnp.inf).ravel()
    best, pairs = lax.top_k(flat, min(candidates or flat.size, flat.size))
    kinds = pairs % classes
    pool = jnp.broadcast_to(boxes, (rows, classes, 4)).reshape(-1, 4)[pairs]
    kept, found = nms(pool, best, best > -jnp.inf, threshold=threshold, limit=limit, groups=kinds)
    return Detections(
        jnp.where(found[:, None], take(pool, kept), 0),
        jnp.where(found, take(best, kept), 0),
        jnp.where(found, take(kinds, kept), 0),
        found,
    )


# ---- on the host --------------------------------------------------------------------------------


def pad_boxes(boxes: Sequence[Any], *, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n_i, 4] of B images as one array: ([B, count, 4], mask [B, count]), on the host.

    count: rows of each image, the largest n_i by default.
    """
    arrays = [np.asarray(some, np.float32).reshape(-1, 4) for some in boxes]
    most = max((len(some) for some in arrays), default=0)
    count = most if count is None else count
    if most > count:
        raise ValueError(f'an image has {most} boxes where {count} are allowed')
    padded = np.zeros((len(arrays), count, 4), np.float32)
    mask = np.zeros((len(arrays), count), bool)
    for i, some in enumerate(arrays):
        padded[i, : len(some)], mask[i, : len(some)] = some, True
    return padded, mask
