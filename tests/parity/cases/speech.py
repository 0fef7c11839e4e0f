"""Recognisers, classifiers of words, and Tacotron: rows of unlike lengths."""

from typing import Any

from golden import Case, Exactly, Tokens

HEARD = {'classes': 4, 'features': 5, 'units': 3, 'layers': 2, 'stack': 2}
WORDS = {'classes': 4, 'features': 5, 'widths': (3, 4)}
SAYING = {
    **{'vocabulary': 7, 'mels': 5, 'bins': 9, 'voices': 3, 'embedding': 6, 'units': 4},
    **{'decoder': 6, 'reduction': 3, 'banks': (4, 3)},
}


def frames(steps: int, *lengths: int, features: int = 5) -> tuple[Any, ...]:
    """Frames, and how many of each row count."""
    return (len(lengths), steps, features), Exactly(lengths)


def logits(module: Any, x: Any, lengths: Any) -> Any:
    """Those of a recogniser."""
    return module(x, lengths).logits


def saying(
    letters: tuple[int, ...], steps: tuple[int, ...], *, below: int, voices: int, mels: int
) -> tuple[Any, ...]:
    """Text, voices and frames."""
    rows = len(letters)
    text = Tokens((rows, max(letters)), below), Exactly(letters)
    who = Exactly([i % voices for i in range(rows)])
    return *text, who, (rows, max(steps), mels), Exactly(steps)


SAID = {'below': 7, 'voices': 3, 'mels': 5}

CASES = [
    Case(
        *('recogniser', 'torch', frames(9, 9, 4, 1), HEARD, 2e-5),
        train=True,
        again=frames(12, 5, 12),
        call=logits,
    ),
    Case(
        *('word_rnn', 'torch', frames(9, 9, 4, 1), HEARD, 2e-5),
        train=True,
        again=frames(12, 5, 12),
    ),
    Case(
        *('word_cnn', 'torch', frames(9, 9, 4, 1), WORDS, 2e-5),
        train=True,
        again=frames(12, 5, 12),
    ),
    Case(
        *('tacotron', 'torch', saying((5, 2, 4), (7, 4, 9), **SAID), SAYING, 5e-5),
        train=True,
        again=saying((6, 3), (12, 5), **SAID),
    ),
    Case(
        'tacotron',
        'torch',
        saying((30, 12), (50, 33), below=149, voices=1, mels=80),
        train=True,
        full=True,
    ),
]
