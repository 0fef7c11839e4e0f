"""Which networks are compared, family by family."""

from cases import convnets, darknet, faster_rcnn, residual, segmentation

CASES = [
    *convnets.CASES,
    *residual.CASES,
    *segmentation.CASES,
    *darknet.CASES,
    *faster_rcnn.CASES,
]
