"""Which networks are compared, family by family."""

from cases import (
    convnets,
    darknet,
    faster_rcnn,
    image_to_image,
    language,
    recurrent,
    residual,
    segmentation,
)

CASES = [
    *convnets.CASES,
    *residual.CASES,
    *segmentation.CASES,
    *darknet.CASES,
    *faster_rcnn.CASES,
    *recurrent.CASES,
    *language.CASES,
    *image_to_image.CASES,
]
