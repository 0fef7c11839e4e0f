"""Regions with CNN features: the heads of R-CNN and Fast R-CNN on proposals that are given.

Girshick et al. 2014, *Rich feature hierarchies for accurate object detection and semantic
segmentation* (R-CNN), warps each proposal to an image of its own. Girshick 2015, *Fast R-CNN*,
computes one map of the whole image and pools each proposal from it. Faster R-CNN
(`jaxdl.models.faster_rcnn`) also makes the proposals and shares the rest of this file.

Objects have classes 0 to K - 1. Logits and labels of regions have K + 1, the background first.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.nn import initializers

from jaxdl import boxes as bx
from jaxdl.boxes import BACKGROUND, Detections
from jaxdl.micro_batches import whole
from jaxdl.models.alexnet import AlexNetFeatures
from jaxdl.models.vgg import VGGFeatures
from jaxdl.nn.layers import Dense
from jaxdl.nn.regions import roi_pool

Array = jax.Array
Layer = Callable[..., nn.Module]

# Inverse standard deviations of the offsets of regions: they make the targets of unit variance.
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class Regions(NamedTuple):
    """What a head says of R regions."""

    logits: Array  # [..., R, K + 1], the background first
    offsets: Array  # [..., R, K + 1, 4], for each class; those of the background mean nothing


class Samples(NamedTuple):
    """The regions of an image that are learned from, padded to `count`."""

    boxes: Array  # [count, 4]
    labels: Array  # int [count], 0 is the background
    targets: Array  # [count, 4], the offsets to the truth; 0 where there is none
    mask: Array  # [count]: the rows that count


# ---- learning -----------------------------------------------------------------------------------


def sample_regions(
    key: Array,
    proposals: Array,
    mask: Array,
    boxes: Array,
    classes: Array,
    truth: Array,
    *,
    count: int,
    fraction: float = 0.25,
    foreground: float = 0.5,
    least: float = 0.0,
    weights: Sequence[float] = WEIGHTS,
) -> Samples:
    """Draw the regions to learn from, for one image (Girshick 2015, section 2.3).

    A region whose IoU with a truth is `foreground` at least has its class; one in [least,
    foreground) is background. At most `fraction` of `count` are objects. The true boxes are
    regions too.

    proposals [P, 4], mask [P]: those that count. boxes [N, 4], classes int [N], truth [N]: the true
    boxes that count. least: 0.1 in Fast R-CNN, in place of a search for hard examples.
    """
    proposals = jax.lax.stop_gradient(jnp.concatenate([proposals, boxes]))
    mask = jnp.concatenate([mask, truth])
    ious = bx.iou(boxes, proposals)
    matched = bx.match(ious, truth, high=foreground, low=foreground)
    near = jnp.where(truth[:, None], ious, 0.0).max(0, initial=0.0) >= least
    positive, negative = bx.sample_balanced(
        key, mask & (matched >= 0), mask & near & (matched == BACKGROUND),
        count=count, fraction=fraction,
    )  # fmt: skip
    drawn = positive | negative
    (rows,) = jnp.nonzero(drawn, size=min(count, len(drawn)), fill_value=0)
    chosen = jnp.arange(len(rows)) < drawn.sum()
    object_, at = chosen & positive[rows], jnp.maximum(matched[rows], 0)
    regions = bx.take(proposals, rows)
    # Of background and padding nothing is coded: where a region is empty that would be infinite.
    shown = jnp.where(object_[:, None], regions, jnp.array([0.0, 0, 1, 1])[None])
    targets = bx.encode(bx.take(boxes, at), shown, weights=weights)
    return Samples(
        jnp.where(chosen[:, None], regions, 0),
        jnp.where(object_, bx.take(classes, at) + 1, 0),
        jnp.where(object_[:, None], targets, 0),
        chosen,
    )


def region_losses(regions: Regions, samples: Samples, *, beta: float = 1.0) -> tuple[Array, Array]:
    """The two terms of the multi-task loss, L = L_cls + [u >= 1] L_loc (Girshick 2015, eq. 1-3).

    L_cls = -log p_u, L_loc = sum over x, y, w, h of the smooth L1 of t^u - v, of a region with
    label u; both as in `two_terms`. regions and samples of a batch, [B, R, ...], or of one image.
    """
    each = optax.losses.softmax_cross_entropy_with_integer_labels(regions.logits, samples.labels)
    at = samples.labels[..., None, None]
    errors = jnp.take_along_axis(regions.offsets, at, axis=-2)[..., 0, :] - samples.targets
    return two_terms(each, errors, samples.mask, samples.labels > 0, beta=beta)


def two_terms(
    each: Array, errors: Array, mask: Array, objects: Array, *, beta: float
) -> tuple[Array, Array]:
    """Classification and location: sums over what counts, divided by its number.

    each [...]: cross-entropies. errors [..., 4]: of offsets, in smooth L1 (Girshick 2015, eq. 3,
    where beta is 1), where `objects` [...] is true. mask [...]: what counts.
    """
    # Huber's loss is that too, but optax's takes a minimum, whose gradient looks for the result
    # among its arguments: computed twice, with other rounding, it is not there.
    size = jnp.abs(errors)
    located = jnp.where(size < beta, errors**2 / (2 * beta), size - beta / 2).sum(-1)
    number = whole(mask.sum(), least=1)
    return (
        jnp.where(mask, each, 0).sum() / number,
        jnp.where(mask & objects, located, 0).sum() / number,
    )


def svm_signs(
    proposals: Array,
    mask: Array,
    boxes: Array,
    classes: Array,
    truth: Array,
    *,
    count: int,
    threshold: float = 0.3,
) -> tuple[Array, Array]:
    """The examples of R-CNN's K linear machines (appendix B): (regions [P + N, 4], signs).

    signs [P + N, K]: +1 for the true boxes of a class, -1 for proposals whose IoU with every one of
    its true boxes is below `threshold`; 0 is left out. The true boxes are the last N regions.
    For ``hinge(scores, signs, weights=signs != 0)``. count: K.
    """
    kinds = jax.nn.one_hot(classes, count, dtype=bool) & truth[:, None]  # [N, K]
    ious = jnp.where(kinds[:, None], bx.iou(boxes, proposals)[..., None], 0.0).max(0, initial=0.0)
    signs = jnp.where(mask[:, None] & (ious < threshold), -1, 0)
    signs = jnp.concatenate([signs, kinds.astype(signs.dtype)])
    return jnp.concatenate([proposals, boxes]), signs


def region_detections(
    scores: Array,
    offsets: Array,
    proposals: Array,
    mask: Array,
    *,
    size: tuple[int, int],
    least: float = 0.05,
    threshold: float = 0.5,
    limit: int = 100,
    weights: Sequence[float] = WEIGHTS,
) -> Detections:
    """What is found in one image of `size` (height, width): each class's own box, then suppression.

    scores [P, K] and offsets [P, K, 4] of the objects' classes (without the background's);
    proposals [P, 4] and mask [P]. least: scores up to it, and boxes less than 0.01 pixels wide or
    high, do not count. threshold: the IoU above which the worse of two boxes of a class is dropped.
    """
    found = bx.clip(bx.decode(offsets, proposals[:, None], weights=weights), size=size)
    wide = (found[..., 2:] - found[..., :2] >= 0.01).all(-1)
    found, scores = jax.lax.stop_gradient((found, jnp.where(wide, scores, -jnp.inf)))
    return bx.detections(found, scores, mask, least=least, threshold=threshold, limit=limit)


# ---- networks -----------------------------------------------------------------------------------


class Hidden(nn.Module):
    """The fully connected layers of a region: fc6, fc7, each with ReLU and dropout.

    units: of each layer. dropout: after each.
    """

    units: Sequence[int] = (4096, 4096)
    dropout: float = 0.5
    dense: Layer = Dense

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[..., h, w, C] -> [..., units]."""
        x = x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))
        for i, width in enumerate(self.units, 6):
            x = nn.relu(self.dense(width, name=f'fc{i}')(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class RegionHead(nn.Module):
    """Hidden layers and the two on them: scores of classes, and offsets for each.

    classes: of objects, K.
    hidden() -> module, [..., h, w, C] -> [..., D].
    kernel_init: of the scores and of the offsets, N(0, 0.01^2) and N(0, 0.001^2) by default
        (Girshick 2015, section 2.3).
    """

    classes: int
    hidden: Layer = Hidden
    kernel_init: tuple[initializers.Initializer, initializers.Initializer] = (
        initializers.normal(0.01),
        initializers.normal(0.001),
    )

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Regions:
        """[..., h, w, C] -> regions [...]."""
        x = self.hidden(name='hidden')(x, train=train)
        scores, offsets = self.kernel_init
        logits = Dense(self.classes + 1, kernel_init=scores, name='cls_score')(x)
        x = Dense(4 * (self.classes + 1), kernel_init=offsets, name='bbox_pred')(x)
        return Regions(logits, x.reshape(*x.shape[:-1], self.classes + 1, 4))


class FastRCNN(nn.Module):
    """Fast R-CNN: one map of the image, and RoI max pooling of each proposal (figure 1).

    Loss: `region_losses` of the regions that `sample_regions(..., count=64, least=0.1)` draws.
    Detections: `region_detections` of ``softmax(logits)[..., 1:]`` with a threshold of 0.3.

    trunk() -> module, from images to a map of stride 1 / `scale`: VGG-16 up to its last
        convolution, without the last pooling.
    head(classes=) -> module: what follows the pooling.
    """

    trunk: Layer = partial(VGGFeatures, (2, 2, 3, 3, 3))
    classes: int = 20
    head: Layer = RegionHead
    output: tuple[int, int] = (7, 7)
    scale: float = 1 / 16

    @nn.compact
    def __call__(self, images: Array, boxes: Array, *, train: bool = False) -> Regions:
        """Images [B, H, W, C] and proposals [B, R, 4], padded or not -> regions [B, R]."""
        maps = self.trunk(name='trunk')(images, train=train)
        pooled = jax.vmap(lambda x, b: roi_pool(x, b, output=self.output, scale=self.scale))(
            maps, jax.lax.stop_gradient(boxes)
        )
        return self.head(classes=self.classes, name='head')(pooled, train=train)


def warp(image: Array, boxes: Array, *, size: int = 227, context: int = 16) -> Array:
    """Each region as an image of its own: [H, W, C] and boxes [R, 4] -> [R, size, size, C].

    The region is stretched to size - 2 context pixels in both directions and lies in the middle of
    `context` pixels of its surroundings, at the same scale (appendix A, figure 7D). What is outside
    of the image is 0: images have their mean subtracted.
    """
    inner = size - 2 * context

    def one(box: Array) -> Array:
        scale = inner / jnp.maximum(box[2:] - box[:2], 1.0)  # padding has no size
        shift = context - box[:2] * scale
        return jax.image.scale_and_translate(
            *(image, (size, size, image.shape[-1]), (0, 1), scale[::-1], shift[::-1]),
            method='linear',
            antialias=False,
        )

    return jax.vmap(one)(jax.lax.stop_gradient(boxes))


class RCNNOutput(NamedTuple):
    """What R-CNN's three heads say of R regions."""

    logits: Array  # [..., R, K + 1], of the fine-tuned softmax, the background first
    margins: Array  # [..., R, K], of the linear machines
    offsets: Array  # [..., R, K, 4]


class RCNN(nn.Module):
    """R-CNN: each proposal, warped to 227x227, through a network of its own (section 2).

    It is trained in three stages, of which each leaves the others alone. The trunk and the hidden
    layers learn to classify regions by the softmax over fc7 (section 2.3; `sample_regions` with
    ``count=128``, 32 of them objects). Linear support vector machines on fc7 then score the classes
    (appendix B; `svm_signs`). Offsets are a linear function of pool5, fitted by least squares with
    a penalty to the proposals whose IoU is above 0.6 (appendix C, eq. 5 to 9; ``weights=(1, 1, 1,
    1)``). No gradient passes from the second and the third into the first.
    Detections: `region_detections` of the margins with a threshold of 0.3.

    trunk() -> module: crops to the maps of pool5, [N, size, size, C] -> [N, h, w, F]; AlexNet's.
    hidden() -> module: pool5 to fc7, [N, h, w, F] -> [N, D].
    """

    trunk: Layer = AlexNetFeatures
    hidden: Layer = Hidden
    classes: int = 20
    size: int = 227
    context: int = 16

    @nn.compact
    def __call__(self, images: Array, boxes: Array, *, train: bool = False) -> RCNNOutput:
        """Images [B, H, W, C] and proposals [B, R, 4], padded or not -> regions [B, R]."""
        crops = jax.vmap(lambda x, b: warp(x, b, size=self.size, context=self.context))(
            images, boxes
        )
        before = crops.shape[:2]
        pool5 = self.trunk(name='trunk')(crops.reshape(-1, *crops.shape[2:]), train=train)
        fc7 = self.hidden(name='hidden')(pool5, train=train)
        logits = Dense(self.classes + 1, kernel_init=initializers.normal(0.01), name='softmax')(fc7)
        margins = Dense(self.classes, name='svm')(jax.lax.stop_gradient(fc7))
        flat = jax.lax.stop_gradient(pool5.reshape(len(pool5), -1))
        offsets = Dense(4 * self.classes, name='bbox')(flat)
        return RCNNOutput(
            logits.reshape(*before, -1),
            margins.reshape(*before, -1),
            offsets.reshape(*before, self.classes, 4),
        )
