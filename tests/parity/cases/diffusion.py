"""The denoising U-Net."""

from golden import Case, Exactly

CASES = [
    Case(
        'ddpm',
        'public',
        ((2, 8, 8, 2), Exactly([3, 900])),
        {'channels': 2, 'width': 8, 'levels': (1, 2), 'blocks': 1, 'attention': (4,), 'groups': 4},
        train=True,
        again=((1, 8, 8, 2), Exactly([77])),
    ),
    Case('ddpm', 'public', ((2, 32, 32, 3), Exactly([0, 512])), full=True),
]
