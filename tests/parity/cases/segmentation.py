"""FCN and U-Net."""

from golden import Case

UNETS = [
    Case(
        *('unet', 'public', ((2, 21, 18, 2),), {'channels': 2, 'base': 4, 'depth': 2}),
        train=True,
        again=((3, 33, 49, 2),),
    ),
    Case('unet', 'public', ((1, 48, 40, 3),), full=True),
    Case(
        'unet_original',
        'public',
        ((2, 44, 52, 1),),
        {'classes': 3, 'base': 4, 'depth': 2},
        train=True,
        again=((1, 60, 44, 1),),
    ),
    Case('unet_original', 'public', ((1, 188, 204, 1),), full=True),
]

FCNS = [
    Case(
        'fcn8s',
        'public',
        ((1, 11, 34, 3),),
        {'classes': 3, 'width': 12, 'hidden': 16},
        5e-4,
        train=True,
        again=((2, 35, 23, 3),),
    ),
    *(Case(f'fcn{n}s', 'public', ((1, 40, 30, 3),), {}, 5e-4, full=True) for n in (32, 16, 8)),
    Case(
        'fcn_resnet50_aux',
        'torchvision',
        ((2, 17, 26, 3),),
        {'classes': 3, 'stages': (1, 1, 1, 1)},
        5e-4,
        train=True,
    ),
    Case('fcn_resnet50', 'torchvision', ((1, 64, 75, 3),), {}, 5e-4, full=True),
    Case('fcn_resnet50_aux', 'torchvision', ((1, 64, 75, 3),), {}, 5e-4, full=True),
]

CASES: list[Case] = [*UNETS, *FCNS]
