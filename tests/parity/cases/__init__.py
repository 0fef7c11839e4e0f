"""Which networks are compared, family by family."""

from cases import (
    convnets,
    darknet,
    faster_rcnn,
    language,
    recurrent,
    residual,
    segmentation,
    speech,
)

CASES = [
    *convnets.CASES,
    *residual.CASES,
    *segmentation.CASES,
    *darknet.CASES,
    *faster_rcnn.CASES,
    *recurrent.CASES,
    *language.CASES,
    *speech.CASES,
]
