"""Faster R-CNN: torchvision's network without its transform of images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def suppressed(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression, for the compiled operator that is absent: indices, best first."""
    from torchvision.ops import box_iou

    kept, left = [], scores.argsort(descending=True, stable=True)
    while len(left):
        kept.append(left[0])
        overlaps = box_iou(boxes[left[:1]], boxes[left[1:]])[0]
        left = left[1:][overlaps <= threshold]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


def operators() -> None:
    """Give torchvision in Python what it lacks without its compiled operators."""
    from torchvision import ops
    from torchvision.ops import boxes

    boxes.nms = suppressed
    align = ops.roi_align.__globals__
    if hasattr(align['_roi_align'], '__wrapped__'):  # not compiled: it runs once
        align['_roi_align'] = align['_roi_align'].__wrapped__
        interpolate = align['_bilinear_interpolate']

        def inside(x: torch.Tensor, rois: Any, y: Any, at: Any, *masks: Any) -> torch.Tensor:
            # As compiled: points more than a pixel outside are 0. In Python they are at the edge.
            rows = ((y >= -1) & (y <= x.shape[2]))[:, None, :, None, :, None]
            columns = ((at >= -1) & (at <= x.shape[3]))[:, None, None, :, None, :]
            return interpolate(x, rois, y, at, *masks) * (rows & columns)

        align['_bilinear_interpolate'] = inside


def padded(rows: list[torch.Tensor], count: int) -> torch.Tensor:
    """The rows of each image and zeros up to `count`."""
    blank = [torch.zeros((count - len(r), *r.shape[1:]), dtype=r.dtype) for r in rows]
    return torch.stack([torch.cat(pair) for pair in zip(rows, blank, strict=True)])


class Detector(nn.Module):
    """The parts of a torchvision detector: what is found in images, or its losses on the truth."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        operators()
        self.backbone, self.rpn, self.roi_heads = model.backbone, model.rpn, model.roi_heads

    def forward(
        self,
        images: torch.Tensor,
        boxes: torch.Tensor | None = None,
        classes: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> list[Any]:
        """What the JAX module returns, in its order."""
        from torchvision.models.detection.image_list import ImageList

        sizes = [tuple(images.shape[2:])] * len(images)
        told = boxes is not None
        self.rpn.training = self.roi_heads.training = told  # without the norms
        targets = [
            {'boxes': b[m], 'labels': c[m] + 1}
            for b, c, m in zip(boxes, classes, mask, strict=True)
        ] if told else None  # fmt: skip
        features = self.backbone(images)
        proposals, losses = self.rpn(ImageList(images, sizes), features, targets)
        if told:
            _, more = self.roi_heads(features, proposals, sizes, targets)
            names = ['loss_objectness', 'loss_rpn_box_reg', 'loss_classifier', 'loss_box_reg']
            return [{**losses, **more}[name] for name in names]
        found, _ = self.roi_heads(features, proposals, sizes)
        heads = self.rpn.head(list(features.values()))
        anchors = [x[0].numel() // 4 for x in heads[1]]
        looked_at = sum(min(self.rpn.pre_nms_top_n(), number) for number in anchors)
        count = min(self.rpn.post_nms_top_n(), looked_at)
        objectness, offsets = (
            torch.cat([self.rows(x, wide) for x in part], 1)
            for part, wide in zip(heads, (1, 4), strict=True)
        )
        regions = list(padded(proposals, count))
        pooled = self.roi_heads.box_roi_pool(features, regions, sizes)
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        split = (len(images), count, logits.shape[-1])
        limit = self.roi_heads.detections_per_img
        ones = [torch.ones(len(each['boxes'])) for each in found]
        return [
            list(features.values()),
            objectness[..., 0],
            offsets,
            torch.stack(regions),
            padded([torch.ones(len(p)) for p in proposals], count),
            logits.view(split),
            deltas.view(*split, 4).permute(0, 3, 1, 2),  # is turned back as an image would be
            padded([each['boxes'] for each in found], limit),
            padded([each['scores'] for each in found], limit),
            padded([each['labels'] - 1 for each in found], limit),
            padded(ones, limit),
        ]

    @staticmethod
    def rows(x: torch.Tensor, wide: int) -> torch.Tensor:
        """[B, A * wide, h, w] -> [B, h * w * A, wide]."""
        return x.permute(0, 2, 3, 1).reshape(len(x), -1, wide)


def resnet50_fpn(classes: int = 90, epsilon: float = 1e-5, proposals: int = 1000) -> nn.Module:
    """fasterrcnn_resnet50_fpn with frozen norms, as with any pretrained weights."""
    from torchvision.models import resnet50
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.models.detection.faster_rcnn import FasterRCNN
    from torchvision.ops import FrozenBatchNorm2d

    def norm(width: int) -> nn.Module:
        return FrozenBatchNorm2d(width, eps=epsilon)

    model = FasterRCNN(
        _resnet_fpn_extractor(resnet50(weights=None, norm_layer=norm), 5),
        classes + 1,
        rpn_pre_nms_top_n_test=proposals,
        rpn_post_nms_top_n_test=proposals,
    )
    return Detector(model)


def resnet18_fpn(
    classes: int = 90,
    stages: int = 4,
    blocks: int = 2,
    features: int = 256,
    hidden: int = 1024,
    proposals: int = 1000,
    drawn: int = 512,
) -> nn.Module:
    """The same of any size, on the first stages of a ResNet whose norms are trained."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import (
        FasterRCNN,
        FastRCNNPredictor,
        TwoMLPHead,
    )
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.ops import MultiScaleRoIAlign

    names = {f'layer{i + 1}': str(i) for i in range(stages)}
    widths = [64, 128, 256, 512][:stages]
    trunk = BackboneWithFPN(ResNet(BasicBlock, [blocks] * 4), names, widths, features)
    sizes = ((32,), (64,), (128,), (256,), (512,))[: stages + 1]
    model = FasterRCNN(
        trunk,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(list(names.values()), 7, 2),
        box_head=TwoMLPHead(features * 7 * 7, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes + 1),
        rpn_pre_nms_top_n_train=proposals,
        rpn_post_nms_top_n_train=proposals,
        rpn_pre_nms_top_n_test=proposals,
        rpn_post_nms_top_n_test=proposals,
        rpn_batch_size_per_image=drawn,
        box_batch_size_per_image=drawn,
    )
    return Detector(model)


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('fasterrcnn_resnet50_fpn', 'torchvision'): resnet50_fpn,
    ('fasterrcnn_resnet18_fpn', 'torchvision'): resnet18_fpn,
}
