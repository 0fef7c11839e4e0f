"""Which cases of a test `make test` runs, and which `make laws` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], keep: int = 1) -> list[Any]:
    """The cases of a parametrised test, all but the first `keep` marked as slow."""
    return [case if i < keep else _slow(case) for i, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)


# Whose task, data or phases are of a kind of their own. The laws hold over all of the others too,
# which are trained as these are: `make laws WHICH='slow or thorough'`.
KINDS_OF_STUDIES = [
    *('catch_dqn', 'char_lm', 'detect_bccd', 'digits', 'forecast', 'regularisation', 'ring_gan'),
    *('scan', 'speech_digits', 'tagging', 'transfer', 'unet_isbi', 'cora', 'few_labels'),
    *('stylegan', 'augment_gan'),
]


def of_a_study(name: str) -> pytest.MarkDecorator:
    """The mark of a law over a study: slow where it is of a kind of its own, else thorough."""
    return pytest.mark.slow if name in KINDS_OF_STUDIES else pytest.mark.thorough
