"""The loop: chunks, the feed, ticks, exact totals, and what it says when something is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxdl.checkpoint import Checkpoints
from jaxdl.engine import Engine, Tally, finish_each
from jaxdl.errors import DivergedError
from jaxdl.feed import chunks, prefetch
from jaxdl.metrics import Confusion, Mean
from jaxdl.task import keep_best


def engine(**options):
    options = {'seeds': [0, 1], 'layout_name': 'vmap', **options}
    source = options.pop('source', None) or toy.train_source()
    return Engine(options.pop('task', None) or toy.task(), source, **options)


@pytest.fixture(scope='module')
def by_two():
    """An engine with chunks of two steps, compiled once for all tests that change nothing."""
    said = []
    made = engine(chunk=2, say=said.append)
    made.said = said
    return made


@pytest.mark.parametrize('every,chunk,stop', [(10, 4, 37), (7, 100, 50), (5, 1, 12), (100, 30, 7)])
def test_chunks_cover_every_step_once_and_end_at_every_boundary(every, chunk, stop):
    stretches = list(chunks(0, stop, every, chunk))
    assert [s for first, last in stretches for s in range(first, last)] == list(range(stop))
    assert all(last - first <= chunk for first, last in stretches)
    ends = {last for _, last in stretches}
    assert {*range(every, stop + 1, every), stop} <= ends
    # Resuming at any end makes the same stretches as never having stopped.
    for index, (_, last) in enumerate(stretches):
        assert list(chunks(last, stop, every, chunk)) == stretches[index + 1 :]


def test_a_start_off_the_grid_of_chunks_returns_to_it():
    assert list(chunks(3, 14, 10, 4)) == [(3, 4), (4, 8), (8, 10), (10, 14)]


def test_prefetch_keeps_order_raises_what_the_thread_raised_and_stops_with_its_consumer():
    made = []

    def items(fail_at):
        for i in range(100):
            if i == fail_at:
                raise KeyError('row 7')
            made.append(i)
            yield i

    assert list(prefetch(items(None))) == list(range(100))
    with pytest.raises(KeyError, match='row 7'):
        list(prefetch(items(7)))
    made.clear()
    stream = prefetch(items(None))
    assert next(stream) == 0
    stream.close()
    assert len(made) < 10  # no more than what was ahead


def test_numbers_arrive_one_chunk_late_and_all_at_a_boundary(by_two):
    seen = []
    e = by_two
    for tick in e.train(e.init(), start=0, stop=8, every=6):
        seen.append((tick.step, tick.boundary, [step for step, _ in tick.finished]))
    assert seen == [(2, False, []), (4, False, [2]), (6, True, [4, 6]), (8, True, [8])]


def test_drain_reads_what_is_pending(by_two):
    e = by_two
    ticks = e.train(e.init(), start=0, stop=8, every=8)
    tick = next(ticks)
    assert tick.finished == [] and [step for step, _ in tick.drain()] == [2]
    ticks.close()


def test_training_totals_are_exact_sums_over_steps(by_two):
    e = by_two
    totals = e.no_totals()
    for tick in e.train(e.init(), start=0, stop=6, every=6):
        for _, metrics in tick.finished:
            totals = {name: totals[name] + metric for name, metric in metrics.items()}
    assert totals['accuracy'].weight.tolist() == [48, 48]  # 6 steps of 8 rows
    states, by_step = e.init(), []
    step = jax.jit(jax.vmap(e._advance_one, in_axes=(0, 0, 0, 0, None, None, None)))
    zero = jax.tree.map(jnp.asarray, (e.no_totals(), np.full(2, -1, np.int32)))
    sent = e._source.open(0, 0)
    for i in range(6):
        first, rows = np.array([i], np.int32), next(sent)[None]
        ours = e._ours(e._source)
        states, tally = step(states, Tally(*zero), e._keys, e._keys, first, rows, ours)
        by_step.append(tally.totals['loss'].total)
    assert np.allclose(np.sum(by_step, axis=0), totals['loss'].total, rtol=1e-6)


def test_measuring_is_exact_with_a_padded_last_batch(by_two):
    e = by_two
    states = e.init()
    numbers = finish_each(e.measure(states, toy.test_source()), 2)
    assert [matrix.sum() for matrix in numbers['confusion']] == [100, 100]
    for i, state in enumerate([jax.tree.map(lambda x, i=i: x[i], states) for i in range(2)]):
        (net,) = toy.nets(state)
        logits, _ = net.shadow(toy.X)
        assert numbers['accuracy'][i] == pytest.approx((logits.argmax(-1) == toy.Y).mean())


def many(rows, counts):
    """Metrics of ever so many rows, with a little of which float32 and int32 lose count."""
    return {'mean': Mean(rows, rows), 'counts': Confusion(jnp.full((1, 2), counts, jnp.int32))}


def test_measuring_counts_beyond_2_to_the_24_and_31():
    def measure(key, state, batch):
        rows = jnp.where(batch['mask'].all(), 2.0**24, 1.0)  # the last batch is padded
        return many(rows, 2**30)

    seen = []

    def review(state, metrics):
        seen.extend((leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(metrics))
        score = jnp.where(metrics['counts'].counts[0, 0] > 2**30, metrics['mean'].weight, -1.0)
        return {**state, 'score': score}

    task = toy.task()
    for layout in ('vmap', 'loop', 'pmap'):
        e = engine(task=task._replace(measure=measure, review=review), layout_name=layout)
        states = e.init()
        totals = e.measure(states, toy.test_source())  # three full batches, and the padded one
        assert totals['mean'].weight.tolist() == [3 * 2**24 + 1] * 2
        assert totals['counts'].value().tolist() == [[[2**32] * 2]] * 2
        # On the device, counts that are too large are the largest there is, and not below 0.
        score = e.layout.stack(e.review(states, totals))['score']
        assert score.tolist() == [3 * 2**24] * 2
    assert {str(kind) for kind, _ in seen} == {'float32', 'int32'}


def test_training_totals_count_beyond_2_to_the_24_and_31_and_survive_a_checkpoint(tmp_path):
    task = toy.task()

    def step(key, state, batch):
        return task.step(key, state, batch)[0], many(jnp.float32(2**24 - 1), 2**29)

    e = engine(task=task._replace(step=step), chunk=2)
    totals = e.no_totals()
    for tick in e.train(e.init(), start=0, stop=6, every=6):
        for _, metrics in tick.finished:
            totals = {name: totals[name] + metric for name, metric in metrics.items()}
    assert totals['mean'].weight.tolist() == [6 * (2**24 - 1)] * 2
    assert totals['counts'].value().tolist() == [[[6 * 2**29] * 2]] * 2
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save({'totals': totals}, step=1, phase=0)
        saved = checkpoints.restore(lambda phase: {'totals': e.no_totals()})
    for a, b in zip(jax.tree.leaves(saved.state['totals']), jax.tree.leaves(totals), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_the_state_is_given_to_the_step_and_no_step_calls_the_host(by_two):
    e = by_two
    states = e.init()
    before = jax.tree.leaves(states)
    next(ticks := e.train(states, start=0, stop=4, every=4))
    ticks.close()
    assert all(leaf.is_deleted() for leaf in before)


def test_a_recompiling_step_names_the_argument():
    said = []
    plain = toy.train_source()

    def ragged(seed, step):
        for rows in plain.open(seed, step):
            yield rows if step < 2 else np.concatenate([rows, rows[:1]])
            step += 1

    def make(key, resident, rows):
        mask = jnp.ones(rows.shape, bool)
        return {'x': resident['x'][rows], 'y': resident['y'][rows], 'mask': mask}

    source = plain.__class__(ragged, make, plain.resident)
    e = engine(source=source, chunk=1, say=said.append)
    for _ in e.train(e.init(), start=0, stop=4, every=4):
        pass
    warnings = [text for text in said if 'recompiles' in text]
    assert len(warnings) == 1 and 'int32[1, 8] -> int32[1, 9]' in warnings[0]


def test_compile_time_work_and_memory_are_said_in_one_line(by_two):
    for _ in by_two.train(by_two.init(), start=0, stop=4, every=4):
        pass
    (line,) = [text for text in by_two.said if text.startswith('compiling step: ')]
    assert 's, ' in line and 'GFLOP' in line and line.endswith('MB')


def test_a_loss_that_is_not_finite_names_the_step_and_the_seed():
    task = toy.task()

    def step(key, state, batch):
        state, metrics = task.step(key, state, batch)
        fourth = state['net'].turn >= 4  # and every step after it
        # Seed 1 only: its first parameter has another sign bit pattern than seed 0's.
        poison = jnp.where(fourth & (state['net'].opt[0].mu['Dense_1']['bias'][0] < 0), jnp.nan, 0)
        return state, {**metrics, 'loss': Mean.of(metrics['loss'].ratio() + poison)}

    e = engine(task=task._replace(step=step), chunk=3, seeds=[0, 1, 2, 3])
    with pytest.raises(DivergedError, match=r'seed \d is not finite at step 4$'):
        for _ in e.train(e.init(), start=0, stop=9, every=9):
            pass


def test_seeds_share_batches_unless_the_source_is_private():
    seen = {}
    for private in (False, True):
        shown = engine(source=toy.train_source(private=private), seeds=[3, 4])

        def look(key, state, batch):
            return {'x': batch['x']}

        e = engine(seeds=[3, 4])
        seen[private] = e.show(look, shown.init(), toy.train_source(private=private))['x']
    # `show` sends the first rows of seed 0; a private source still draws its own noise.
    assert np.array_equal(seen[False][0], seen[False][1])
    assert not np.array_equal(seen[True][0], seen[True][1])


@pytest.mark.parametrize('patience', [None, 1])
def test_keep_best_hands_out_the_best_state_seed_by_seed_and_stops_early(patience):
    e = engine(task=keep_best(toy.task(), 'accuracy', patience=patience), chunk=1)
    states = e.init()
    # Hand-made validation: seed 0 is best at the first review, seed 1 at the second.
    scores = [(0.9, 0.1), (0.5, 0.7), (0.6, 0.6)]
    live = []
    tick = None
    for tick in e.train(states, start=0, stop=3, every=1):
        live.append(jax.device_get(tick.states.live))
        metrics = {'accuracy': Mean(np.array(scores[tick.step - 1], 'f'), np.ones(2, 'f'))}
        tick.states = e.review(tick.states, metrics)
    best = jax.device_get(e.outcome(tick.states).live)
    for i, at in enumerate((0, 1)):
        for got, want in zip(jax.tree.leaves(best), jax.tree.leaves(live[at]), strict=True):
            np.testing.assert_array_equal(got[i], want[i])
    assert tick.states.score.tolist() == pytest.approx([0.9, 0.7])
    stopped = e.all_stopped(tick.states)
    assert stopped is (patience == 1)
    moved = [not np.array_equal(a[0], b[0]) for a, b in _pairs(live[1], live[2])]
    assert any(moved) is (patience is None)  # seed 0 was out of patience after the second review


def _pairs(a, b):
    return zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
