"""The other implementations, family by family: they need PyTorch, torchvision or Keras."""

from typing import Any

import torch
from golden import Case

# torchvision's compiled operators are absent beside a CPU-only PyTorch. Its networks do not need
# them, but its import, also that by transformers, asks for their signatures.
OPERATORS = torch.library.Library('torchvision', 'FRAGMENT')
for operator in ('nms', 'qnms'):
    OPERATORS.define(f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

from originals import (  # noqa: E402
    clip,
    convnets,
    darknet,
    decisions,
    diffusion,
    faster_rcnn,
    gans,
    graphs,
    image_to_image,
    language,
    recurrent,
    residual,
    segmentation,
    series,
    speech,
    stylegan2,
)

ORIGINALS = {
    **convnets.ORIGINALS,
    **residual.ORIGINALS,
    **segmentation.ORIGINALS,
    **darknet.ORIGINALS,
    **diffusion.ORIGINALS,
    **faster_rcnn.ORIGINALS,
    **recurrent.ORIGINALS,
    **language.ORIGINALS,
    **clip.ORIGINALS,
    **series.ORIGINALS,
    **gans.ORIGINALS,
    **graphs.ORIGINALS,
    **decisions.ORIGINALS,
    **image_to_image.ORIGINALS,
    **stylegan2.ORIGINALS,
    **speech.ORIGINALS,
}


def original(case: Case) -> Any:
    """The module of another implementation that a case is compared with."""
    return ORIGINALS[case.arch, case.layout](**case.config)
