"""Faster R-CNN."""

from golden import Case

# Few proposals: of many, two have scores so close that rounding decides which comes first.
SMALL = {'classes': 2, 'blocks': 1, 'features': 32, 'hidden': 32, 'proposals': 40}
# Objectness and offsets of a trained detector's magnitude.
GAINS = {'*cls_logits.weight': 0.03, '*bbox_pred.weight': 0.02, '*cls_score.weight': 0.1}
BOXES = (
    ((4.0, 6.0, 60.0, 58.0), (30.0, 2.0, 62.0, 41.0), (0.0, 0.0, 0.0, 0.0)),
    ((1.0, 3.0, 24.0, 60.0), (10.0, 20.0, 58.0, 52.0), (33.0, 0.0, 63.0, 20.0)),
)
CLASSES = ((0, 1, 0), (1, 1, 0))
MASK = ((True, True, False), (True, True, True))

CASES: list[Case] = [
    Case(
        'fasterrcnn_resnet18_fpn',
        'torchvision',
        ((1, 120, 136, 3),),
        {**SMALL, 'stages': 3},
        gains=GAINS,
    ),
    Case(
        'fasterrcnn_resnet18_fpn',
        'torchvision',
        ((2, 64, 64, 3),),
        # So many that all anchors and regions are learned from, whatever is drawn.
        {**SMALL, 'stages': 2, 'drawn': 8192},
        also=(BOXES, CLASSES, MASK),
        gains=GAINS,
        train=True,
    ),
    Case(
        'fasterrcnn_resnet50_fpn',
        'torchvision',
        ((1, 64, 64, 3),),
        {'proposals': 40},
        gains={**GAINS, '*bn3.weight': 0.2},
        full=True,
    ),
]
