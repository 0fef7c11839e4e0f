"""YOLO."""

from golden import Case

CASES: list[Case] = [
    Case(
        'yolov3',
        'darknet',
        ((2, 32, 64, 3),),
        {'classes': 2, 'width': 2, 'blocks': (1, 1, 1, 1, 1)},
        5e-4,
    ),
    Case(
        *('yolov3_tiny', 'darknet', ((2, 32, 64, 3),), {'classes': 2, 'width': 2}, 5e-4),
        train=True,
        again=((3, 96, 64, 3),),
    ),
    Case('yolov3', 'darknet', ((1, 64, 96, 3),), {}, 5e-4, full=True),
    Case('yolov3_tiny', 'darknet', ((1, 64, 96, 3),), {}, 5e-4, full=True),
]
