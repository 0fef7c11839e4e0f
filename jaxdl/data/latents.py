"""Latents beside rows: what a generator is looked at with, the same at every look."""

import numpy as np

from jaxdl.data.table import Table, from_arrays


def beside_latents(table: Table, *, rows: int, latents: int) -> Table:
    """The first rows of a table, each with `noise` float32 [latents], drawn from N(0, 1).

    They are the same in every run, so that what is measured of a generator (see `quality` in
    `jaxdl.objectives.adversarial`) does not depend on how rows are batched, nor on the seed.
    """
    columns = {name: column[:rows] for name, column in table.arrays.items()}
    count = min(rows, len(table))
    noise = np.random.default_rng(0).standard_normal((count, latents), np.float32)
    return from_arrays({**columns, 'noise': noise}, name=f'{table.name} beside latents')
