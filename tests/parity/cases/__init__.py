"""Which networks are compared, family by family."""

from cases import (
    convnets,
    darknet,
<<<<<<< HEAD
    diffusion,
=======
>>>>>>> d2b4ff85405ec4498b4ca2075b5f0caba1f2e4c5
    faster_rcnn,
    language,
    recurrent,
    residual,
    segmentation,
<<<<<<< HEAD
=======
    series,
>>>>>>> d2b4ff85405ec4498b4ca2075b5f0caba1f2e4c5
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
    *series.CASES,
]
