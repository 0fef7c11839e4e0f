"""The report against numbers worked out by hand, and its two promises: whole and repeatable."""

import base64
import html.parser
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jaxdl.claims import better, in_seeds, reaches
from jaxdl.derived import twin
from jaxdl.errors import UsageError
from jaxdl.files import read_json, unseal, write_json
from jaxdl.metrics import About
from jaxdl.report import figures, numerals, page
from jaxdl.report.finished import Curve, finished_arms
from jaxdl.report.result import verdict_lines, write_report
from jaxdl.report.rows import best
from jaxdl.run.record import Record
from jaxdl.samples import Audio, Images, Texts
from jaxdl.study import Claim, Verdict

ORIGIN = {'experiment': 'abc', 'platform': 'cpu', 'layers': 'plain'}


def write_arm(
    folder, values, *, losses=None, params=None, seeds=None, env=None, done=True, before=False
):
    """An arm as the host loop writes it: 10 steps, two evaluations, `values` at the end."""
    seeds = list(range(len(values))) if seeds is None else seeds
    phases = [{'name': 'pretrain', 'steps': 4}, {'name': 'phase 1', 'steps': 6}]
    params = {'width': 8, 'lr': 0.1} if params is None else params
    config = {'study': 'toy', 'arm': folder.name, 'seeds': seeds, 'params': params}
    write_json(folder / 'config.json', {**config, 'phases': phases})
    env = {'devices': ['cpu'], 'versions': {'jax': '0.10.2'}, 'commit': 'abc'} | (env or {})
    env |= {'command': 'jaxdl run toy', 'platform': 'Linux', 'layout': 'vmap'}
    write_json(folder / 'env.json', {'starts': [env]})
    identity = {'origin': ORIGIN, 'phases': [], 'accepted': []}
    write_json(folder / 'identity.json', identity)
    losses = [0.5] * len(values) if losses is None else losses
    metrics = {'test/accuracy': values, 'train/loss': losses}
    about = {'test/accuracy': About((), 'higher'), 'train/loss': About((), 'lower')}
    with Record(folder, title='t', seeds=seeds, steps=10, tensorboard=False) as record:
        record.describe({**about, 'pretrain/test/accuracy': About((), 'higher')})
        start = {'test/accuracy': [0.1] * len(values), 'train/loss': [1.0] * len(values)}
        record.metrics(4, phase=0, seconds=1.0, values=start)
        record.metrics(10, phase=1, seconds=2.0, values=metrics)
        if done:
            metrics |= {'pretrain/test/accuracy': start['test/accuracy']} if before else {}
            record.done({'parameters': 1234, 'steps': 10, 'seconds': 2.5, 'metrics': metrics})


@pytest.fixture
def undrawn(monkeypatch):
    """Reports whose figures are not drawn: what they show is in other tests."""
    monkeypatch.setattr(page, '_save', lambda folder, name, figure, alt: page.Shown('x', '', alt))


def report(folder, *claims, **options):
    return write_report(
        folder, study='toy', question='Is a < b & c?', claims=claims, command='c', **options
    )


NONE = '4f53cda18c2b'  # the digest of no phases
JUDGE = "Paired(a='{a}', b='{b}', metric='{metric}', bound=0.0, inclusive=False)"


@pytest.mark.usefixtures('undrawn')
def test_result_json_by_hand(tmp_path):
    write_arm(tmp_path / 'a', [1.0, 2.0, 3.0, 4.0, 5.0], losses=[0.5, math.nan, 0.5, 0.5, 0.5])
    write_arm(tmp_path / 'b', [0.0, 1.0, 2.0, 2.5, 4.0])
    returned = report(tmp_path, better('a', 'b', 'test/accuracy'), better('a', 'c', 'm'))
    text = (tmp_path / 'result.json').read_text()
    result = unseal(json.loads(text, parse_constant=pytest.fail), 'result')
    assert result == returned

    # Differences 1, 1, 1, 1.5, 1: mean 1.1, standard error 0.1, t = 11.
    claim = result['claims'][0]
    assert claim.pop('ci95') == pytest.approx([1.1 - 0.27764451, 1.1 + 0.27764451])
    assert claim.pop('p_holm') == claim.pop('p') == pytest.approx(0.000388, abs=1e-6)
    half = 2.7764451 * math.sqrt(0.5)  # t(4, 0.975) * standard error
    accuracy = result['arms']['a']['metrics'].pop('test/accuracy')
    assert accuracy.pop('ci95') == pytest.approx([3 - half, 3 + half])
    assert accuracy == {'mean': 3.0, 'per_seed': [1.0, 2.0, 3.0, 4.0, 5.0]}
    del result['arms']['b']
    assert result == {
        'study': 'toy',
        'question': 'Is a < b & c?',
        'command': 'c',
        'commands': ['jaxdl run toy'],
        'experiment': 'abc',
        'seeds': [0, 1, 2, 3, 4],
        'devices': ['cpu'],
        'versions': {'jax': '0.10.2'},
        'seconds': 5.0,
        'commit': 'abc',
        'better': {
            **{'test/accuracy': 'higher', 'train/loss': 'lower'},
            'pretrain/test/accuracy': 'higher',
        },
        'shown': ['test/accuracy'],
        'notes': [],
        'tuning': None,
        'arms': {
            'a': {
                'parameters': 1234,
                'steps': 10,
                'seconds': 2.5,
                'flops': None,
                'epochs': None,
                'moving': None,
                'params': {'width': 8, 'lr': 0.1},
                'seeds': [0, 1, 2, 3, 4],
                'digests': {
                    **{'experiment': 'abc', 'backend': 'cpu, plain'},
                    **{'programs': NONE, 'data': NONE},
                },
                'steps_done': [10] * 5,
                'best_step': None,
                'notes': [],
                'metrics': {
                    # One seed without a finite loss: no mean is made up for it.
                    'train/loss': {
                        'mean': None,
                        'ci95': [None, None],
                        'per_seed': [0.5, None, 0.5, 0.5, 0.5],
                    }
                },
            }
        },
        'claims': [
            {
                'text': 'a has a better test/accuracy than b',
                'arms': ['a', 'b'],
                'metric': 'test/accuracy',
                'judge': JUDGE.format(a='a', b='b', metric='test/accuracy'),
                'when': 'exploratory',  # its start knew of no claims
                'verdict': 'supported',
                'effect': 1.1,
                'kind': 'mean difference',
                'reason': '',
            },
            {
                'text': 'a has a better m than c',
                'arms': ['a', 'c'],
                'metric': 'm',
                'judge': JUDGE.format(a='a', b='c', metric='m'),
                'when': '',
                'verdict': 'not run',
                'effect': None,
                'ci95': [None, None],
                'p': None,
                'p_holm': None,
                'kind': 'mean difference',
                'reason': 'c was not run',
            },
        ],
    }


@pytest.mark.usefixtures('undrawn')
def test_a_claim_is_judged_on_the_seeds_its_arms_share(tmp_path):
    write_arm(tmp_path / 'a', [9.0, 1.0, 2.1, 3.0], seeds=[7, 0, 1, 2])
    write_arm(tmp_path / 'b', [2.9, 2.0, 0.89], seeds=[2, 1, 0])
    claim = report(tmp_path, better('a', 'b', 'test/accuracy'))['claims'][0]
    assert claim['effect'] == pytest.approx(0.31 / 3)
    assert claim['verdict'] == 'supported'
    assert claim['reason'] == 'over seeds 0, 1, 2, which all its arms have'


def claimed(folder, *claims, **options):
    """Verdicts and reasons, which stand in every form of the report."""
    result = report(folder, *claims, **options)
    stream = io.StringIO()
    Console(file=stream, width=400).print(verdict_lines(result, folder))
    texts = [stream.getvalue(), (folder / 'report.md').read_text()]
    texts += [''.join(read_page(folder)[0].text)]
    for claim in result['claims']:
        for text in texts:
            assert claim['verdict'] in text and claim['reason'] in text
    return [(claim['verdict'], claim['reason']) for claim in result['claims']]


@pytest.mark.usefixtures('undrawn')
def test_a_claim_that_cannot_be_judged_is_shown_with_the_reason(tmp_path):
    write_arm(tmp_path / 'a', [1.0, 2.0], seeds=[0, 1])
    write_arm(tmp_path / 'b', [1.0, 2.0], seeds=[8, 9])
    write_arm(tmp_path / 'gone', [1.0, 2.0], done=False)
    write_json(tmp_path / 'gone' / 'DIVERGED', {'why': 'the loss of seed 1 is not finite'})

    def own(results, better):
        raise UsageError('nothing to see')

    assert claimed(
        tmp_path,
        better('a', 'b', 'test/accuracy'),
        better('a', 'gone', 'test/accuracy'),
        reaches('a', 'test/acuracy', at_least=1),
        Claim('own', ('a',), 'test/accuracy', own),
    ) == [
        ('not judged', 'no seed in common: a has seeds 0, 1; b has seeds 8, 9'),
        ('not run', 'gone is not finished: the loss of seed 1 is not finite'),
        (
            'not judged',
            "a claim names the metric 'test/acuracy' of arm 'a'; did you mean 'test/accuracy'? "
            '(allowed: test/accuracy, train/loss)',
        ),
        ('not judged', 'nothing to see'),
    ]


@pytest.mark.usefixtures('undrawn')
def test_a_number_that_is_nan_is_named_and_decides_nothing(tmp_path):
    write_arm(tmp_path / 'a', [3.0, math.nan, 3.1], seeds=[0, 4, 7])
    write_arm(tmp_path / 'b', [1.0, 1.1, 1.0], seeds=[0, 4, 7])
    # Of a judge's own that takes no care of NaN.
    own = Claim('own', ('b', 'a'), 'test/accuracy', lambda r, b: Verdict('refuted', 0, (0, 0), 0))
    assert claimed(
        tmp_path,
        better('a', 'b', 'test/accuracy'),
        reaches('a', 'test/accuracy', at_least=2),
        in_seeds('a', 'test/accuracy', at_least=2, seeds=3, of=3),
        in_seeds('a', 'test/accuracy', at_least=2, seeds=1, of=99),
        own,
    ) == [
        ('undecided', 'test/accuracy of seed 4 is NaN in a'),
        ('undecided', 'test/accuracy of seed 4 is NaN'),
        ('undecided', 'test/accuracy of seed 4 is NaN'),
        ('supported', 'test/accuracy of seed 4 is NaN'),
        ('undecided', 'test/accuracy of seed 4 is NaN in a'),
    ]
    for name in ('report.md', 'report.html'):
        assert 'a: test/accuracy of seed 4 is NaN' in (tmp_path / name).read_text()
    write_arm(tmp_path / 'a', [math.nan] * 3, seeds=[0, 4, 7])
    assert claimed(tmp_path, better('a', 'b', 'test/accuracy')) == [
        ('undecided', 'test/accuracy of seeds 0, 4, 7 is NaN in a')
    ]


@pytest.mark.usefixtures('undrawn')
def test_one_seed_decides_nothing_and_a_smoke_run_says_so(tmp_path):
    write_arm(tmp_path / 'a', [1.0])
    assert claimed(tmp_path, reaches('a', 'test/accuracy', at_least=0)) == [
        ('undecided', 'one seed has no interval')
    ]
    config = json.loads((tmp_path / 'a' / 'config.json').read_text())
    write_json(tmp_path / 'a' / 'config.json', {**config, 'smoke': True})
    assert 'a smoke run' in report(tmp_path)['notes'][0]
    assert 'a smoke run' in (tmp_path / 'report.md').read_text()


def stopped_early(folder, steps, best):
    """An arm of 10 steps whose last phase, of 6, keeps its best state."""
    write_arm(folder, [0.5] * len(steps))
    done = json.loads((folder / 'DONE').read_text())
    done['metrics'] |= {'valid/steps': steps, 'valid/best_step': best}
    write_json(folder / 'DONE', done)


@pytest.mark.usefixtures('undrawn')
def test_the_steps_that_each_seed_did_and_its_best_one(tmp_path):
    stopped_early(tmp_path / 'a', [2.0, 6.0, 6.0], [2.0, None, 3.0])
    write_arm(tmp_path / 'b', [0.4] * 3)
    result = report(tmp_path)
    assert result['arms']['a']['steps_done'] == [6, 10, 10]  # with the 4 of the phase before
    assert result['arms']['a']['best_step'] == [2, None, 3]
    text = (tmp_path / 'report.md').read_text()
    assert '| arm | parameters | test/accuracy | seeds | steps | best step | time |' in text
    assert '| a | 1,234 | **0.5** | 3 | 6–10 | 2–3 | 2.5 s |' in text
    assert '| b | 1,234 | 0.4 | 3 | 10 | – | 2.5 s |' in text
    assert '| a | 10 | 0 / 1 / 2 | 6 / 10 / 10 | 2 / none / 3 |' in text
    for name in ('report.md', 'report.html'):
        said = (tmp_path / name).read_text()
        assert 'a: no score of seed 1 was finite: the last state is measured, not a best' in said


def test_a_phase_that_stopped_early_ends_where_its_numbers_end(tmp_path, monkeypatch):
    write_arm(tmp_path / 'a', [0.5])
    monkeypatch.setattr(
        'jaxdl.report.finished.read_metrics', lambda folder, **more: [{'phase': 0, 'step': 3}]
    )
    (arm,) = finished_arms(tmp_path)
    assert arm.ends == {'pretrain': 3}


@pytest.mark.usefixtures('undrawn')
def test_arms_of_different_places_are_all_named(tmp_path):
    two = {'devices': ['H100', 'H100'], 'versions': {'jax': '0.11.2', 'numpy': '2'}, 'commit': None}
    write_arm(tmp_path / 'a', [1.0, 2.0], env=two)
    write_arm(tmp_path / 'b', [1.0, 2.0])
    result = report(tmp_path)
    assert result['devices'] == ['H100', 'H100', 'cpu']
    assert result['versions'] == {'jax': '0.11.2, 0.10.2', 'numpy': '2'}
    assert result['commit'] == 'abc'
    assert '2 × H100, cpu' in (tmp_path / 'report.md').read_text()


@pytest.mark.usefixtures('undrawn')
def test_only_finished_arms_count(tmp_path):
    write_arm(tmp_path / 'a', [1.0, 2.0], done=False)
    with pytest.raises(UsageError, match='has no finished arm'):
        report(tmp_path)
    write_arm(tmp_path / 'b', [1.0, 2.0])
    assert list(report(tmp_path)['arms']) == ['b']
    for name in ('report.md', 'report.html'):
        assert 'a is not finished' in (tmp_path / name).read_text()


def test_the_same_run_gives_the_same_bytes(tmp_path):
    write_arm(tmp_path / 'a', [0.1, 0.2, 0.4])
    write_arm(tmp_path / 'b', [0.3, 0.2, 0.1])
    claims = better('a', 'b', 'test/accuracy'), in_seeds('a', 'test/accuracy', at_least=0.2)

    def files():
        found = [p for p in tmp_path.rglob('*') if p.is_file()]
        return {path.relative_to(tmp_path): path.read_bytes() for path in found}

    report(tmp_path, *claims)
    first = files()
    report(tmp_path, *claims)
    assert files() == first
    # A claim that is no more leaves no figure behind.
    report(tmp_path, claims[0])
    assert not (tmp_path / 'figures' / 'claim-2.png').exists()


class Page(html.parser.HTMLParser):
    """The tags, text and addresses of a page; fails where a tag is not closed."""

    VOID = frozenset({'meta', 'img', 'br', 'path', 'use', 'rect', 'image', 'circle'})

    def __init__(self):
        super().__init__()
        self.open, self.text, self.addresses, self.tags, self.ids = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ('src', 'href', 'xlink:href')]
        self.ids += [v for k, v in attrs if k == 'id']
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_page(folder):
    text = (folder / 'report.html').read_text()
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page, text


def test_report_html_stands_alone(tmp_path):
    write_arm(tmp_path / 'a', [0.91, 0.92, 0.94])
    write_arm(tmp_path / 'b<i>', [0.81, 0.85, 0.83], params={'width': 16, 'lr': 0.1})
    with Record(tmp_path / 'a', title='', seeds=[0], steps=10, resume_at=10) as record:
        record.samples(4, {'digits': Images(np.zeros((1, 2, 2, 1)))})
        record.samples(10, {'digits': Images(np.ones((1, 2, 2, 1)))})
        record.samples(10, {'said': Texts(np.array([[ord(c) for c in '<b>&']]))})
        counts = np.array([[[9, 1], [0, 10]], [[8, 2], [0, 10]], [[8, 2], [0, 10]]])
        record.arrays({'test/confusion': counts, 'test/other': np.zeros(3)})
        record.done(read_json(tmp_path / 'a' / 'DONE'))  # again: it covers the arrays
    report(tmp_path, better('a', 'b<i>', 'test/accuracy'), reaches('a', 'test/accuracy', at_most=1))
    page, text = read_page(tmp_path)
    # Nothing from elsewhere: images are data, the rest points into the page itself.
    assert all(address.startswith(('data:', '#')) for address in page.addresses)
    assert not re.search(r'url\((?!#)|@import|<script|<link', text)
    assert 'prefers-color-scheme: dark' in text
    assert '@media print' in text
    # Nothing of the study is read as HTML.
    said = ''.join(page.text)
    assert 'Is a < b & c?' in said
    assert '<b>&' in said
    assert page.tags.count('img') == 1
    # 2 claims, 2 curves, 1 row of seeds, 1 confusion matrix; ids are unique over all of them.
    assert page.tags.count('svg') == 6
    assert len(set(page.ids)) == len(page.ids)
    assert '8.5' in said
    # In print every colour of a figure is the page's own: no ink that a dark page would hide.
    assert not re.search('|'.join(figures.PAGE), text[text.index('</style>') :])

    markdown = (tmp_path / 'report.md').read_text()
    linked = re.findall(r'!\[[^\]]*\]\(([^)]*)\)', markdown)
    assert 'a/samples/digits_00000010.png' in linked
    assert 'a/samples/digits_00000004.png' not in linked
    assert len(linked) == 7
    assert all((tmp_path / link).is_file() for link in linked)


@pytest.mark.usefixtures('undrawn')
def test_a_sound_plays_on_the_page_below_its_spectrogram(tmp_path):
    write_arm(tmp_path / 'a', [0.91, 0.92])
    with Record(tmp_path / 'a', title='', seeds=[0], steps=10, resume_at=10) as record:
        record.samples(10, {'spoken': Audio(np.ones((1, 800)), rate=8000)})
        record.done(read_json(tmp_path / 'a' / 'DONE'))
    report(tmp_path)
    page, text = read_page(tmp_path)
    assert page.tags.count('audio') == 1 and page.tags.count('img') == 1
    encoded = re.search('data:audio/wav;base64,([^"]*)', text)[1]
    file = tmp_path / 'a' / 'samples' / 'spoken_00000010.wav'
    assert base64.b64decode(encoded) == file.read_bytes()
    markdown = (tmp_path / 'report.md').read_text()
    assert '[spoken of a, to listen to](a/samples/spoken_00000010.wav)' in markdown


@pytest.mark.parametrize('defaults', [None, {'width': 16, 'lr': 0.1}])
@pytest.mark.usefixtures('undrawn')
def test_what_differs_is_marked(tmp_path, defaults):
    write_arm(tmp_path / 'a', [1.0, 2.0], params={'lr': 0.1, 'width': 8})
    write_arm(tmp_path / 'b', [1.0, 2.0], params={'lr': 0.1, 'width': 16})
    report(tmp_path, defaults=defaults)
    _, text = read_page(tmp_path)
    marked = re.findall('<mark>(.*?)</mark>', text)
    assert marked == (['8', '16'] if defaults is None else ['8'])
    markdown = (tmp_path / 'report.md').read_text()
    # What differs comes first.
    assert markdown.index('| width | **8** |') < markdown.index('| lr | 0.1 | 0.1 |')


@pytest.mark.usefixtures('undrawn')
def test_a_tuple_that_is_the_default_is_not_marked(tmp_path):
    write_arm(tmp_path / 'a', [1.0, 2.0], params={'betas': [0.9, 0.999], 'widths': [4, 4]})
    report(tmp_path, defaults={'betas': (0.9, 0.999), 'widths': (8,)})
    markdown = (tmp_path / 'report.md').read_text()
    assert '| betas | [0.9, 0.999] |' in markdown and '| widths | **[4, 4]** |' in markdown


@pytest.mark.usefixtures('undrawn')
def test_a_study_without_claims_or_test_metrics_or_more_than_one_seed(tmp_path):
    write_arm(tmp_path / 'a', [0.5])
    done = read_json(tmp_path / 'a' / 'DONE')
    del done['metrics']['test/accuracy']
    write_json(tmp_path / 'a' / 'DONE', done)
    result = report(tmp_path)
    assert result['arms']['a']['metrics']['train/loss']['ci95'] == [None, None]
    assert '| a | 1,234 | 0.5 | 1 | 10 | 2.5 s |' in (tmp_path / 'report.md').read_text()


@pytest.mark.usefixtures('undrawn')
def test_a_claim_of_the_users_own(tmp_path):
    write_arm(tmp_path / 'a', [1.0, 2.0])

    def judge(results, better):
        assert better['test/accuracy'] == 'higher'
        return Verdict('refuted', results['a']['test/accuracy'].sum(), (2, 4), 1)

    own = Claim('own', ('a',), 'test/accuracy', judge)
    assert report(tmp_path, own)['claims'][0]['effect'] == 3.0


@pytest.mark.usefixtures('undrawn')
def test_the_table_shows_tests_and_whatever_a_claim_judges(tmp_path):
    for name, values in {'a': [0.9, 0.8], 'b': [0.7, 0.7]}.items():
        write_arm(tmp_path / name, values, losses=[x / 9 for x in values], before=True)
    assert report(tmp_path)['shown'] == ['test/accuracy']
    result = report(
        tmp_path,
        better('b', 'a', 'train/loss'),
        reaches('a', 'pretrain/test/accuracy', at_least=0.1),
    )
    assert result['shown'] == ['pretrain/test/accuracy', 'test/accuracy', 'train/loss']
    assert [claim['effect'] > 0 for claim in result['claims']] == [True, True]
    head = '| arm | parameters | pretrain/test/accuracy | test/accuracy | train/loss |'
    assert head in (tmp_path / 'report.md').read_text()


@pytest.mark.parametrize(
    ('better', 'means', 'expected'),
    [
        ('higher', (1, 2), ['b']),
        ('lower', (1, 2), ['a']),
        ('lower', (1, 1), []),
        (None, (1, 2), []),
    ],
)
def test_the_best_arm_by_what_the_metric_says(better, means, expected):
    metric = 'test/m'
    arms = {
        name: {'metrics': {metric: {'mean': mean}}} for name, mean in zip('ab', means, strict=True)
    }
    known = {metric: better} if better else {}
    assert best({'arms': arms, 'better': known}, metric) == expected


@pytest.mark.usefixtures('undrawn')
def test_arms_come_in_the_order_in_which_they_are_declared(tmp_path):
    for name in 'abcd':
        write_arm(tmp_path / name, [1.0, 2.0])
    assert [arm.name for arm in finished_arms(tmp_path, first=['c', 'x', 'b'])] == list('cbad')
    claim = better('a', 'd', 'test/accuracy')
    assert list(report(tmp_path, claim, order=['c', 'x', 'b'])['arms']) == list('cbad')


@pytest.mark.usefixtures('undrawn')
def test_the_terminal_says_the_answer(tmp_path):
    write_arm(tmp_path / 'a', [0.91, 0.92, 0.94])
    write_arm(tmp_path / 'b', [0.81, 0.85, 0.83])
    result = report(
        tmp_path,
        better('a', 'b', 'test/accuracy', text='a [b]wins'),
        better('b', 'a', 'test/accuracy'),
        better('a', 'c', 'test/accuracy'),
    )
    stream = io.StringIO()
    Console(file=stream, width=200).print(verdict_lines(result, tmp_path))
    lines = [' '.join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines[0] == 'Is a < b & c?'
    assert 'a 1,234 0.923 ± 0.038 3 10 2.5 s' in lines
    assert '✓ supported a [b]wins 0.093 [0.042, 0.145], p 0.016 (Holm 0.032)' in lines
    assert '✗ refuted b has a better test/accuracy than a −0.093 [−0.145, −0.042], p' in ' '.join(
        lines
    )
    assert '- not run a has a better test/accuracy than c (c was not run)' in lines
    assert lines[-1] == f'report: {tmp_path / "report.html"}'


def test_training_metrics_stand_beside_their_twins(tmp_path):
    for name in 'ab':
        write_arm(tmp_path / name, [0.5, 0.6])
        with Record(tmp_path / name, title='', seeds=[0, 1], steps=10, resume_at=10) as record:
            for step in (5, 10):
                values = {'train/accuracy': [0.9, 0.8], 'train/norm': [1.0, 2.0]}
                record.metrics(step, phase=1, seconds=3, values=values)
            done = unseal(json.loads((tmp_path / name / 'DONE').read_text()), 'DONE')
            done['metrics']['train/accuracy'] = [0.9, 0.8] if name == 'a' else [0.1, 0.1]
            record.done(done)
    result = report(tmp_path)
    assert result['shown'] == ['test/accuracy', 'train/accuracy']
    assert best(result, 'train/accuracy') == []  # what was trained on has no best
    drawn = sorted(path.name for path in (tmp_path / 'figures').glob('curve-*.png'))
    assert drawn == ['curve-test-accuracy.png', 'curve-train-loss.png', 'curve-train-norm.png']
    assert 'dashed: train/accuracy' in (tmp_path / 'report.html').read_text()


def test_a_table_too_wide_for_a_terminal_leaves_training_out():
    names = ['test/a', 'train/a', 'test/' + 'b' * 50, 'train/' + 'b' * 50]
    far = ['area of test/' + 'b' * 50, 'gap of test/a']
    metrics = {
        name: {'mean': 1.0, 'ci95': [0.9, 1.1], 'per_seed': [1, 1]} for name in [*names, *far]
    }
    arm = {'parameters': 1, 'steps': 2, 'seconds': 3, 'metrics': metrics}
    result = {'question': '?', 'shown': names, 'arms': {'x': arm}, 'better': {}, 'claims': []}

    def head(shown):
        stream = io.StringIO()
        told = verdict_lines(result | {'shown': shown}, Path('y'))
        Console(file=stream, width=300).print(told)
        return stream.getvalue().splitlines()[2]

    assert 'train' not in head(names) and 'train/a' in head(names[:2])
    assert 'area of' not in head([*names, *far]) and 'b' * 50 in head([*names, *far])
    assert 'gap of' in head([names[0], far[1]])
    assert 'train/a' in head(['train/a', 'train/' + 'b' * 200])  # where there is nothing else


@pytest.mark.parametrize(
    ('metric', 'expected'),
    [
        ('test/loss', 'train/loss'),
        ('far/loss', 'train/loss'),
        ('pretrain/test/loss', 'pretrain/train/loss'),
        ('test/a/b', None),
        ('valid/loss', None),
        ('train/loss', None),
    ],
)
def test_the_twin_of_a_metric_in_training(metric, expected):
    assert twin(metric, ['train/loss', 'pretrain/train/loss', 'train/b']) == expected


def drawn(values, **options):
    curve = Curve(np.arange(1, len(values) + 1) * 10, np.asarray(values, float))
    figure = figures.curves('train/loss', {'a': curve}, order=['a'], **options)
    return figure.axes[0]


def test_curves_mark_phases_and_matrices_name_their_classes():
    axes = drawn([[1.0], [0.5], [0.4]], ends={'a': {'pretrain': 10}})
    assert [text.get_text() for text in axes.texts] == ['pretrain']
    # Phases may measure different things: nothing joins them.
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert lines == [[10], [20, 30], [10, 10]]
    counts = np.array([[[3, 1], [0, 4]]])
    figure = figures.confusion(counts, title='t', colour=figures.COLOURS[0], classes=['cat', 'dog'])
    (axes,) = figure.axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ['cat', 'dog']


def test_a_baseline_is_a_level_and_a_title_stands_above_all_lines_of_the_legend():
    rising = Curve(np.array([10, 20]), np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]))
    level = Curve(np.array([0]), np.array([[0.4, 0.4, 0.4]]))
    arms = {f'arm {i}': rising for i in range(8)} | {'nearest': level}
    figure = figures.curves('test/accuracy', arms, order=list(arms))
    (axes,) = figure.axes
    (line,) = [line for line in axes.lines if line.get_label() == 'nearest']
    ends = line.get_transform().transform(np.column_stack(line.get_data()))[:, 0]
    box = axes.get_window_extent()
    assert ends == pytest.approx([box.x0, box.x1]) and line.get_ydata() == pytest.approx([0.4, 0.4])
    figure.canvas.draw()
    legend, title = axes.get_legend().get_window_extent(), axes.title
    titles = [title, axes._left_title, axes._right_title]
    assert all(it.get_window_extent().y0 > legend.y1 for it in titles if it.get_text())


@pytest.mark.parametrize(
    ('falls', 'start', 'scale'),
    [(True, 1.0, 'linear'), (True, 200.0, 'log'), (False, 200.0, 'linear')],
)
def test_what_falls_over_many_decades_has_a_logarithmic_axis(falls, start, scale):
    assert drawn([[start, start], [0.5, 0.6], [0.4, 0.5]], falls=falls).get_yscale() == scale


def test_the_band_is_the_interval_of_the_mean():
    from jaxdl.statistics import mean_ci

    rows = np.random.default_rng(0).normal(size=(3, 5))
    assert not drawn(rows[:, :2]).collections  # that of two seeds is as wide as the page
    vertices = drawn(rows).collections[0].get_paths()[0].vertices
    for step, row in zip((10, 20, 30), rows, strict=True):
        ys = vertices[vertices[:, 0] == step, 1]
        assert [ys.min(), ys.max()] == pytest.approx(mean_ci(row)[1])


def test_the_beginning_does_not_squeeze_the_rest():
    values = np.full((20, 2), 0.98) + np.linspace(0, 0.01, 20)[:, None]
    values[0] = 0.1
    axes = drawn(values)
    assert axes.get_ylim()[0] > 0.95
    assert 'outside' in axes.get_xlabel()
    assert drawn(values[1:]).get_xlabel() == 'step'


@pytest.mark.parametrize('values', [[[math.nan, 1.0], [2.0, 3.0]], [[math.nan]], [[0.0], [0.0]]])
def test_curves_with_holes_are_drawn(values):
    assert np.isfinite(drawn(values).get_ylim()).all()


def test_every_dot_of_a_claim_is_seen():
    from jaxdl.judges import Evidence

    found = Evidence(np.full(5, 8.0), 8.0, True, 'modes')
    figure = figures.evidence(found, colour='#000000', interval=False)
    assert len(set(map(tuple, figure.axes[0].collections[0].get_offsets()))) == 5


@pytest.mark.parametrize(
    ('mean', 'ci95', 'said', 'ends'),
    [
        (0.98623, (0.98484, 0.98762), '0.9862 ± 0.0014', '[0.9848, 0.9876]'),
        (-12.3456, (-14.25, -10.44), '−12.3 ± 1.9', '[−14.2, −10.4]'),
        (12345.6, (12000, 12691), '12,346 ± 346', '[12,000, 12,691]'),
        (8.0, (8.0, 8.0), '8', '[8, 8]'),
        (0.5, (math.nan, math.nan), '0.5', '–'),
        (None, (None, None), '–', '–'),
        (-1e-9, (-1e-3, 1e-3), '0.0000 ± 0.0010', '[−0.0010, 0.0010]'),
    ],
)
def test_numbers_have_the_digits_their_uncertainty_leaves(mean, ci95, said, ends):
    assert numerals.plus_minus(mean, ci95) == said
    assert numerals.interval(ci95) == ends


@pytest.mark.parametrize(
    ('seconds', 'said'),
    [(0.2, '0.2 s'), (84.4, '84 s'), (600, '10 min'), (36000, '10.0 h'), (None, '–')],
)
def test_durations(seconds, said):
    assert numerals.duration(seconds) == said


@pytest.mark.parametrize(('p', 'said'), [(0.0312, '0.031'), (1e-9, '< 0.0001'), (None, '–')])
def test_p_values(p, said):
    assert numerals.p_value(p) == said


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('6b55083896912d157b24c42d81d2b3b6622d1d44-dirty', '6b55083896-dirty'),
        ('6b55083896912d157b24c42d81d2b3b6622d1d44, abc', '6b55083896, abc'),
        (None, '–'),
    ],
)
def test_a_commit_is_short_and_says_that_it_was_changed(name, said):
    assert numerals.commit(name) == said


@pytest.mark.parametrize('entries', [('0', '10', '20'), ('red', 'green', 'blue')])
def test_an_array_is_drawn_over_what_its_entries_stand_for(entries):
    arms = {'a': np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 1e4]]), 'b': np.ones((2, 3))}
    figure = figures.profile('slope', arms, order=['a', 'b'], entries=entries)
    (axes,) = figure.axes
    line = axes.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [0, 10, 20] if entries[0] == '0' else [0, 1, 2])
    np.testing.assert_array_equal(line.get_ydata()[:2], [2.0, 3.0])
    assert figures.png(figure)
