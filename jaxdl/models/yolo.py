"""YOLOv3: detection as regression from every cell of three grids, or of two (tiny).

A network gives for each scale a map [B, h, w, A, 5 + K], coarse first: in every cell, for each of A
priors, (tx, ty, tw, th, to) and K class logits. `decode` makes boxes of it (section 2.1), `assign`
says which prior each true box belongs to, `yolo_loss` compares the two, `detect` suppresses.
Redmon and Farhadi 2018, YOLOv3: An Incremental Improvement; layers as in yolov3.cfg.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import initializers

from jaxdl import boxes as bx
from jaxdl.boxes import Detections
from jaxdl.micro_batches import whole
from jaxdl.nn.layers import BatchNorm, Conv, max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]
Maps = tuple[Array, ...]
Anchors = Sequence[Sequence[tuple[float, float]]]  # of each scale, coarse first: (width, height)

leaky_relu = partial(nn.leaky_relu, negative_slope=0.1)

# Section 2.3: nine clusters of the boxes of COCO, in pixels of 416x416 images.
COCO: Anchors = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)
COCO_TINY: Anchors = (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58)))


class ConvUnit(nn.Module):
    """Convolution, BatchNorm and the leaky ReLU of slope 0.1 (Darknet's layer `convolutional`)."""

    features: int
    kernel: int = 3
    stride: int = 1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        side = self.kernel // 2
        x = self.conv(
            self.features,
            (self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=((side, side), (side, side)),
            use_bias=False,
            kernel_init=initializers.he_uniform(),
            name='conv',
        )(x)
        return self.activation(self.norm(use_running_average=not train, name='norm')(x))


class Residual(nn.Module):
    """x + f(x), f a 1x1 unit of half the channels and a 3x3 unit."""

    unit: Layer = ConvUnit

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        features = x.shape[-1]
        y = self.unit(features // 2, 1, name='reduce')(x, train=train)
        return x + self.unit(features, name='expand')(y, train=train)


class Darknet(nn.Module):
    """The residual backbone; the default is Darknet-53 without its classifier (table 1).

    blocks: residual blocks of each stage; a stage halves the sides and doubles the channels.
    width: channels of the first layer.
    """

    blocks: Sequence[int] = (1, 2, 8, 8, 4)
    width: int = 32
    unit: Layer = ConvUnit

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Maps:
        """[B, H, W, C] -> the outputs of the last three stages, coarse first."""
        x, stages = self.unit(self.width, name='stem')(x, train=train), []
        for i, count in enumerate(self.blocks, 1):
            x = self.unit(self.width << i, stride=2, name=f'stage{i}_down')(x, train=train)
            for j in range(count):
                x = Residual(self.unit, name=f'stage{i}_{j}')(x, train=train)
            stages.append(x)
        return tuple(stages[:-4:-1])


def upsample(x: Array) -> Array:
    """Each pixel four times: [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


class Output(nn.Module):
    """The 1x1 convolution that predicts, [B, h, w, C] -> [B, h, w, A, 5 + K]."""

    priors: int
    classes: int
    conv: Layer = Conv

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, h, w, C] -> [B, h, w, priors, 5 + classes]."""
        numbers = 5 + self.classes
        init = initializers.normal(0.01)
        x = self.conv(self.priors * numbers, (1, 1), kernel_init=init, name='conv')(x)
        return x.reshape(*x.shape[:3], self.priors, numbers)


class Grids(nn.Module):
    """What networks share whose output is the maps of some grids: losses, and what is found.

    A subclass is called with images [B, H, W, C] for the maps.
    """

    classes: int = 80
    anchors: Anchors = COCO

    def losses(
        self,
        images: Array,
        boxes: Array,
        classes: Array,
        boxes_mask: Array,
        rows: Array | None = None,
        *,
        train: bool = True,
    ) -> dict[str, Array]:
        """The parts of `yolo_loss`, summed over images and divided by the number of true boxes.

        boxes [B, N, 4] in pixels, classes int [B, N] in 0..K - 1, boxes_mask [B, N]: those that
        count. rows [B]: the images that count, all by default. What is descended is their sum.
        """
        maps = self(images, train=train)
        rows = jnp.ones(len(images), bool) if rows is None else rows
        size = (images.shape[1], images.shape[2])
        parts = yolo_loss(maps, boxes, boxes_mask, classes, anchors=self.anchors, size=size)
        count = whole((boxes_mask & rows[:, None]).sum(), least=1)
        return {name: jnp.where(rows, part, 0).sum() / count for name, part in parts.items()}

    def detect(self, images: Array) -> Detections:
        """Images [B, H, W, C] -> what is found in them."""
        size = (images.shape[1], images.shape[2])
        return detect(self(images), anchors=self.anchors, size=size)


class YOLOv3(Grids):
    """YOLOv3: 61,949,149 parameters and 32.9 G multiply-adds at 80 classes and 416x416.

    Image sides are multiples of 32 (of 2^stages with another backbone).

    classes: K. anchors: the priors of the three scales, coarse first, in pixels of the image.
    width: channels of the first layer; all others are multiples of it.
    backbone(width=...): gives three maps, coarse first.
    """

    classes: int = 80
    anchors: Anchors = COCO
    width: int = 32
    backbone: Layer = Darknet
    unit: Layer = ConvUnit

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Maps:
        """[B, H, W, 3] in 0..1 -> maps [B, H / 32, W / 32, A, 5 + K], H / 16, H / 8."""
        maps, above = [], None
        features = self.backbone(width=self.width, unit=self.unit, name='backbone')(x, train=train)
        for i, (x, anchors) in enumerate(zip(features, self.anchors, strict=True)):
            narrow = (16 * self.width) >> i
            if above is not None:
                above = self.unit(narrow, 1, name=f'scale{i}_lateral')(above, train=train)
                x = _joined(upsample(above), x)
            for j in range(3):
                x = above = self.unit(narrow, 1, name=f'scale{i}_reduce{j}')(x, train=train)
                x = self.unit(2 * narrow, name=f'scale{i}_expand{j}')(x, train=train)
            maps.append(Output(len(anchors), self.classes, name=f'scale{i}_output')(x))
        return tuple(maps)


class TinyYOLOv3(Grids):
    """Tiny YOLOv3: two scales, maximum pooling, no residuals; 8,852,366 parameters at 80 classes.

    With the 6,368 running statistics these are the 8,858,734 numbers of Darknet's weight file.

    Layers as in yolov3-tiny.cfg; fields as in `YOLOv3`.

    stages: poolings before the coarse map, 2 at least; image sides are multiples of 2^stages.
    """

    classes: int = 80
    anchors: Anchors = COCO_TINY
    width: int = 16
    stages: int = 5
    unit: Layer = ConvUnit

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Maps:
        """[B, H, W, 3] in 0..1 -> maps [B, H / 2^stages, W / 2^stages, A, 5 + K] and twice that."""
        top = self.width << self.stages
        for i in range(self.stages):
            x = fine = self.unit(self.width << i, name=f'conv{i}')(x, train=train)
            x = max_pool(x)
        x = self.unit(top, name=f'conv{self.stages}')(x, train=train)
        x = max_pool(x, strides=(1, 1), padding=((0, 1), (0, 1)))
        x = self.unit(2 * top, name=f'conv{self.stages + 1}')(x, train=train)
        x = coarse = self.unit(top // 2, 1, name=f'conv{self.stages + 2}')(x, train=train)
        x = self.unit(top, name='scale0_conv')(x, train=train)
        first = Output(len(self.anchors[0]), self.classes, name='scale0_output')(x)
        x = self.unit(top // 4, 1, name='scale1_lateral')(coarse, train=train)
        x = self.unit(top // 2, name='scale1_conv')(_joined(upsample(x), fine), train=train)
        return first, Output(len(self.anchors[1]), self.classes, name='scale1_output')(x)


def _joined(above: Array, x: Array) -> Array:
    if above.shape[1:3] != x.shape[1:3]:
        (h, w), (high, wide) = above.shape[1:3], x.shape[1:3]
        raise ValueError(
            f'maps of {h}x{w} and {high}x{wide} do not join: image sides must be multiples of the '
            'coarsest stride'
        )
    return jnp.concatenate([above, x], -1)


# ---- priors, boxes and their truths -------------------------------------------------------------


class Priors(NamedTuple):
    """The P priors of all scales, as constants [P, 2] each, (x, y) in pixels of the image.

    Order: scale, row, column, anchor.
    """

    corners: np.ndarray  # the top left corner of the cell
    strides: np.ndarray  # the size of the cell
    sizes: np.ndarray  # the anchor's width and height

    @property
    def boxes(self) -> np.ndarray:
        """Each prior as a box around the centre of its cell, [P, 4]."""
        centre = self.corners + self.strides / 2
        return np.concatenate([centre - self.sizes / 2, centre + self.sizes / 2], -1)


def priors(anchors: Anchors, shapes: Sequence[tuple[int, ...]], *, size: tuple[int, int]) -> Priors:
    """The priors of maps of `shapes` (h, w), coarse first, over an image of `size` (H, W)."""
    parts = []
    for sizes, (h, w) in zip(anchors, shapes, strict=True):
        stride = np.array([size[1] / w, size[0] / h])
        y, x = np.meshgrid(np.arange(h), np.arange(w), indexing='ij')
        cells = np.stack([x, y], -1)[:, :, None] * stride
        parts.append(np.broadcast_arrays(cells, stride, np.asarray(sizes, float)))
    return Priors(
        *(
            np.concatenate([part[i].reshape(-1, 2) for part in parts]).astype(np.float32)
            for i in range(3)
        )
    )


def flat(maps: Maps) -> Array:
    """The maps of all scales as one array [B, P, 5 + K], in the order of `Priors`."""
    return jnp.concatenate([m.reshape(len(m), -1, m.shape[-1]) for m in maps], 1)


def decode(t: Array, priors: Priors) -> Array:
    """Boxes [..., P, 4] in pixels from t [..., P, 4 or more] (section 2.1).

    x = s(tx) + cx, y = s(ty) + cy in cells, w = pw e^tw, h = ph e^th; s the logistic function. tw
    and th are cut at `boxes.LARGEST`.
    """
    along = (1,) * (t.ndim - 2) + (-1, 2)
    corner, stride, size = (part.reshape(along) for part in priors)
    centre = jax.nn.sigmoid(t[..., :2]) * stride + corner
    return bx.corners(
        jnp.concatenate([centre, jnp.exp(bx.smaller(t[..., 2:4], bx.LARGEST)) * size], -1)
    )


def assign(truth: Array, mask: Array, priors: Priors, *, ignore: float = 0.5) -> Array:
    """Which truth each prior is responsible for, int [P]: its index, BACKGROUND or IGNORED.

    Of all scales' anchors a true box goes to the one most like it in shape (the IoU of the two
    around one centre), in the cell that holds its centre: one prior a truth. Where two want the
    same prior, the first has it. Other priors that overlap a true box by more than `ignore` are
    left out of the loss (section 2.1; Darknet looks at the predicted box there, not at the prior).

    truth: boxes [N, 4]; mask [N]: the rows that count; boxes without area never do.
    """
    if not len(truth):
        return jnp.full(len(priors.sizes), bx.BACKGROUND)
    mask = mask & (bx.area(truth) > 0)
    size, centre = (
        truth[:, None, 2:] - truth[:, None, :2],
        (truth[:, None, 2:] + truth[:, None, :2]) / 2,
    )
    common = jnp.minimum(size, priors.sizes[None]).prod(-1)
    shape = common / jnp.maximum(size.prod(-1) + priors.sizes.prod(-1)[None] - common, 1e-9)
    offset = centre - priors.corners[None]
    inside = ((offset >= 0) & (offset < priors.strides[None])).all(-1) & mask[:, None]
    # Only priors of the cells that hold the centre compete: one cell a scale, every anchor once.
    shape = jnp.where(inside, shape, -1.0)
    best = (jnp.arange(shape.shape[1])[None] == shape.argmax(1)[:, None]) & inside
    overlap = jnp.where(mask[:, None], bx.iou(truth, jnp.asarray(priors.boxes)), 0).max(0)
    other = jnp.where(overlap > ignore, bx.IGNORED, bx.BACKGROUND)
    return jnp.where(best.any(0), best.argmax(0), other)


def yolo_loss(
    maps: Maps,
    truth: Array,
    mask: Array,
    classes: Array,
    *,
    anchors: Anchors,
    size: tuple[int, int],
    ignore: float = 0.5,
) -> dict[str, Array]:
    """The parts of the loss of each image, [B] each: 'box', 'objectness', 'class' (section 2).

    With s the logistic function, H(p, q) the binary cross-entropy, i over the priors responsible
    for a truth and j over those that are neither responsible nor ignored, an image's loss is

        sum_i a_i [H(fx, s(tx)) + H(fy, s(ty)) + ((gw - tw)^2 + (gh - th)^2) / 2]    box
        + sum_i H(1, s(to)) + sum_j H(0, s(to))                                      objectness
        + sum_i sum_k H(k is the class, s(tk))                                       class

    f: the truth's centre in its cell, 0..1; g: the logarithm of its size over the prior's. Each
    gradient is the truth minus the prediction, as in the paper. a = 2 - w h / (W H) weighs small
    boxes more, as Darknet does.

    truth: boxes [B, N, 4] in pixels, mask [B, N], classes int [B, N].
    size: (H, W) of the image.
    """
    grid = priors(anchors, [m.shape[1:3] for m in maps], size=size)
    t = flat(maps)
    owner = jax.vmap(lambda b, m: assign(b, m, grid, ignore=ignore))(truth, mask)
    own, index = owner >= 0, jnp.maximum(owner, 0)
    mine = bx.centred(jax.vmap(bx.take)(truth, index))
    f = jnp.clip((mine[..., :2] - grid.corners[None]) / grid.strides[None], 0, 1)
    g = jnp.log(jnp.maximum(mine[..., 2:], 1e-3) / grid.sizes[None])
    place = optax.sigmoid_binary_cross_entropy(t[..., :2], f) + (g - t[..., 2:4]) ** 2 / 2
    scale = 2 - mine[..., 2] * mine[..., 3] / (size[0] * size[1])
    kinds = jax.nn.one_hot(jax.vmap(bx.take)(classes, index), t.shape[-1] - 5)
    kind = optax.sigmoid_binary_cross_entropy(t[..., 5:], kinds).sum(-1)
    object_ = optax.sigmoid_binary_cross_entropy(t[..., 4], own.astype(t.dtype))
    return {
        'box': jnp.where(own, scale * place.sum(-1), 0).sum(1),
        'objectness': jnp.where(owner != bx.IGNORED, object_, 0).sum(1),
        'class': jnp.where(own, kind, 0).sum(1),
    }


def detect(
    maps: Maps,
    *,
    anchors: Anchors,
    size: tuple[int, int],
    least: float = 0.005,
    threshold: float = 0.45,
    limit: int = 100,
    candidates: int = 1000,
) -> Detections:
    """The boxes of each image, [B, limit, ...]: score s(to) s(tk), then suppression class by class.

    least: lowest score. threshold: IoU above which the lower score is dropped. Boxes are cut at the
    edges of the image of `size` (H, W). The defaults are Darknet's for measuring.
    """
    grid = priors(anchors, [m.shape[1:3] for m in maps], size=size)
    t = flat(maps)
    found = bx.clip(decode(t, grid), size=size)
    scores = jax.nn.sigmoid(t[..., 4:5]) * jax.nn.sigmoid(t[..., 5:])

    def one(boxes: Array, scores: Array) -> Any:
        everything = jnp.ones(len(boxes), bool)
        return bx.detections(
            boxes[:, None],
            scores,
            everything,
            least=least,
            threshold=threshold,
            limit=limit,
            candidates=candidates,
        )

    return jax.vmap(one)(found, scores)
