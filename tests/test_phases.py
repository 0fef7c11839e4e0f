"""A judge is trained in a phase of its own, and taken from there by one who only watches."""

import jax
import numpy as np

from jaxdl.data.augment import standardise
from jaxdl.data.table import from_arrays
from jaxdl.engine.feed import first_sent
from jaxdl.game import game
from jaxdl.models.judge import Judge
from jaxdl.phases import judge_phase, watching
from jaxdl.transfer import graft

KEY = jax.random.key(0)


def test_the_judge_of_a_phase_watches_the_next():
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    table = from_arrays({'x': x, 'y': np.arange(20) % 10}, name='images')
    judge = Judge((2, 3), 4)
    phase = judge_phase(judge, table, table, steps=7, transform=standardise(127.5, 127.5))
    assert (phase.name, phase.steps, phase.every, [*phase.tests]) == ('judge', 7, 7, ['test'])
    source = phase.train
    batch = source.make(KEY, source.resident, first_sent(source))
    assert batch['x'].shape == (20, 8, 8, 1) and -1 <= batch['x'].min() < 0 < batch['x'].max() <= 1
    before = phase.task.init(KEY, batch)
    task = game({'judge': watching(judge)}, lambda nets, batch, key: {})
    fresh = task.init(jax.random.key(1), batch)
    state = graft(nets={'judge': 'net'})(before, fresh)
    after, metrics = task.step(KEY, state, batch)
    assert metrics == {} and after['judge'].net.frozen
    for one, other in zip(
        jax.tree.leaves(after['judge'].net.params),
        jax.tree.leaves(before['net'].net.params),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
