"""Networks of action values."""

from golden import Case

SCREENS = ((2, 84, 84, 4),)
# Drawn frames are not 0..255 but about 1: divided by 255 they would be lost beside the biases.
SEEN = 255.0

CASES = [
    Case(
        *('nature_dqn', 'cleanrl', SCREENS),
        tolerance=1e-5,
        train=True,
        again=((3, 84, 84, 4),),
        gains={'network.0.weight': SEEN},
    ),
    Case(
        *('nature_dueling', 'torch', SCREENS, {'actions': 3}),
        tolerance=1e-5,
        train=True,
        again=((3, 84, 84, 4),),
        gains={'trunk.0.weight': SEEN},
    ),
]
