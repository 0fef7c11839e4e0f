"""Invention: of texts that a model writes of its own, how many are valid, unlike, and new.

What is the same text, and what is none, says a function: the canonical form of a molecule, of a
formula, of a program. The metric carries rows of tokens; adding joins them, and they become text
once, on the host, because what is said twice may stand in two batches.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import jax
import numpy as np
from flax import struct

from jaxdl.metrics.base import Better, Metric, joined
from jaxdl.samples import Decode

Array = jax.Array
Canonical = Callable[[str], str | None]


class Invented(Metric):
    """Rows of tokens [n, T] that were written, by their canonical form.

    'valid': the part of all that has one. 'unique': how many different ones there are, of the valid
    (it falls as more are written). 'novel': the part of the different ones that is not known. And
    'new', those that are valid, different and not known, of all that were written: the product of
    the three. As in Brown et al. 2019 (GuacaMol) and Polykovskiy et al. 2020 (MOSES).
    """

    tokens: Any = joined()
    mask: Any = joined()
    decode: Decode = struct.field(pytree_node=False, kw_only=True)
    canonical: Canonical = struct.field(pytree_node=False, kw_only=True)
    known: frozenset[str] = struct.field(pytree_node=False, kw_only=True)

    @classmethod
    def of(
        cls,
        tokens: Array,
        mask: Array,
        *,
        decode: Decode,
        canonical: Canonical,
        known: Iterable[str],
    ) -> Self:
        """Rows of tokens int [B, T], where mask [B] is true.

        decode(ids) -> str: `Tokenizer.decode`. canonical(text) -> str, the same for texts that are
            the same; None where it is none. known: canonical forms that are not new.
        """
        return cls(tokens, mask, decode=decode, canonical=canonical, known=frozenset(known))

    def value(self) -> dict[str, float]:
        """The four parts, 0..1; NaN of none."""
        kept = np.asarray(self.tokens)[np.asarray(self.mask)]
        forms = [self.canonical(self.decode(row)) for row in kept.tolist()]
        valid = [form for form in forms if form is not None]
        different = set(valid)
        new = different - self.known
        return {
            'valid': _part(len(valid), len(forms)),
            'unique': _part(len(different), len(valid)),
            'novel': _part(len(new), len(different)),
            'new': _part(len(new), len(forms)),
        }

    def directions(self) -> Mapping[str, Better]:
        """All are better higher."""
        better: Better = 'higher'
        return dict.fromkeys(('valid', 'unique', 'novel', 'new'), better)


def _part(some: int, whole: int) -> float:
    return some / whole if whole else math.nan
