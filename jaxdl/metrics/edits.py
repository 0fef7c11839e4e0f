"""Edit distance, and error rates of rows of labels: words (WER), characters (CER), whole rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from flax import struct

from jaxdl.metrics import Better, Metric, Number, joined


def edit_distance(found: Sequence[Any], truth: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that make one of the other.

    Levenshtein 1966, by the table of Wagner and Fischer 1974, a row at a time.
    """
    names = {item: i for i, item in enumerate({*found, *truth})}
    x, y = (np.array([names[item] for item in some], np.int64) for some in (found, truth))
    j = np.arange(len(y) + 1)
    row = j
    for i, item in enumerate(x, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (y != item))
        # An insertion costs 1 a place, from wherever to the left: a running minimum of cost - j.
        row = np.minimum.accumulate(np.concatenate([[i], best]) - j) + j
    return int(row[-1])


def error_rate(pairs: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> float:
    """Edits over the number of true labels, of all pairs (found, true); NaN of no labels."""
    edits = sum(edit_distance(found, truth) for found, truth in pairs)
    size = sum(len(truth) for _, truth in pairs)
    return edits / size if size else float('nan')


class ErrorRate(Metric):
    """Errors of rows of labels: edits over the number of true labels; adding joins rows.

    found [B, T] and truth [B, N], int, of which the first `lengths` count. Of labels that are words
    it gives 'wer'; with `space`, the label between words, labels are characters, and it gives 'cer'
    and 'wer'. 'ser' is the part of rows with any error. A rate may be above 1.
    """

    found: Any = joined()
    lengths: Any = joined()
    truth: Any = joined()
    truth_lengths: Any = joined()
    mask: Any = joined()
    space: int | None = struct.field(pytree_node=False, default=None, kw_only=True)

    @classmethod
    def of(
        cls,
        found: Any,
        lengths: Any,
        truth: Any,
        truth_lengths: Any,
        mask: Any,
        *,
        space: int | None = None,
    ) -> Self:
        """The rows of a batch; those whose `mask` [B] is false have no part."""
        return cls(found, lengths, truth, truth_lengths, mask, space=space)

    def value(self) -> dict[str, Number]:
        """The rates by name; NaN of no labels."""
        pairs = [
            (row[:n].tolist(), true[:m].tolist())
            for row, n, true, m, counts in zip(
                np.asarray(self.found),
                np.asarray(self.lengths),
                np.asarray(self.truth),
                np.asarray(self.truth_lengths),
                np.asarray(self.mask),
                strict=True,
            )
            if counts
        ]
        wrong = [found != true for found, true in pairs]
        rates = {'wer': error_rate(pairs)}
        if self.space is not None:
            words = [(_words(a, self.space), _words(b, self.space)) for a, b in pairs]
            rates = {'cer': rates['wer'], 'wer': error_rate(words)}
        return {**rates, 'ser': float(np.mean(wrong)) if wrong else float('nan')}

    def directions(self) -> Mapping[str, Better]:
        """Fewer errors are better."""
        names = ('wer', 'ser') if self.space is None else ('cer', 'wer', 'ser')
        return dict.fromkeys(names, 'lower')


def _words(labels: Sequence[int], space: int) -> list[tuple[int, ...]]:
    """The words of a row of characters."""
    words: list[list[int]] = [[]]
    for label in labels:
        if label == space:
            words.append([])
        else:
            words[-1].append(label)
    return [tuple(word) for word in words if word]
