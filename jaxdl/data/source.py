"""A source: a deterministic stream of batches that can be opened at any step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxdl.data.table import Table
from jaxdl.keys import Key, key_at, key_for
from jaxdl.task import Batch


@dataclass(frozen=True)
class Source:
    """A deterministic stream of batches, opened at any step: resume needs no saved iterator.

    A batch is made in two halves. The host *sends* something small for each step (row numbers;
    whole examples where they do not fit on the device; nothing), and `make`, a pure function
    compiled into the training step, turns it into the batch:

        sent = next(source.open(seed, step))            # host, numpy pytree of fixed shapes
        batch = source.make(key, source.resident, sent)   # device: gather, augment, normalise

    open(seed, step): what is sent for step, step + 1, ...; ends after `batches` if that is given.
    make(key, resident, sent): the batch, a dict of arrays with a boolean `mask` [rows], false on
        padding rows.
    resident: arrays that live on the device for the whole run (a small dataset), or ().
    batches: how many batches one pass has; None for an endless stream (training).
    private: each seed is sent its own batches, those of open(seed, ...), and draws its own noise.
        Else all seeds share one stream, that of seed 0.
    open_rows(seed, step, rows): as `open`, but of each batch only the columns' rows in a slice, for
        one of many processes; None where a batch is not sent row by row.
    name: one line for the log, 'mnist train: 60000 rows in batches of 64, on the device'.

    Where the batches are rows of a table, so that they can be looked at on the host:

    table: its columns, as they are before the transform.
    rows: (seed) -> (step) -> the numbers [rows] of a step's rows, -1 for padding.
    transform(key, batch) -> batch: what `make` does to the rows; None leaves them.
    drawn: (seed) -> the numbers [n] of all rows that a seed sees, where that is a draw of its own
        and no order alone (see `jaxdl.data.draws`); such a source is private. None: all see all.
    order: in what order its rows come, in a few words; '' where nothing is known of it.
    """

    open: Callable[[int, int], Iterator[Any]]
    make: Callable[[Key, Any, Any], Batch]
    resident: Any = ()
    batches: int | None = None
    private: bool = False
    name: str = ''
    table: Table | None = None
    rows: Callable[[int], Callable[[int], np.ndarray]] | None = None
    transform: Callable[[Key, Batch], Batch] | None = None
    drawn: Callable[[int], np.ndarray] | None = None
    order: str = ''
    open_rows: Callable[[int, int, slice], Iterator[Any]] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """The batches of seed 0, for a loop of one's own: one pass, or endless ones."""
        make = jax.jit(self.make)
        root = key_for(jax.random.key(0), 'batches')
        for index, sent in enumerate(self.open(0, 0)):
            yield make(key_at(root, index), self.resident, sent)
