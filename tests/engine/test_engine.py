"""The loop: chunks, the feed, ticks, exact totals, and what it says when something is wrong."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.engine.engine import Engine, Tally, finish_each
from jaxdl.engine.feed import chunks, prefetch
from jaxdl.errors import DivergedError, UsageError
from jaxdl.metrics import About, Mean, Metric, joined
from jaxdl.metrics.confusion import Confusion
from jaxdl.objectives.keep_best import keep_best
from jaxdl.study import Eval
from jaxdl.task import Task


def engine(**options):
    tests = {'test': Eval(toy.test_source())}
    options = {'seeds': [0, 1], 'layout_name': 'vmap', 'evaluations': tests, **options}
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
    stretches = list(chunks(0, stop, [every], chunk))
    assert [s for first, last in stretches for s in range(first, last)] == list(range(stop))
    assert all(last - first <= chunk for first, last in stretches)
    ends = {last for _, last in stretches}
    assert {*range(every, stop + 1, every), stop} <= ends
    # Resuming at any end makes the same stretches as never having stopped.
    for index, (_, last) in enumerate(stretches):
        assert list(chunks(last, stop, [every], chunk)) == stretches[index + 1 :]


def test_chunks_end_where_any_cadence_does():
    """A validation split every 4 steps, a test split every 6."""
    assert list(chunks(0, 13, [4, 6], 3)) == [
        *((0, 3), (3, 4), (4, 6), (6, 8), (8, 11), (11, 12), (12, 13))
    ]
    assert list(chunks(6, 13, [6, 4], 3)) == [(6, 8), (8, 11), (11, 12), (12, 13)]


def test_a_start_off_the_grid_of_chunks_returns_to_it():
    assert list(chunks(3, 14, [10], 4)) == [(3, 4), (4, 8), (8, 10), (10, 14)]


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
    for tick in e.train(e.init(), start=0, stop=8, cadences=[6]):
        seen.append((tick.step, tick.boundary, [step for step, _ in tick.finished]))
    assert seen == [(2, False, []), (4, False, [2]), (6, True, [4, 6]), (8, True, [8])]


def test_drain_reads_what_is_pending(by_two):
    e = by_two
    ticks = e.train(e.init(), start=0, stop=8, cadences=[8])
    tick = next(ticks)
    assert tick.finished == [] and [step for step, _ in tick.drain()] == [2]
    ticks.close()


def test_training_totals_are_exact_sums_over_steps(by_two):
    e = by_two
    totals = e.no_totals()
    for tick in e.train(e.init(), start=0, stop=6, cadences=[6]):
        for _, metrics in tick.finished:
            totals = {name: totals[name] + metric for name, metric in metrics.items()}
    assert totals['accuracy'].weight.tolist() == [48, 48]  # 6 steps of 8 rows
    states, by_step = e.init(), []
    step = jax.jit(jax.vmap(e._advance_one, in_axes=(0, 0, 0, 0, None, None, None)))
    none = np.full(2, -1, np.int32)
    zero = jax.tree.map(jnp.asarray, (e.no_totals(), none, none))
    sent = e._source.open(0, 0)
    for i in range(6):
        first, rows = np.array([i], np.int32), next(sent)[None]
        states, tally = step(states, Tally(*zero), e._keys, e._keys, first, rows, e._ours)
        by_step.append(tally.totals['loss'].total)
    assert np.allclose(np.sum(by_step, axis=0), totals['loss'].total, rtol=1e-6)


def test_measuring_is_exact_with_a_padded_last_batch(by_two):
    e = by_two
    states = e.init()
    numbers = finish_each(e.measure(states, 'test'))
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

    task = toy.task()
    for layout in ('vmap', 'loop', 'pmap'):
        e = engine(task=task._replace(measure=measure), layout_name=layout)
        totals = e.measure(e.init(), 'test')  # three full batches, and the padded one
        assert [each['mean'].weight for each in totals] == [3 * 2**24 + 1] * 2
        counts = [each['counts'].value()['confusion'].tolist() for each in totals]
        assert counts == [[[2**32] * 2]] * 2


def test_training_totals_count_beyond_2_to_the_24_and_31_and_survive_a_checkpoint(tmp_path):
    task = toy.task()

    def step(key, state, batch):
        return task.step(key, state, batch)[0], many(jnp.float32(2**24 - 1), 2**29)

    e = engine(task=task._replace(step=step), chunk=2)
    totals = e.no_totals()
    for tick in e.train(e.init(), start=0, stop=6, cadences=[6]):
        for _, metrics in tick.finished:
            totals = {name: totals[name] + metric for name, metric in metrics.items()}
    assert totals['mean'].weight.tolist() == [6 * (2**24 - 1)] * 2
    assert totals['counts'].counts.tolist() == [[[6 * 2**29] * 2]] * 2
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save({'totals': totals}, step=1, phase=0)
        saved = checkpoints.restore(lambda phase: {'totals': e.no_totals()})
    for a, b in zip(jax.tree.leaves(saved.state['totals']), jax.tree.leaves(totals), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_the_state_is_given_to_the_step_and_no_step_calls_the_host(by_two):
    e = by_two
    states = e.init()
    before = jax.tree.leaves(states)
    next(ticks := e.train(states, start=0, stop=4, cadences=[4]))
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
    for _ in e.train(e.init(), start=0, stop=4, cadences=[4]):
        pass
    warnings = [text for text in said if 'recompiles' in text]
    assert len(warnings) == 1 and 'int32[1, 8] -> int32[1, 9]' in warnings[0]


def test_compile_time_work_and_memory_are_said_in_one_line(by_two):
    for _ in by_two.train(by_two.init(), start=0, stop=4, cadences=[4]):
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
        for _ in e.train(e.init(), start=0, stop=9, cadences=[9]):
            pass


class Rows(Metric):
    """Every row that was measured."""

    x: jax.Array = joined()

    def value(self):
        return np.asarray(self.x)


def rows(nets, batch, key):
    return {'rows': Rows(batch['x'])}


@pytest.mark.parametrize('layout', ['vmap', 'loop', 'pmap'])
def test_seeds_share_batches_unless_the_source_is_private(layout):
    seen = {}
    for private in (False, True):
        source = dataclasses.replace(toy.train_source(private=private), batches=2)
        finite = dataclasses.replace(
            source, open=lambda *at, s=source: itertools.islice(s.open(*at), 2)
        )
        e = engine(
            seeds=[3, 4], layout_name=layout, evaluations={'rows': Eval(finite, measure=rows)}
        )
        numbers = finish_each(e.measure(e.init(), 'rows'))['rows']
        assert [len(each) for each in numbers] == [16, 16]  # two batches of 8, joined
        seen[private] = numbers
    assert np.array_equal(*seen[False]) and not np.array_equal(*seen[True])
    # Of its own rows, too, a seed sees those that it sees alone.
    alone = engine(seeds=[4], layout_name=layout, evaluations={'rows': Eval(finite, measure=rows)})
    assert np.array_equal(finish_each(alone.measure(alone.init(), 'rows'))['rows'][0], numbers[1])
    sent = [next(finite.open(seed, 0)) for seed in (3, 4)]
    near = [np.abs(x[:8] - toy.X[at]).max() < 1 for x, at in zip(numbers, sent, strict=True)]
    assert near == [True, True] and not np.array_equal(*sent)


def test_what_joins_is_not_measured_in_training():
    task = toy.task()

    def step(key, state, batch):
        state, metrics = task.step(key, state, batch)
        return state, {**metrics, 'rows': Rows(batch['x'])}

    with pytest.raises(UsageError, match='train/rows: a Rows joins rows'):
        _ = engine(task=task._replace(step=step)).about


def test_evaluations_of_one_shape_share_a_program():
    said = []
    tests = {
        'a': Eval(toy.test_source()),
        'b': Eval(toy.test_source(), show=lambda nets, batch, key: {'x': batch['x'][:2]}),
        'small': Eval(toy.test_source(batch=10)),
        'rows': Eval(toy.test_source(), measure=rows),
    }
    e = engine(evaluations=tests, say=said.append)
    states = e.init()
    found = {name: finish_each(e.measure(states, name)) for name in tests}
    assert sum('compiling measure' in text for text in said) == 3  # a and b; small; rows
    assert not any('recompiles' in text for text in said)
    assert found['a'].keys() == {'loss', 'accuracy', 'confusion', 'accuracy/each'}
    for name, values in found['a'].items():
        np.testing.assert_array_equal(values, found['b'][name])
        np.testing.assert_allclose(values, found['small'][name], rtol=1e-6)
    assert found['rows'].keys() == {'rows'}
    shown = e.show(states, 'b')['x']
    np.testing.assert_array_equal(shown, toy.X[:2])
    assert e.show(states, 'a') == {}


def test_what_is_measured_is_known_before_the_first_step():
    about = engine().about
    assert about['test']['accuracy'] == About((), 'higher')
    assert about['test']['loss'] == about['train']['loss'] == About((), 'lower')
    assert about['test']['confusion'] == About((2, 2))


@pytest.mark.parametrize(
    ('metric', 'message'),
    [
        ('acuracy', "no number 'acuracy' is measured; did you mean 'accuracy'"),
        ('confusion', "no number 'confusion' is measured"),
        ('neither', "nothing says which 'neither' is better"),
    ],
)
def test_what_keeps_the_best_must_be_a_number_with_a_direction(metric, message):
    task = toy.task()

    def measure(key, state, batch):
        return {**task.measure(key, state, batch), 'neither': Mean.of(1.0)}

    kept = keep_best(task._replace(measure=measure), metric)
    with pytest.raises(UsageError, match=message):
        _ = engine(task=kept, evaluations={'valid': Eval(toy.test_source())}).about


@pytest.mark.parametrize('name', ['test', 'valid'])
def test_an_evaluation_ends_and_training_does_not(name):
    endless, finite = toy.train_source(), toy.test_source()
    with pytest.raises(UsageError, match=rf"^{name}: 'toy' never ends.*in_order\(table"):
        engine(evaluations={name: Eval(endless)})
    with pytest.raises(UsageError, match=r"^train: 'toy test' ends after 4 batches.*shuffled\("):
        engine(source=finite)


def zeros(key, batch):
    return {'w': jnp.zeros(3)}


def counted(key, state, batch):
    return {'n': Mean.of(1.0)}


@pytest.mark.parametrize(
    ('step', 'line'),
    [
        (lambda k, s, b: s, r'it must return \(state, metrics\), not a dict'),
        (
            lambda k, s, b: ({'w': s['w'][:2]}, {}),
            r'another one: w is float32\[2\], and was float32',
        ),
        (lambda k, s, b: ({'w': s['w'] > 0}, {}), r'another one: w is bool\[3\], and was float32'),
        (lambda k, s, b: ({}, {}), r'another one: w is nothing, and was float32\[3\]'),
        (lambda k, s, b: ({**s, 'v': s['w']}, {}), 'another one: v is float32.3., and was nothing'),
        (lambda k, s, b: ([s['w']], {}), 'another one: '),
        (lambda k, s, b: (s, None), 'it must return metrics by name, not None'),
        (lambda k, s, b: (s, {'loss': s['w']}), "'loss' is an array and no metric; Mean.of"),
        (lambda k, s, b: (s, {1: Mean.of(1.0)}), '1 is no name of a metric'),
    ],
)
def test_a_step_returns_a_state_as_it_gets_it_and_metrics(step, line):
    with pytest.raises(UsageError, match=rf'^phase 0, the step \(.*test_engine.py:\d+\): .*{line}'):
        engine(task=Task(zeros, step, counted))


def test_what_is_raised_while_a_task_is_traced_is_one_line_that_says_where():
    def missing(key, state, batch):
        return batch['image'], {}

    def branching(key, state, batch):
        return (state if state['w'].sum() > 0 else None), {}

    with pytest.raises(
        UsageError, match=r"engine.py:\d+: KeyError: 'image'; of the columns"
    ) as raised:
        engine(task=Task(zeros, missing, counted))
    assert '(phase 0, the step; --debug' in str(raised.value) and '\n' not in str(raised.value)
    with pytest.raises(
        UsageError, match='TracerBoolConversionError: Attempted.*the step'
    ) as raised:
        engine(task=Task(zeros, branching, counted))
    assert '\n' not in str(raised.value)
    with pytest.raises(UsageError, match='KeyError.*phase 0, init; '):
        engine(task=Task(lambda key, batch: batch['image'], missing, counted))


def idle(key, state, batch):
    return state, counted(key, state, batch)


@pytest.mark.parametrize(
    ('measure', 'line'),
    [
        (lambda nets, batch, key: {'m': batch['x'].mean()}, "'m' is an array and no metric"),
        (lambda nets, batch, key: None, 'it must return metrics by name, not None'),
        (lambda nets, batch, key: {}['acc'], "KeyError: 'acc'"),
        (lambda nets, batch: {}, r'TypeError: .*takes 2 positional arguments'),
    ],
)
def test_a_measure_returns_metrics(measure, line):
    tests = {'test': Eval(toy.test_source(), measure)}
    with pytest.raises(UsageError, match=line) as raised:
        _ = engine(task=Task(zeros, idle, counted), evaluations=tests).about
    assert 'phase 0, the measure of test (' in str(raised.value)


@pytest.mark.parametrize(
    ('show', 'line'),
    [
        (lambda nets, batch, key: {'p': batch['x']}, "'p' is no sample; it is one of Images, "),
        (lambda nets, batch, key: None, 'it must return samples by name, not a NoneType'),
        (lambda nets, batch, key: nets['net'], "KeyError: 'net'"),
    ],
)
def test_what_is_shown_are_samples(show, line):
    tests = {'test': Eval(toy.test_source(), show=show)}
    with pytest.raises(UsageError, match=line) as raised:
        _ = engine(task=Task(zeros, idle, counted), evaluations=tests).identity
    assert 'phase 0, show of test (' in str(raised.value)


def test_what_keeps_the_best_needs_a_split_to_look_at():
    with pytest.raises(UsageError, match='has no split `valid`'):
        _ = engine(task=keep_best(toy.task(), 'accuracy')).about


@pytest.mark.parametrize('task', [toy.task(), keep_best(toy.task(), 'accuracy')])
@pytest.mark.parametrize('split', ['train', 'valid', 'test'])
def test_labels_of_every_split_are_checked_before_a_step_is_compiled(task, split, monkeypatch):
    sources = {'train': toy.train_source(), 'valid': toy.test_source(), 'test': toy.test_source()}
    wrong = sources[split]
    sources[split] = dataclasses.replace(wrong, resident={'x': toy.X, 'y': toy.Y + 1})
    tests = {name: Eval(sources[name]) for name in ('valid', 'test')}
    monkeypatch.setattr('jaxdl.engine.cost.cost', None)  # what comes after the check
    with pytest.raises(UsageError, match=rf"^{wrong.name}, batch \d: column 'y', row \d+ holds 2"):
        engine(task=task, source=sources['train'], evaluations=tests)


def test_a_measure_of_its_own_may_mean_something_else_by_a_name():
    def measure(nets, batch, key):
        return {'mean': Mean.of(batch['y'])}

    other = dataclasses.replace(toy.test_source(), resident={'x': toy.X, 'y': toy.Y + 5})
    assert engine(evaluations={'test': Eval(other, measure=measure)}).evaluations


@pytest.mark.parametrize('patience', [None, 1])
def test_keep_best_hands_out_the_best_state_seed_by_seed_and_stops_early(patience):
    e = engine(
        task=keep_best(toy.task(), 'accuracy', patience=patience),
        chunk=1,
        evaluations={'valid': Eval(toy.test_source())},
    )
    states = e.init()
    # Hand-made validation: seed 0 is best at the first review, seed 1 at the second.
    scores = [(0.9, 0.1), (0.5, 0.7), (0.6, 0.6)]
    live = []
    tick = None
    for tick in e.train(states, start=0, stop=3, cadences=[1]):
        live.append(jax.device_get(tick.states.live))
        tick.states = e.review(tick.states, {'accuracy': scores[tick.step - 1]})
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
