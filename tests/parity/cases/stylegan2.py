"""StyleGAN2: mapping, synthesis with constant noise, the whole generator, the discriminator."""

import math
from typing import Any

from golden import Case

SIZE = {'size': 16, 'channels': 2, 'base': 96, 'most': 12}
# Weights are scaled where they are used, so that N(0, 1) is what they are at first, and a
# hundredfold in the mapping network.
DENSE = {'*fc?.weight': 250.0, '*fc?.bias': 100.0}
# In wide layers the usual draw, scaled once more, would leave little but biases.
WIDTHS = {2**i: min(2 ** (15 - i), 512) for i in range(2, 11)}  # maps at each side
MAPPED = {'*fc?.weight': 1600.0, '*fc?.bias': 100.0}
PAINTED = {'*affine.weight': 16.0, '*torgb.weight': 10.0, '*noise_strength': 5.0}
JUDGED = {
    'b1024.fromrgb.weight': math.sqrt(3 / 2),
    # The filter before an image is halved takes most of what is noise.
    **{f'b{r}.conv0.weight': math.sqrt(9 * n / 2) for r, n in WIDTHS.items()},
    **{f'b{r}.conv1.weight': 2 * math.sqrt(9 * n / 2) for r, n in WIDTHS.items()},
    **{f'b{r}.skip.weight': 2 * math.sqrt(n / 2) for r, n in WIDTHS.items()},
    'b4.conv.weight': math.sqrt(9 * 513 / 2),
    'b4.fc.weight': math.sqrt(16 * 512 / 2),
    'b4.out.weight': math.sqrt(512 / 2),
}
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
    # At the size of configuration F, 1024 pixels.
    Case('stylegan2_mapping', 'nvlabs', ((3, 512),), {}, 2e-5, gains=MAPPED, full=True),
    Case(
        *('stylegan2_synthesis', 'nvlabs', ((1, 18, 512),), {}, 2e-5),
        gains=PAINTED,
        call=still,
        full=True,
    ),
    Case(
        *('stylegan2_discriminator', 'nvlabs', ((2, 1024, 1024, 3),), {}, 5e-5),
        gains=JUDGED,
        full=True,
    ),
]
