"""Named entities: spans of tags, and precision, recall and F1 of whole spans.

As the CoNLL shared tasks count (Tjong Kim Sang and De Meulder 2003), which is the default, not the
strict, mode of the library seqeval: an I- after an O, or after another type, begins an entity.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.metrics.base import Better, Metric, joined

Array = jax.Array


class Entity(NamedTuple):
    """A span of tokens: its kind, its first token, and its last."""

    kind: str
    first: int
    last: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence's tags 'O', 'B-person', 'I-person', in order.

    Raises UsageError for another tag.
    """
    found: list[Entity] = []
    before = ''  # the kind of the token before, '' outside
    for i, tag in enumerate(tags):
        mark, _, kind = tag.partition('-')
        if tag == 'O':
            before = ''
            continue
        if mark not in ('B', 'I') or not kind:
            raise UsageError(f"entities: the tag {tag!r}; tags are 'O', 'B-KIND' and 'I-KIND'")
        if mark == 'I' and kind == before:
            found[-1] = found[-1]._replace(last=i)
        else:
            found.append(Entity(kind, i, i))
        before = kind
    return found


class Entities(Metric):
    """Predicted and true tags of sentences, int [B, T]; adding joins sentences.

    precision, recall, f1: of whole entities, over all sentences and kinds together ("micro"); an
    entity is found where its kind, its first and its last token are. NaN where there are none, true
    or predicted.
    """

    predicted: Any = joined()
    truth: Any = joined()
    mask: Any = joined()
    tags: tuple[str, ...] = struct.field(pytree_node=False, kw_only=True)
    ignore: int = struct.field(pytree_node=False, kw_only=True, default=-1)

    @classmethod
    def of(
        cls, predicted: Array, truth: Array, mask: Array, *, tags: Sequence[str], ignore: int = -1
    ) -> Self:
        """Tags int [B, T] of sentences, where mask [B] is true.

        tags: their names. ignore: a true tag of what has none, as if it were not there.
        Raises UsageError for names that are no tags of entities.
        """
        entities(tags)
        return cls(predicted, truth, mask, tags=tuple(tags), ignore=ignore)

    def value(self) -> dict[str, float]:
        """The numbers by name."""
        host = (np.asarray(x) for x in (self.predicted, self.truth, self.mask))
        predicted, truth, mask = host
        found = said = there = 0
        for i in np.flatnonzero(mask):
            real = truth[i] != self.ignore
            a, b = (
                set(entities([self.tags[tag] for tag in row[real]]))
                for row in (predicted[i], truth[i])
            )
            found, said, there = found + len(a & b), said + len(a), there + len(b)
        if not said + there:
            return dict.fromkeys(('precision', 'recall', 'f1'), float('nan'))
        return {
            'precision': found / said if said else 0.0,
            'recall': found / there if there else 0.0,
            'f1': 2 * found / (said + there),
        }

    def directions(self) -> Mapping[str, Better]:
        """All are better if higher."""
        return dict.fromkeys(('precision', 'recall', 'f1'), 'higher')
