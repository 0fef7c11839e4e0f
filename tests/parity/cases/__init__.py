"""Which networks are compared, family by family."""

from cases import (
    clip,
    convnets,
    darknet,
    diffusion,
    faster_rcnn,
    language,
    recurrent,
    residual,
    segmentation,
    series,
)

CASES = [
    *convnets.CASES,
    *residual.CASES,
    *segmentation.CASES,
    *darknet.CASES,
    *diffusion.CASES,
    *faster_rcnn.CASES,
    *recurrent.CASES,
    *language.CASES,
    *clip.CASES,
    *series.CASES,
]
