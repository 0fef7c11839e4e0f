"""Sending: what the host has, placed where the programs of all seeds look for it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl.data.source import Source
from jaxdl.engine.layout import Layout, Mesh


class Sender:
    """Opens sources for some seeds and places what they send, and what they hold, in a layout."""

    def __init__(self, layout: Layout, seeds: Sequence[int]) -> None:
        self._layout, self._seeds = layout, seeds
        self._held: dict[int, tuple[Any, Any]] = {}

    def mine(self, per_seed: Sequence[Any]) -> Any:
        """One host value a seed, in the layout's form."""
        return self._layout.unstack(jax.tree.map(lambda *xs: np.stack(xs), *per_seed))

    def share(self, resident: Any) -> Any:
        """The arrays of a source, placed; once, where several sources hold the same ones."""

        def place(leaf: Any) -> Any:
            if id(leaf) not in self._held:
                self._held[id(leaf)] = leaf, self._layout.share(leaf)  # kept, so that its id is
            return self._held[id(leaf)][1]

        return jax.tree.map(place, resident)

    def streams(self, source: Source, start: int, first: Any) -> list[Iterator[Any] | None]:
        """The streams of a source from a step on, one a seed if private; None for one not read.

        Of many processes each reads what lies on its devices: its seeds, or, where all share a
        stream whose batches are sent row by row, its rows of each batch. The batches are the same.
        """
        over, count = self._over_many(), len(self._seeds)
        if not source.private:
            return [self.open(source, start, first)]
        here = range(count) if over is None else over.seeds_here(count)
        return [source.open(s, start) if i in here else None for i, s in enumerate(self._seeds)]

    def open(self, source: Source, start: int, first: Any) -> Iterator[Any]:
        """A stream that all seeds share, from a step on. first: what is sent for one."""
        if source.open_rows is None or (over := self._over_many()) is None:
            return source.open(0, start)
        return source.open_rows(0, start, over.rows_here(_rows_of(first)))

    def send(self, source: Source, sent: Any, first: Any, *, axis: int) -> Any:
        """Place what such a stream sends. axis: of its rows."""
        if source.open_rows is None or (over := self._over_many()) is None:
            return self._layout.share(sent)
        return over.send(sent, _rows_of(first), axis=axis)

    def _over_many(self) -> Mesh | None:
        """The layout, where it is one over many processes."""
        if jax.process_count() > 1 and isinstance(self._layout, Mesh):
            return self._layout
        return None


def _rows_of(sent: Any) -> int:
    """Rows that are sent for a step, by a source that sends a batch row by row."""
    return int(np.shape(jax.tree.leaves(sent)[0])[0])
