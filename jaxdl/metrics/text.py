"""Numbers of text: perplexity, accuracy of tokens, and what is written beside what is true.

BLEU is no mean over sentences: the metric carries the rows of tokens, adding joins them, and they
become text once, on the host. True texts travel as UTF-8 bytes (`utf8`), so that nothing of them is
lost in a vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.lengths import within
from jaxdl.metrics.base import Better, Mean, Metric, joined
from jaxdl.metrics.edits import error_rate
from jaxdl.samples import Decode

Array = jax.Array

NEEDS_TEXT = "needs the package sacrebleu: pip install 'jaxdl[text]'"


def utf8(texts: Iterable[str]) -> np.ndarray:
    """Texts as their bytes, uint8 [n, longest], filled up with zeros."""
    codes = [text.encode() for text in texts]
    rows = np.zeros((len(codes), max(map(len, codes), default=0)), np.uint8)
    for row, code in zip(rows, codes, strict=True):
        row[: len(code)] = np.frombuffer(code, np.uint8)
    return rows


def from_utf8(row: Iterable[int]) -> str:
    """The text of a row of `utf8`; bytes cut within a character are shown as U+FFFD."""
    return bytes(map(int, row)).rstrip(b'\0').decode(errors='replace')


# ---- of tokens, inside the program --------------------------------------------------------------


class Perplexity(Mean):
    """exp of the mean of -log p over tokens, by the natural logarithm. NaN of none."""

    def value(self) -> float:
        """The number, infinite where it is beyond floats."""
        mean = super().value()
        return math.inf if mean > 700 else math.exp(mean)

    def directions(self) -> Mapping[str, Better]:
        """Lower is better."""
        return {'': 'lower'}


def token_accuracy(logits: Array, targets: Array, weights: Array) -> Mean:
    """The part of tokens [B, T] of which the likeliest of logits [B, T, V] is right."""
    return Mean.of(logits.argmax(-1) == targets, weights, better='higher')


def sequence_accuracy(
    tokens: Array, lengths: Array, truth: Array, truth_lengths: Array, mask: Array
) -> Mean:
    """The part of rows that are right from the first token to the last (exact match).

    tokens int [B, T], the first `lengths` [B] of each row; truth [B, S] likewise.
    """
    size = max(tokens.shape[1], truth.shape[1])
    a, b = (jnp.pad(x, ((0, 0), (0, size - x.shape[1]))) for x in (tokens, truth))
    same = (a == b) | ~within(truth_lengths, size)
    return Mean.of(same.all(-1) & (lengths == truth_lengths), mask, better='higher')


# ---- of texts, on the host ----------------------------------------------------------------------


class TextScore(NamedTuple):
    """A number of texts: of(said, true), two lists of equal length, and which is better."""

    of: Callable[[Sequence[str], Sequence[str]], float]
    better: Better = 'higher'


class Written(Metric):
    """Texts that were written [B, T] and the true ones [B, S]; adding joins them.

    Both become text on the host, `said` by `decode` and `truth` by `decode_truth`, and the `scores`
    are numbers of all of them together.
    """

    said: Any = joined()
    truth: Any = joined()
    mask: Any = joined()
    scores: tuple[tuple[str, TextScore], ...] = struct.field(pytree_node=False, kw_only=True)
    decode: Decode = struct.field(pytree_node=False, kw_only=True)
    decode_truth: Decode = struct.field(pytree_node=False, default=from_utf8, kw_only=True)

    @classmethod
    def of(
        cls,
        said: Array,
        truth: Array,
        mask: Array,
        *,
        decode: Decode,
        scores: Mapping[str, TextScore],
        decode_truth: Decode = from_utf8,
    ) -> Self:
        """Rows of tokens int [B, T] and true texts [B, S], where mask [B] is true.

        decode(ids) -> str: `Tokenizer.decode`; what comes after the end of a row must be tokens
            that it leaves out, as `jaxdl.decoding` writes them.
        decode_truth: the same of the truth, which by itself is of `utf8`.
        """
        return cls(
            said, truth, mask, scores=tuple(scores.items()), decode=decode,
            decode_truth=decode_truth,
        )  # fmt: skip

    def texts(self) -> tuple[list[str], list[str]]:
        """What was written and what is true, on the host."""
        kept = np.flatnonzero(np.asarray(self.mask))
        said, truth = np.asarray(self.said), np.asarray(self.truth)
        return (
            [self.decode(said[i].tolist()) for i in kept],
            [self.decode_truth(truth[i].tolist()) for i in kept],
        )

    def value(self) -> dict[str, float]:
        """The scores by name."""
        said, true = self.texts()
        return {name: float(score.of(said, true)) for name, score in self.scores}

    def directions(self) -> Mapping[str, Better]:
        """Those of the scores."""
        return {name: score.better for name, score in self.scores}


def bleu(said: Sequence[str], true: Sequence[str]) -> float:
    """BLEU of a corpus, 0..100 (Papineni et al. 2002), as sacrebleu has it (Post 2018).

    With its defaults: its tokenizer '13a', case as it is, one reference, exponential smoothing.
    Raises UsageError where sacrebleu is not installed.
    """
    library = _sacrebleu('BLEU')
    return library.corpus_bleu(said, [true]).score if said else math.nan


def chrf(said: Sequence[str], true: Sequence[str]) -> float:
    """ChrF2 of a corpus, 0..100: F of character n-grams up to 6 (Popovic 2015), by sacrebleu.

    Raises UsageError where sacrebleu is not installed.
    """
    library = _sacrebleu('chrF')
    return library.corpus_chrf(said, [true]).score if said else math.nan


def exact_match(said: Sequence[str], true: Sequence[str]) -> float:
    """The part of texts that are right to the letter, 0..1."""
    return _mean([a == b for a, b in zip(said, true, strict=True)])


def word_error_rate(said: Sequence[str], true: Sequence[str]) -> float:
    """Edits of words over the number of true words, of all texts together; may be above 1."""
    return error_rate([(s.split(), t.split()) for s, t in zip(said, true, strict=True)])


def character_error_rate(said: Sequence[str], true: Sequence[str]) -> float:
    """Edits of characters over the number of true ones, of all texts together; may be above 1."""
    return error_rate(list(zip(said, true, strict=True)))


TRANSLATION = {'bleu': TextScore(bleu), 'chrf': TextScore(chrf)}
TRANSCRIPTION = {
    'wer': TextScore(word_error_rate, 'lower'),
    'cer': TextScore(character_error_rate, 'lower'),
    'exact': TextScore(exact_match),
}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _sacrebleu(what: str) -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise UsageError(f'{what} {NEEDS_TEXT}') from error
    return sacrebleu
