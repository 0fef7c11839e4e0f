"""StyleGAN2: mapping, synthesis with constant noise, the whole generator, the discriminator."""

from typing import Any

from golden import Case

SIZE = {'size': 16, 'channels': 2, 'base': 96, 'most': 12}
# Weights are scaled where they are used, so that N(0, 1) is what they are at first, and a
# hundredfold in the mapping network.
DENSE = {'*fc?.weight': 250.0, '*fc?.bias': 100.0}
STYLED = {'*.weight': 2.5, '*noise_strength': 5.0, '*noise_const': 3.0}


def still(module: Any, x: Any) -> Any:
    """A generator with constant noise."""
    return module(x, noise='constant')


CASES = [
    Case(
        *('stylegan2_mapping', 'nvlabs', ((3, 12),), {'latent': 12, 'depth': 3}),
        tolerance=2e-5,
        train=True,
        again=((5, 12),),
        gains=DENSE,
    ),
    Case(
        *('stylegan2_synthesis', 'nvlabs', ((3, 6, 10),), {**SIZE, 'latent': 10}),
        tolerance=2e-5,
        train=True,
        again=((2, 6, 10),),
        gains=STYLED,
        call=still,
    ),
    Case(
        *('stylegan2', 'nvlabs', ((2, 12),), {**SIZE, 'latent': 12, 'depth': 2}),
        tolerance=2e-5,
        gains={**STYLED, '*fc?.weight': 100.0, '*fc?.bias': 100.0},
        call=still,
    ),
    Case(
        *('stylegan2_discriminator', 'nvlabs', ((8, 16, 16, 2),), SIZE),
        tolerance=5e-5,
        train=True,
        again=((3, 16, 16, 2),),
        gains={'*.weight': 2.5},
    ),
]
