"""How well do detectors find blood cells when all they ever see is two hundred images?

A narrow tiny YOLOv3 (Redmon and Farhadi 2018) and a small Faster R-CNN on a feature pyramid (Ren et
al. 2015, Lin et al. 2017), from scratch, on TFDS `bccd` 1.0.0: 205 images to train on, 87 to
validate, 72 to test, with red and white cells and platelets, here 192x256. Many red cells at the
edges and in clumps are not annotated, which bounds what precision on them can be.

    jaxdl run detect_bccd        three quarters of an hour on one CPU core

They are compared as systems, each with its own priors, losses and size (1.2 and 0.5 million
parameters), tuned for itself and trained for as many steps: what makes one the better is not asked.
mAP50 is the mean over classes of the average precision at an IoU of 0.5. Papers report 0.86 to 0.92
with weights that were trained before on other images.
"""

from functools import partial
from typing import Annotated, Literal

import flax.linen as nn
import optax
from annotated_types import Ge

from jaxdl.claims import better, reaches
from jaxdl.data.augment import as_float, compose, flip, standardise
from jaxdl.data.boxes import boxed
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.game import ema
from jaxdl.models.faster_rcnn import BoxHead, BoxHidden, FasterRCNN
from jaxdl.models.resnet import BasicBlock, Stages
from jaxdl.models.yolo import TinyYOLOv3
from jaxdl.nn.fpn import FeaturePyramid
from jaxdl.objectives.detection import detector, show_boxes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Peak, Phase, Steps, Study

CLASSES = ('red', 'white', 'platelet')
Size = tuple[int, int]


def yolo(size: Size, width: int, stages: int) -> nn.Module:
    """Tiny YOLOv3, with priors of the shapes of cells: white, red, and platelets."""
    zoom = size[1] / 256
    coarse, fine = ((87, 79), (46, 43), (110, 95)), ((16, 15), (38, 38), (24, 24))
    anchors = tuple(tuple((zoom * w, zoom * h) for w, h in some) for some in (coarse, fine))
    return TinyYOLOv3(len(CLASSES), anchors, width=width, stages=stages)


def faster_rcnn(size: Size, width: int, stages: int) -> nn.Module:
    """Faster R-CNN on a narrow residual network, with anchors as large as cells."""
    zoom, blocks = size[1] / 256, max(stages - 2, 1)  # the stem halves twice, the pyramid once
    return FasterRCNN(
        partial(Stages, (1,) * blocks, BasicBlock, [2 * width << i for i in range(blocks)]),
        len(CLASSES),
        partial(FeaturePyramid, 6 * width),
        partial(BoxHead, hidden=partial(BoxHidden, units=(16 * width, 16 * width))),
        sizes=tuple((zoom * side,) for side in (16, 32, 48, 90)[: blocks + 1]),
        before=(500, 300),
        after=(200, 100),
        anchors_drawn=128,
        regions_drawn=64,
        canonical=64 * zoom,
        least=0.01,
    )


DETECTORS = {'yolo': yolo, 'faster_rcnn': faster_rcnn}


def trial(
    network: Literal['yolo', 'faster_rcnn'] = 'yolo',
    height: Count = 192,
    width: Count = 256,
    channels: Count = 12,
    stages: Annotated[int, Ge(2)] = 4,
    examples: Examples = 205,
    steps: Steps = 500,
    batch: BatchSize = 8,
    lr: Peak = 2e-3,
) -> Phase:
    """One detector, from scratch, on images flipped both ways.

    Args:
        network: what is trained.
        height: of the images.
        width: of the images.
        channels: of the network's first layer.
        stages: how often the network halves the images.
    """
    size = (height, width)
    module = DETECTORS[network](size, channels, stages)
    train = boxed('bccd', f'train[:{examples}]', size=size)
    # Smears are bright: centred, what the first norm sees keeps its digits.
    mean, std = moments(train, 'x')
    standard = standardise(mean / 255, std / 255)
    rate = optax.warmup_cosine_decay_schedule(0, lr, min(100, steps // 10), steps)
    opt = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adamw(rate, weight_decay=1e-2, mask=decayed)
    )

    def still(split: str, images: int) -> Source:
        table = boxed('bccd', f'{split}[:{min(examples, images)}]', size=size)
        return in_order(table, batch=min(24, examples), transform=compose(as_float(), standard))

    return Phase(
        detector(module, opt, classes=CLASSES, shadow=ema(0.98)),
        train=shuffled(
            train, batch=batch, augment=compose(as_float(), flip(vertical=0.5), standard)
        ),
        valid=still('validation', 87),
        tests={'test': Eval(still('test', 72), every=steps, show=show_boxes)},
        steps=steps,
        every=max(1, steps // 5),
    )


study = Study(
    question='How well do detectors find blood cells from two hundred images, from scratch?',
    trial=trial,
    arms={
        'yolo': {},
        'faster_rcnn': {'network': 'faster_rcnn', 'channels': 8, 'stages': 5},
    },
    tiny=dict(height=32, width=32, channels=4, stages=2, examples=26, steps=4, batch=4, lr=1e-05),
    seeds=5,
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/mAP50',
    tuning_seeds=1,
    claims=[
        reaches('yolo', 'test/mAP50', at_least=0.80),
        reaches('faster_rcnn', 'test/mAP50', at_least=0.80),
        better('faster_rcnn', 'yolo', 'test/mAP50'),
        better('faster_rcnn', 'yolo', 'test/mAP'),
    ],
)
