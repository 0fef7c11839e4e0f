"""Verdicts from the folders of arms: corrected, on the way there, over examples, at equal costs."""

import json
import math

import numpy as np
import pytest

from jaxdl.claims import area, better, gap, in_seeds, larger_lead, reaches, sooner
from jaxdl.files import read_json, seal, write_json
from jaxdl.metrics import About
from jaxdl.report import page, result
from jaxdl.report.finished import finished_arms
from jaxdl.report.recorded import results_table
from jaxdl.report.rejudged import rejudged
from jaxdl.report.rows import answers
from jaxdl.report.verdicts import corrected, judged
from jaxdl.run.record import Record
from jaxdl.run.registered import digests
from jaxdl.study import Claim, Verdict

METRIC = 'test/accuracy'
UP, DOWN = About((), 'higher'), About((), 'lower')

ORIGIN = {'experiment': 'abc', 'platform': 'cpu', 'layers': 'plain'}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(page, '_save', lambda folder, name, figure, alt: page.Shown('x', '', alt))


def write_arm(folder, curve, *, every=10, planned=None, seeds=None, seconds=1.0, arrays=None):
    """An arm with a curve [looks, seeds] of its test; in training it is 0.1 better."""
    curve = np.asarray(curve, float)
    seeds = list(range(curve.shape[1])) if seeds is None else seeds
    steps = every * len(curve)
    config = {'study': 'toy', 'arm': folder.name, 'seeds': seeds, 'params': {}}
    phases = [{'name': 'phase 0', 'steps': planned or steps}]
    write_json(folder / 'config.json', {**config, 'phases': phases})
    env = {'devices': ['cpu'], 'versions': {}, 'commit': None, 'command': 'c'}
    write_json(folder / 'env.json', {'starts': [{**env, 'platform': 'x', 'layout': 'vmap'}]})
    origin = {'origin': ORIGIN, 'phases': [], 'accepted': []}
    write_json(folder / 'identity.json', origin)
    with Record(folder, title='', seeds=seeds, steps=steps, tensorboard=False) as record:
        record.describe({METRIC: UP, 'train/accuracy': UP, 'train/loss': DOWN})
        for look, values in enumerate(curve, 1):
            numbers = {METRIC: values, 'train/accuracy': values + 0.1}
            record.metrics(every * look, phase=0, seconds=seconds * look, values=numbers)
        if arrays:
            record.arrays(arrays)
        metrics = {name: list(values) for name, values in numbers.items()}
        done = {'parameters': 1000, 'steps': steps, 'seconds': seconds * len(curve)}
        record.done({**done, 'metrics': metrics})


def report(folder, *claims):
    return result.write_report(folder, study='toy', question='?', claims=claims, command='c')


def alone(p, verdict='supported', **more):
    return {'text': 't', 'verdict': verdict, 'p': p, 'effect': 1.0, 'ci95': [0.5, 1.5], **more}


def test_what_holm_does_not_let_pass_is_undecided():
    claims = [alone(0.001), alone(0.03, 'refuted', reason='x'), alone(0.02), alone(None)]
    found = corrected([*claims, alone(0.4, 'undecided')])
    assert [claim['verdict'] for claim in found] == [
        *('supported', 'undecided', 'undecided', 'supported', 'undecided')
    ]
    assert [claim['p_holm'] for claim in found] == pytest.approx([0.004, 0.06, 0.06, None, 0.4])
    assert [claim.get('alone') for claim in found] == [None, 'refuted', 'supported', None, None]
    assert found[1]['reason'] == 'p 0.03 alone, 0.06 corrected for 4 claims; x'
    # One claim needs no correction, and what is corrected stays as it is.
    assert corrected([alone(0.03)])[0]['verdict'] == 'supported'
    assert corrected(found) == found


def test_a_corrected_verdict_is_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    write_arm(tmp_path / 'a', [[0.70, 0.71, 0.74, 0.72]])
    write_arm(tmp_path / 'b', [[0.66, 0.70, 0.69, 0.70]])
    write_arm(tmp_path / 'c', [rng.uniform(0.6, 0.8, 4)])
    claims = [better('a', 'b', METRIC), better('a', 'c', METRIC), better('b', 'c', METRIC)]
    told = report(tmp_path, *claims)
    claim = told['claims'][0]
    assert claim['p'] < 0.05 < claim['p_holm'] == pytest.approx(3 * claim['p'])
    assert (claim['verdict'], claim['alone']) == ('undecided', 'supported')
    assert (
        claim['reason'] == f'p {claim["p"]:.2g} alone, {claim["p_holm"]:.2g} corrected for 3 claims'
    )
    assert report(tmp_path, claims[0])['claims'][0]['verdict'] == 'supported'
    report(tmp_path, *claims)
    for name in ('report.md', 'report.html'):
        text = (tmp_path / name).read_text()
        assert claim['reason'] in text and 'supported</span>' not in text
    # A record from before verdicts were corrected is read the same way.
    old = json.loads(json.dumps(told))
    for each in old['claims']:
        each['verdict'] = each.pop('alone', each['verdict'])
        del each['p_holm'], each['reason']
    assert old['claims'][0]['verdict'] == 'supported'
    assert '3 undecided' in results_table([old | {'seconds': 1.0}])
    assert answers(old)[0].verdict == 'undecided'


def test_numbers_on_the_way_there_are_judged_and_shown(tmp_path):
    # a is at 0.5 from step 10 or 20 on, b from step 30 or never.
    write_arm(tmp_path / 'a', [[0.5, 0.4], [0.5, 0.6], [0.5, 0.6]])
    write_arm(tmp_path / 'b', [[0.1, 0.2], [0.3, 0.2], [0.5, 0.4]])
    name = 'steps to test/accuracy >= 0.5'
    told = report(
        tmp_path,
        sooner('a', 'b', METRIC, at_least=0.5),
        better('a', 'b', area(METRIC)),
        reaches('a', gap('accuracy'), at_most=0.2),
    )
    steps, areas, gaps = told['claims']
    assert told['arms']['a']['metrics'][name]['per_seed'] == [10, 20]
    assert told['arms']['b']['metrics'][name]['per_seed'] == [30, 30]
    assert told['better'][name] == 'lower' and name in told['shown']
    assert (steps['effect'], steps['metric']) == (15.0, name)
    late = (
        'test/accuracy >= 0.5 is not reached in 30 steps, the whole length, by seed 1 of b: that '
        'counts'
    )
    assert steps['reason'] == late and told['arms']['b']['notes'] == [f'{name}: {late}']
    # (0.5 - (0.1 + 0.3 + 0.3 + 0.5) / 4, (0.4 + 0.6 + 0.6 + 0.6) / 4 - (0.2 + 0.2 + 0.2 + 0.4) / 4)
    assert areas['effect'] == pytest.approx((0.2 + 0.3) / 2)
    assert gaps['effect'] == pytest.approx(0.1)
    assert told['arms']['a']['metrics']['gap of test/accuracy']['mean'] == pytest.approx(0.1)
    text = (tmp_path / 'report.md').read_text()
    assert name in text and 'area of test/accuracy' in text and 'gap of test/accuracy' in text


def test_runs_of_other_lengths_are_compared_up_to_the_shorter_one(tmp_path):
    # a never gets there in 20 steps; b does at step 60 of 100.
    write_arm(tmp_path / 'a', [[0.1, 0.2]] * 2)
    write_arm(tmp_path / 'b', [[0.1, 0.2]] * 5 + [[0.9, 0.9]] * 5)
    told = report(tmp_path, sooner('a', 'b', METRIC, at_least=0.5))
    (claim,) = told['claims']
    assert told['arms']['b']['metrics'][claim['metric']]['per_seed'] == [60, 60]
    assert (claim['effect'], claim['verdict']) == (0.0, 'undecided')
    late = 'in 20 steps, the length of the shorter run, by seeds 0, 1 of a and seeds 0, 1 of b'
    assert late in claim['reason'] and 'every difference is 0' in claim['reason']
    assert '20 steps, the whole length, by seeds 0, 1 of a' in told['arms']['a']['notes'][0]


def test_areas_over_other_numbers_of_steps_are_said_to_be(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2]] * 2)
    write_arm(tmp_path / 'b', [[0.1, 0.2]] * 4)
    write_arm(tmp_path / 'c', [[0.3, 0.5]] * 4)
    write_arm(tmp_path / 'd', [[0.3, 0.5]] * 3, planned=40)  # stopped early: its last value stays
    claims = [better(one, 'b', area(METRIC)) for one in ('a', 'c', 'd')]
    told = json.loads(json.dumps(report(tmp_path, *claims)))
    assert (
        'curves are of other lengths: 20 steps of a, 40 steps of b' in told['claims'][0]['reason']
    )
    assert [it['reason'] for it in told['claims'][1:]] == ['', '']
    assert rejudged(told, claims)['claims'] == told['claims']


def test_a_recorded_result_is_judged_again_up_to_the_shorter_run(tmp_path):
    # In 20 steps a got there at 10, and b, which goes on to 100, not yet.
    write_arm(tmp_path / 'a', [[0.6, 0.2], [0.6, 0.7]])
    write_arm(tmp_path / 'b', [[0.1, 0.2]] * 5 + [[0.9, 0.9]] * 2 + [[0.1, 0.1]] * 3)
    claims = [
        sooner('a', 'b', METRIC, at_least=0.5),
        sooner('a', 'b', METRIC, at_least=0.5, by='seconds'),
        sooner('b', 'a', METRIC, at_least=2.0),
    ]
    told = json.loads(json.dumps(report(tmp_path, *claims)))
    assert [it['effect'] for it in told['claims']] == [5.0, 0.5, 0.0]
    assert rejudged(told, claims)['claims'] == told['claims']


def test_seconds_of_seeds_trained_apart_are_not_compared_when_judged_again(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2, 0.6]] * 3)
    write_arm(tmp_path / 'b', [[0.1, 0.2]] * 3)
    write_arm(tmp_path / 'b' / 'seeds' / '2-2', [[0.6]] * 3, seeds=[2])
    claims = [sooner('a', 'b', METRIC, at_least=0.5, by=by) for by in ('seconds', 'steps')]
    claims.append(better('a', 'b', METRIC))
    told = json.loads(json.dumps(report(tmp_path, *claims)))
    assert 'trained at once, 3 in a, 1 or 2 in b' in told['claims'][0]['reason']
    # What has nothing to do with seconds is judged all the same.
    words = [it['verdict'] for it in told['claims']]
    assert words == ['not judged', 'undecided', 'undecided']
    assert told['claims'][1]['effect'] == told['claims'][2]['effect'] == 0
    assert rejudged(told, claims)['claims'] == told['claims']


def test_what_stopped_early_counts_as_it_was_planned(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2]] * 2, planned=100)
    (arm,) = finished_arms(tmp_path, derive=['steps to test/accuracy >= 0.5', area(METRIC)])
    assert arm.metrics['steps to test/accuracy >= 0.5'].tolist() == [100, 100]
    assert arm.metrics[area(METRIC)] == pytest.approx([0.1, 0.2])


def test_seconds_are_those_of_all_seeds_at_once(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2], [0.9, 0.9]], seconds=2.0)
    write_arm(tmp_path / 'b', [[0.1, 0.9], [0.9, 0.9]], seconds=3.0)
    claim = sooner('a', 'b', METRIC, at_least=0.5, by='seconds')
    told = report(tmp_path, claim)
    # b in 6 and 3 seconds, but the run of a is over after 4: 4 and 3.
    assert told['arms']['b']['metrics'][claim.metric]['per_seed'] == [6, 3]
    assert told['claims'][0]['effect'] == pytest.approx((4 - 4 + 3 - 4) / 2)
    write_arm(tmp_path / 'b', [[0.1, 0.9, 0.5]], seconds=3.0)
    (judged,) = report(tmp_path, claim)['claims']
    assert judged['verdict'] == 'not judged'
    assert judged['reason'].endswith('of all seeds that are trained at once, 2 in a, 3 in b')


def test_seeds_that_were_added_later_are_as_if_they_had_been_there(tmp_path):
    curve = np.array([[0.1, 0.2, 0.3], [0.6, 0.1, 0.5], [0.6, 0.9, 0.7]])
    names = ['steps to test/accuracy >= 0.5', 'seconds to test/accuracy >= 0.5', area(METRIC)]
    write_arm(tmp_path / 'a', curve)
    write_arm(tmp_path / 'b', curve[:, [0, 2]], seeds=[0, 2])
    write_arm(tmp_path / 'b' / 'seeds' / '1', curve[:, [1]], seeds=[1])
    a, b = finished_arms(tmp_path, derive=names)
    for name in names:
        assert b.metrics[name].tolist() == a.metrics[name].tolist()
    assert a.together.tolist() == [3, 3, 3] and b.together.tolist() == [2, 1, 2]


def test_the_numbers_of_an_earlier_phase(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2], [0.5, 0.2], [0.6, 0.6]])
    config = read_json(tmp_path / 'a' / 'config.json')
    phases = [{'name': 'first', 'steps': 20}, {'name': 'phase 1', 'steps': 10}]
    write_json(tmp_path / 'a' / 'config.json', {**config, 'phases': phases})
    path = tmp_path / 'a' / 'metrics.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [{**line, 'phase': int(i == 2)} for i, line in enumerate(lines)]
    path.write_text(''.join(json.dumps(seal(line)) + '\n' for line in lines))
    done = read_json(tmp_path / 'a' / 'DONE')
    write_json(tmp_path / 'a' / 'DONE', {**done, 'files': {}})
    names = ['steps to first/test/accuracy >= 0.5', 'steps to test/accuracy >= 0.5']
    (arm,) = finished_arms(tmp_path, derive=[*names, area(f'first/{METRIC}'), area(METRIC)])
    # Within the earlier phase, which ends at step 20; and from the start of the run on.
    assert arm.metrics[names[0]].tolist() == [20, 20]
    assert arm.times[names[0]].first.tolist() == [20, math.inf]
    assert arm.metrics[names[1]].tolist() == [30, 30]
    assert arm.metrics[area(f'first/{METRIC}')] == pytest.approx([0.3, 0.2])
    assert arm.metrics[area(METRIC)] == pytest.approx([0.6, 0.6])


def test_a_number_that_cannot_be_derived_is_not_judged(tmp_path):
    write_arm(tmp_path / 'a', [[0.1, 0.2]])
    (claim,) = report(tmp_path, reaches('a', gap('loss'), at_most=1))['claims']
    assert claim['verdict'] == 'not judged' and "the metric 'gap of test/loss'" in claim['reason']


def each_of(rng, seeds, n, shift=0.0):
    values = rng.uniform(size=(seeds, n)) < 0.7 + shift
    return values.astype(np.float32)


def test_the_interval_over_seeds_and_examples(tmp_path):
    rng = np.random.default_rng(0)
    each = {name: each_of(rng, 5, 400, shift) for name, shift in {'a': 0.1, 'b': 0.0}.items()}
    each['a'][2, 7] = np.nan
    for name, values in each.items():
        arrays = {f'{METRIC}/each': values, f'{METRIC}/rows': np.tile(np.arange(400), (5, 1))}
        write_arm(tmp_path / name, [np.nanmean(values.astype(float), 1)], arrays=arrays)
    claims = [
        better('a', 'b', METRIC),
        reaches('a', METRIC, at_least=0.5),
        larger_lead(('a', 'b'), ('b', 'a'), METRIC),
        in_seeds('a', METRIC, at_least=0.1),
        better('a', 'b', area(METRIC)),
    ]
    told = report(tmp_path, *claims)
    paired, reached, lead, *without = told['claims']
    assert all('ci95_examples' not in claim for claim in without)
    assert paired['examples'] == reached['examples'] == lead['examples'] == 400
    for claim, spread in ((paired, math.sqrt(2 * 0.2 / 2000)), (reached, math.sqrt(0.16 / 2000))):
        low, high = claim['ci95_examples']
        assert low < claim['effect'] < high
        # Examples and seeds are independent here, where the bootstrap's variance is threefold.
        assert 2 * 1.96 * spread < high - low < 2 * 1.96 * 2.2 * spread
    # The same draws for both pairs: twice the difference of one.
    assert lead['ci95_examples'] == pytest.approx([2 * end for end in paired['ci95_examples']])
    for name in ('report.md', 'report.html'):
        assert 'over seeds and examples' in (tmp_path / name).read_text()
    assert answers(told)[0].examples.startswith('[0.')


@pytest.mark.parametrize('why', ['rows', 'size', 'mean', 'missing', 'seed'])
def test_there_is_no_interval_over_examples_that_are_not_the_same(why, tmp_path):
    rng = np.random.default_rng(0)
    for name in 'ab':
        values = each_of(rng, 3, 30 if why != 'size' or name == 'a' else 20).astype(float)
        rows = np.tile(np.arange(values.shape[1]), (3, 1))
        means = values.mean(1)
        if name == 'b':
            rows[1] += why == 'rows'
            means = means + 0.1 * (why == 'mean')
            values[0] = np.nan if why == 'seed' else values[0]
        arrays = {f'{METRIC}/each': values, f'{METRIC}/rows': rows}
        given = arrays if why != 'missing' or name == 'a' else None
        write_arm(tmp_path / name, [means], arrays=given)
    claim, own = report(tmp_path, better('a', 'b', METRIC), reaches('a', METRIC, at_least=0))[
        'claims'
    ]
    assert 'ci95_examples' not in claim and claim['p'] is not None
    assert 'ci95_examples' in own


def test_a_baseline_has_the_examples_of_each_seed_where_those_that_are_trained_have(tmp_path):
    each = each_of(np.random.default_rng(0), 3, 30).astype(float)
    for name in ('a', 'nearest'):
        write_arm(tmp_path / name, [each.mean(1)], arrays={f'{METRIC}/each': each})
    config = read_json(tmp_path / 'nearest' / 'config.json')
    write_json(tmp_path / 'nearest' / 'config.json', {**config, 'phases': []})
    assert 'ci95_examples' in report(tmp_path, reaches('nearest', METRIC, at_least=0))['claims'][0]
    told = read_json(tmp_path / 'a' / 'numbers.json')
    told[METRIC]['drawn'] = True
    write_json(tmp_path / 'a' / 'numbers.json', told)
    claims = [reaches('nearest', METRIC, at_least=0), better('a', 'nearest', METRIC)]
    assert all('ci95_examples' not in it for it in report(tmp_path, *claims)['claims'])


def test_a_baseline_whose_examples_do_not_average_to_its_number_has_no_second_interval(tmp_path):
    each = each_of(np.random.default_rng(0), 3, 30).astype(float)
    for name in ('a', 'nearest', 'trained'):
        off = 0.0 if name == 'a' else 0.1
        write_arm(tmp_path / name, [each.mean(1) + off], arrays={f'{METRIC}/each': each})
    config = read_json(tmp_path / 'nearest' / 'config.json')
    write_json(tmp_path / 'nearest' / 'config.json', {**config, 'phases': []})
    claims = [reaches(name, METRIC, at_least=0) for name in ('a', 'nearest', 'trained')]
    own, nearest, trained = report(tmp_path, *claims)['claims']
    assert 'ci95_examples' in own and 'examples' not in own['reason']
    assert 'ci95_examples' not in nearest and 'ci95_examples' not in trained
    said = f'no interval over examples: the mean of {METRIC}/each is another number in nearest'
    # Of what is trained a number need not be a mean.
    assert said in nearest['reason'] and 'examples' not in trained['reason']


def test_a_claim_on_baselines_alone_is_confirmatory_if_it_was_there_when_they_began(tmp_path):
    early, late = (reaches('nearest', METRIC, at_least=bound) for bound in (0.1, 0.2))
    for name in ('a', 'nearest'):
        write_arm(tmp_path / name, [[0.5, 0.6]])
        starts = read_json(tmp_path / name / 'env.json')['starts']
        starts[0]['claims'] = digests([early])
        write_json(tmp_path / name / 'env.json', {'starts': starts})
    config = read_json(tmp_path / 'nearest' / 'config.json')
    write_json(tmp_path / 'nearest' / 'config.json', {**config, 'phases': []})
    found = report(tmp_path, early, late)['claims']
    assert [it['when'] for it in found] == ['confirmatory', 'exploratory']


def test_what_is_equal_only_in_name_is_not_judged(tmp_path):
    write_arm(tmp_path / 'a', [[0.7, 0.8, 0.8]])
    write_arm(tmp_path / 'b', [[0.1, 0.1, 0.2]])
    parameters = better('a', 'b', METRIC, equal='parameters')
    flops = better('a', 'b', METRIC, equal='flops')
    told = report(tmp_path, parameters, flops)
    assert [claim['verdict'] for claim in told['claims']] == ['supported', 'not judged']
    assert told['claims'][1]['reason'] == 'the flops of a, b are not known: not at equal flops'
    assert told['claims'][0]['equal'] == 'parameters'
    done = read_json(tmp_path / 'b' / 'DONE')
    write_json(tmp_path / 'b' / 'DONE', {**done, 'parameters': 1120})
    claim = report(tmp_path, parameters)['claims'][0]
    assert (
        claim['reason']
        == 'parameters differ by 12 % (1,000 against 1,120): not at equal parameters'
    )
    assert (claim['verdict'], claim['effect'], claim['p']) == ('not judged', None, None)


def test_a_verdict_on_an_arm_that_still_moved_holds_at_this_budget(tmp_path):
    write_arm(tmp_path / 'a', [[0.7, 0.8, 0.8]])
    write_arm(tmp_path / 'b', [[0.1, 0.1, 0.2]])
    arms = finished_arms(tmp_path)
    told = {'a': {'moving': []}, 'b': {'moving': ['train/loss falls', 'valid/accuracy rises']}}
    claims = [better('a', 'b', METRIC), reaches('a', METRIC, at_least=0), better('b', 'a', METRIC)]
    claims.append(Claim('own', ('b',), METRIC, lambda r, b: Verdict('undecided', 0, (0, 1), 0.9)))
    found = judged(claims, arms, unfinished={}, told=told)
    moved = 'at this budget: b still moved (train/loss falls, valid/accuracy rises)'
    assert [claim['reason'] for claim in found] == [moved, '', moved, '']
    assert [claim['verdict'] for claim in found] == [
        *('supported', 'supported', 'refuted', 'undecided')
    ]
