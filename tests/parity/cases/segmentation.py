"""FCN and U-Net."""

from golden import Case

UNETS = [
    Case('unet', 'public', ((2, 21, 18, 2),), {'channels': 2, 'base': 4, 'depth': 2}, train=True),
    Case('unet', 'public', ((1, 48, 40, 3),), full=True),
    Case(
        'unet_original',
        'public',
        ((2, 44, 52, 1),),
        {'classes': 3, 'base': 4, 'depth': 2},
        train=True,
    ),
    Case('unet_original', 'public', ((1, 188, 204, 1),), full=True),
]

CASES: list[Case] = [*UNETS]
