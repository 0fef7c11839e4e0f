"""Faster R-CNN: a network that proposes regions, and one that classifies them, on shared maps.

Ren et al. 2015, *Faster R-CNN: towards real-time object detection with region proposal networks*,
on a feature pyramid (Lin et al. 2017) with RoIAlign (He et al. 2017), as torchvision has it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.nn import initializers

from jaxdl import boxes as bx
from jaxdl.boxes import BACKGROUND, Detections
from jaxdl.models.rcnn import (
    Hidden,
    RegionHead,
    Regions,
    Samples,
    region_detections,
    region_losses,
    sample_regions,
    two_terms,
)
from jaxdl.models.resnet import LINEAR, Stages
from jaxdl.nn.fpn import FeaturePyramid, pyramid_align
from jaxdl.nn.layers import Conv, Dense

Array = jax.Array
Layer = Callable[..., nn.Module]
T = TypeVar('T')


class FrozenBatchNorm(nn.Module):
    """BatchNorm that is a fixed affine map: y = (x - mean) / sqrt(var + epsilon) * scale + bias.

    Detectors are trained on few images at a time, from a trunk whose statistics are better known.
    Nothing of it is a parameter; `use_running_average` is taken and ignored.
    """

    epsilon: float = 1e-5
    use_running_average: bool | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., C]."""
        shape = x.shape[-1:]
        ones = [self.variable('batch_stats', n, jnp.ones, shape).value for n in ('scale', 'var')]
        zeros = [self.variable('batch_stats', n, jnp.zeros, shape).value for n in ('bias', 'mean')]
        factor = ones[0] * lax.rsqrt(ones[1] + self.epsilon)
        shift = zeros[0] - zeros[1] * factor
        across = (1,) * (x.ndim - 1) + shape
        return x * factor.reshape(across) + shift.reshape(across)


# ---- proposals ----------------------------------------------------------------------------------


class ProposalHead(nn.Module):
    """The region proposal network's layers, the same at every level (figure 3).

    anchors: at each position.
    """

    anchors: int
    conv: Layer = Conv

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> list[tuple[Array, Array]]:
        """Maps [B, h, w, C] -> (objectness [B, h w anchors], offsets [B, h w anchors, 4])."""
        conv = partial(self.conv, kernel_init=initializers.normal(0.01))
        hidden = conv(maps[0].shape[-1], (3, 3), padding=1, name='conv')
        objectness = conv(self.anchors, (1, 1), padding=0, name='cls_logits')
        offsets = conv(4 * self.anchors, (1, 1), padding=0, name='bbox_pred')
        found = [nn.relu(hidden(x)) for x in maps]
        return [(objectness(x).reshape(len(x), -1), offsets(x).reshape(len(x), -1, 4))
                for x in found]  # fmt: skip


def propose(
    levels: Sequence[tuple[Array, Array]],
    anchors: Sequence[Array],
    *,
    size: tuple[int, int],
    before: int,
    after: int,
    threshold: float = 0.7,
) -> tuple[Array, Array]:
    """The proposals of one image of `size`: (boxes [P, 4], mask [P]), best first.

    levels: (objectness [A_l], offsets [A_l, 4]) of each; anchors [A_l, 4]. The `before` best of
    each level are cut at the edges of the image; those less than 1e-3 pixels wide or high are
    dropped, and those that overlap a better one of their level with an IoU above `threshold`. P is
    `after`, or the number of all anchors looked at if that is less.
    """
    found = []
    for i, ((objectness, offsets), grid) in enumerate(zip(levels, anchors, strict=True)):
        scores, rows = lax.top_k(lax.stop_gradient(objectness), min(before, len(objectness)))
        boxes = bx.clip(bx.decode(lax.stop_gradient(offsets)[rows], grid[rows]), size=size)
        found.append((boxes, scores, jnp.full(len(rows), i)))
    boxes, scores, groups = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
    wide = (boxes[:, 2:] - boxes[:, :2] >= 1e-3).all(-1)
    limit = min(after, len(boxes))
    kept, mask = bx.nms(boxes, scores, wide, threshold=threshold, limit=limit, groups=groups)
    return jnp.where(mask[:, None], boxes[kept], 0), mask


class AnchorTargets(NamedTuple):
    """What the anchors of an image should have said."""

    positive: Array  # [A]: those drawn that should find an object
    negative: Array  # [A]: those drawn that should not
    offsets: Array  # [A, 4]


def anchor_targets(
    key: Array,
    anchors: Array,
    boxes: Array,
    truth: Array,
    *,
    count: int = 256,
    fraction: float = 0.5,
    high: float = 0.7,
    low: float = 0.3,
) -> AnchorTargets:
    """Draw the anchors to learn from, for one image (section 3.1.2).

    An anchor is positive if its IoU with a true box is `high` at least, or the highest of all that
    this box has; negative if it is below `low` with all. boxes [N, 4], truth [N]: those that count.
    """
    ious = bx.iou(boxes, anchors)
    matched = bx.match(ious, truth, high=high, low=low, force_best=True)
    positive, negative = bx.sample_balanced(
        key, matched >= 0, matched == BACKGROUND, count=count, fraction=fraction
    )
    targets = bx.encode(bx.take(boxes, jnp.maximum(matched, 0)), anchors)
    return AnchorTargets(positive, negative, targets)


def proposal_losses(
    objectness: Array, offsets: Array, targets: AnchorTargets
) -> tuple[Array, Array]:
    """The two terms of eq. 1: cross-entropy of objectness, and smooth L1 (beta 1/9) of offsets.

    Both as in `rcnn.two_terms`, of the anchors drawn. objectness [B, A], offsets [B, A, 4].
    """
    drawn = targets.positive | targets.negative
    each = optax.losses.sigmoid_binary_cross_entropy(objectness, targets.positive)
    return two_terms(each, offsets - targets.offsets, drawn, targets.positive, beta=1 / 9)


# ---- the network --------------------------------------------------------------------------------


class Losses(NamedTuple):
    """The four losses, scalars; what is descended is their sum."""

    objectness: Array
    proposal: Array  # of the proposals' offsets
    classification: Array
    box: Array  # of the regions' offsets


class Look(NamedTuple):
    """A look at B images: the pyramid, what it proposes, and what the head says of some regions."""

    pyramid: tuple[Array, ...]  # [B, h, w, C] of each level
    anchors: list[Array]  # [A_l, 4] of each level
    objectness: Array  # [B, A], of all levels' anchors
    anchor_offsets: Array  # [B, A, 4]
    regions: Regions  # [B, R]: of those that were chosen


class Output(NamedTuple):
    """What was found in B images, and what it was made from; a program computes what is used."""

    pyramid: tuple[Array, ...]  # [B, h, w, C] of each level
    objectness: Array  # [B, A], of all levels' anchors
    anchor_offsets: Array  # [B, A, 4]
    proposals: Array  # [B, P, 4]
    mask: Array  # [B, P]: the proposals that count
    logits: Array  # [B, P, K + 1], the background first
    offsets: Array  # [B, P, K + 1, 4]
    detections: Detections  # [B, limit]


# The two layers after RoIAlign, as small as a pyramid's features allow (Lin et al. 2017, section
# 5.2), and what follows them.
BoxHidden = partial(
    Hidden, units=(1024, 1024), dropout=0.0, dense=partial(Dense, kernel_init=LINEAR)
)
BoxHead = partial(RegionHead, hidden=BoxHidden, kernel_init=(LINEAR, LINEAR))


class FasterRCNN(nn.Module):
    """Faster R-CNN on a feature pyramid.

    ::

        losses, net = net(x, boxes, classes, boxes_mask, key=key, train=True, method='losses')
        detections, _ = net(x, method='detect')

    The pyramid's levels have anchors at every position, level l of `sizes[l]` in all `ratios`; as
    in torchvision those across the edge of the image count too. Proposals are pooled from the level
    of their size and classified.

    trunk() -> module, called (images, train=): maps from the finest to the coarsest, each at half
        the resolution of the one before.
    classes: of objects, without the background.
    pyramid() -> module, from maps to levels, one more. head(classes=) -> module, see `RegionHead`.
    before, after: anchors of each level that become boxes, and proposals left after suppression,
        (with the truth, without).
    anchors_drawn, regions_drawn: of each image, for the losses; see `anchor_targets` and
        `sample_regions`. They are drawn from the stream 'sampling'.
    canonical: the size of a region that is looked at on level 4.
    least, threshold, limit: see `region_detections`.
    """

    trunk: Layer = Stages
    classes: int = 90
    pyramid: Layer = FeaturePyramid
    head: Layer = BoxHead
    sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,))
    ratios: Sequence[float] = (0.5, 1.0, 2.0)
    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (2000, 1000)
    anchors_drawn: int = 256
    regions_drawn: int = 512
    canonical: float = 224.0
    least: float = 0.05
    threshold: float = 0.5
    limit: int = 100

    def __call__(self, images: Array, *, train: bool = False) -> Output:
        """Images [B, H, W, 3] -> what is found in them, and what it was made from.

        train: of norms and dropout.
        """

        def choose(proposals: Array, mask: Array) -> tuple[Array, tuple[Array, Array]]:
            return proposals, (proposals, mask)

        look, (proposals, mask) = self.look(images, choose, told=False, train=train)
        regions, size = look.regions, (images.shape[1], images.shape[2])
        found = self.detections(regions, proposals, mask, size)
        return Output(
            *(look.pyramid, look.objectness, look.anchor_offsets, proposals, mask),
            *(regions.logits, regions.offsets, found),
        )

    def detect(self, images: Array) -> Detections:
        """Images [B, H, W, 3] -> what is found in them."""
        return self(images).detections

    def losses(
        self,
        images: Array,
        boxes: Array,
        classes: Array,
        boxes_mask: Array,
        rows: Array | None = None,
        *,
        train: bool = True,
    ) -> Losses:
        """What is descended: the sum of these.

        boxes [B, N, 4] in pixels, classes int [B, N] in 0..K - 1, boxes_mask [B, N]: those that
        count. rows [B]: the images that count, all by default. train: of norms and dropout.
        """
        keys = jax.random.split(self.make_rng('sampling'), (2, len(images)))
        draw = jax.vmap(partial(sample_regions, count=self.regions_drawn))

        def choose(proposals: Array, mask: Array) -> tuple[Array, Samples]:
            samples = draw(keys[1], proposals, mask, boxes, classes, boxes_mask)
            return samples.boxes, samples

        look, samples = self.look(images, choose, told=True, train=train)
        targets = jax.vmap(partial(anchor_targets, count=self.anchors_drawn), (0, None, 0, 0))(
            keys[0], jnp.concatenate(look.anchors), boxes, boxes_mask
        )
        if rows is not None:
            targets = targets._replace(
                positive=targets.positive & rows[:, None], negative=targets.negative & rows[:, None]
            )
            samples = samples._replace(mask=samples.mask & rows[:, None])
        return Losses(
            *proposal_losses(look.objectness, look.anchor_offsets, targets),
            *region_losses(look.regions, samples, beta=1 / 9),
        )

    @nn.compact
    def look(
        self,
        images: Array,
        choose: Callable[[Array, Array], tuple[Array, T]],
        *,
        told: bool,
        train: bool,
    ) -> tuple[Look, T]:
        """Everything with parameters: a look at `images`, and at the regions that are chosen.

        choose(proposals [B, P, 4], mask [B, P]) -> (boxes [B, R, 4], and what is to be returned
        beside the look). told: whether the truth is known, see `before` and `after`.
        """
        size = (images.shape[1], images.shape[2])
        levels = self.pyramid(name='fpn')(self.trunk(name='trunk')(images, train=train))
        heads = ProposalHead(len(self.ratios) * len(self.sizes[0]), name='rpn')(levels)
        anchors = self.anchors(levels, size)
        before, after = self.before[not told], self.after[not told]
        search = partial(propose, size=size, before=before, after=after)
        proposals, mask = jax.vmap(lambda heads: search(heads, anchors))(heads)
        objectness, offsets = (jnp.concatenate(parts, axis=1) for parts in zip(*heads, strict=True))
        boxes, chosen = choose(proposals, mask)
        pool = jax.vmap(partial(pyramid_align, size=size, canonical=self.canonical))
        head = self.head(classes=self.classes, name='head')
        regions = head(pool(levels[:-1], boxes), train=train)
        return Look(levels, anchors, objectness, offsets, regions), chosen

    def anchors(self, levels: Sequence[Array], size: tuple[int, int]) -> list[Array]:
        """The anchors [A_l, 4] of each level in an image of `size`."""
        if len(levels) != len(self.sizes):
            raise ValueError(f'{len(self.sizes)} sizes of anchors for {len(levels)} levels')
        grids = []
        for x, sizes in zip(levels, self.sizes, strict=True):
            shape = (x.shape[1], x.shape[2])
            stride = (size[0] // shape[0], size[1] // shape[1])
            grids.append(bx.anchor_grid(shape, stride=stride, sizes=sizes, ratios=self.ratios))
        return grids

    def detections(
        self, regions: Regions, proposals: Array, mask: Array, size: tuple[int, int]
    ) -> Detections:
        """What the head finds in proposals [B, P, 4] of images of `size`."""
        detect = partial(
            region_detections,
            size=size,
            least=self.least,
            threshold=self.threshold,
            limit=self.limit,
        )
        scores = nn.softmax(regions.logits)[..., 1:]
        return jax.vmap(detect)(scores, regions.offsets[..., 1:, :], proposals, mask)


def fasterrcnn_resnet50_fpn(*, classes: int = 90, epsilon: float = 1e-5) -> FasterRCNN:
    """torchvision's network: 41,755,286 parameters and 134 G multiply-adds at 800x800.

    It starts from a ResNet-50 whose norms are frozen; ``freeze(opt, 'trunk/conv1/*',
    'trunk/layer1_*')`` also keeps its first layers. epsilon: of the norms, 0 with torchvision's
    weights of COCO.
    """
    trunk = partial(Stages, norm=partial(FrozenBatchNorm, epsilon=epsilon))
    return FasterRCNN(trunk, classes=classes)
