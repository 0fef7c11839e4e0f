"""Which networks are compared, family by family."""

from cases import (
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
    *gans.CASES,
    *graphs.CASES,
    *decisions.CASES,
    *image_to_image.CASES,
    *stylegan2.CASES,
    *speech.CASES,
]
