"""Which models' texts are compared token for token with those that transformers generates."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from golden import Case, Exactly

from cases.language import BERT, TOLERANCE

PROMPTS = Exactly(((5, 11, 2, 8), (3, 3, 14, 1), (16, 7, 9, 10), (2, 13, 4, 6)))
LENGTHS = Exactly((4, 2, 3, 1))
# Positions, or what was said before, outweigh the last word, which else is said again and again.
GPT2_GAINS = {'*wpe.weight': 3.0}
MARIAN_GAINS = {'*decoder*.self_attn.out_proj.weight': 6.0, '*decoder*.fc2.weight': 2.0}


class Decoding(NamedTuple):
    """How a model goes on.

    width: of the beam; 1 is greedy. penalty: the power of its length by which a row's
        log-probability is divided. end: the token that ends a row.
    """

    case: Case
    width: int
    penalty: float
    end: int
    length: int = 12

    @property
    def name(self) -> str:
        return f'{self.case.arch}-width={self.width}-penalty={self.penalty}'


LONGER: Mapping[str, Any] = {**BERT, 'context': 20}
GPT2 = Case('gpt2', 'hf', (PROMPTS,), LONGER, TOLERANCE, gains=GPT2_GAINS)
MARIAN = Case('transformer', 'hf', (PROMPTS, LENGTHS), LONGER, TOLERANCE, gains=MARIAN_GAINS)

DECODINGS = [
    Decoding(case, width, penalty, end)
    for case, end in ((GPT2, 4), (MARIAN, 8))
    for width, penalty in ((1, 0.0), (4, 0.0), (4, 1.0))
]
