"""DCGAN and the perceptron GANs."""

from golden import Case

SMALL_UP = {'latents': 5, 'channels': 2, 'width': 4, 'stages': 2, 'first': 3}
SMALL_DOWN = {'channels': 2, 'width': 4, 'stages': 2, 'last': 3}

CASES: list[Case] = [
    Case(
        *('dcgan_generator', 'public', ((3, 5),), SMALL_UP),
        tolerance=2e-5,
        train=True,
        again=((4, 5),),
    ),
    Case(
        *('dcgan_discriminator', 'public', ((3, 12, 12, 2),), SMALL_DOWN),
        tolerance=2e-5,
        train=True,
        again=((4, 12, 12, 2),),
    ),
    Case('dcgan_generator', 'public', ((2, 100),), full=True),
    Case('dcgan_discriminator', 'public', ((2, 64, 64, 3),), full=True),
    *(
        Case(f'{kind}_generator', 'torch', ((3, 100),), tolerance=1e-5, train=True)
        for kind in ('perceptron', 'leaky')
    ),
    *(
        Case(f'{kind}_discriminator', 'torch', ((3, 28, 28, 1),), tolerance=1e-5, train=True)
        for kind in ('perceptron', 'leaky')
    ),
]
