"""Answers that are parts of a text: exact match and F1 as of SQuAD (Rajpurkar et al. 2016, 6.1)."""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.metrics.base import Better, Metric, joined
from jaxdl.metrics.text import from_utf8

Array = jax.Array

_SIGNS = str.maketrans('', '', string.punctuation)


def normalised(answer: str) -> str:
    """An answer as it is compared: small letters, no signs, no articles, single blanks."""
    text = answer.lower().translate(_SIGNS)
    return ' '.join(re.sub(r'\b(a|an|the)\b', ' ', text).split())


def exact(said: str, answers: Sequence[str]) -> float:
    """1 where it is one of the right answers, else 0."""
    return float(normalised(said) in {normalised(each) for each in answers})


def f1(said: str, answers: Sequence[str]) -> float:
    """F1 of the words that it shares with the right answer it is closest to, 0..1.

    0 where they share none; 1 where neither has one, as in the program of SQuAD 2.0.
    """
    return max(_f1(normalised(said).split(), normalised(each).split()) for each in answers)


def _f1(said: list[str], true: list[str]) -> float:
    if not said and not true:
        return 1.0
    common = sum((Counter(said) & Counter(true)).values())
    return 2 * common / (len(said) + len(true)) if common else 0.0


class Answered(Metric):
    """Spans of the bytes of contexts [B, C], and the right answers, bytes [B, A]; adding joins.

    exact_match, f1: means over the questions, 0..100, as SQuAD's own program tells them.
    """

    context: Any = joined()
    first: Any = joined()
    last: Any = joined()
    answers: Any = joined()
    mask: Any = joined()

    @classmethod
    def of(
        cls, start: Array, end: Array, places: Array, context: Array, answers: Array, mask: Array
    ) -> Self:
        """Of the first and the last token int [B] of each answer, where mask [B] is true.

        places: int [B, T, 2], which bytes of the context a token stands for (the first, and the one
            after the last). context: uint8 [B, C]. answers: uint8 [B, A], parted by zeros.
        """
        rows = jnp.arange(len(start))
        return cls(context, places[rows, start, 0], places[rows, end, 1], answers, mask)

    def texts(self) -> tuple[list[str], list[list[str]]]:
        """What was said, and the right answers of each question, on the host."""
        host = {name: np.asarray(getattr(self, name)) for name, _ in self._fields()}
        said, right = [], []
        for i in np.flatnonzero(host['mask']):
            span = slice(int(host['first'][i]), int(host['last'][i]))
            said.append(from_utf8(host['context'][i][span]))
            right.append(from_utf8(host['answers'][i]).split('\0'))
        return said, right

    def value(self) -> dict[str, float]:
        """The numbers by name."""
        pairs = list(zip(*self.texts(), strict=True))
        if not pairs:
            return {'exact_match': math.nan, 'f1': math.nan}
        return {
            'exact_match': 100 * sum(exact(*pair) for pair in pairs) / len(pairs),
            'f1': 100 * sum(f1(*pair) for pair in pairs) / len(pairs),
        }

    def directions(self) -> Mapping[str, Better]:
        """Both are better if higher."""
        return {'exact_match': 'higher', 'f1': 'higher'}
