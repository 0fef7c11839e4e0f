"""Recording runs: what is refused, what is left out, and the table as golden text."""

import json

import pytest

from jaxdl.errors import UsageError
from jaxdl.files import write_json
from jaxdl.report.recorded import (
    BEGIN,
    END,
    END_OF_LEARNED,
    LEARNED,
    Own,
    record_run,
    remark,
    write_table,
)

RESULT = {
    'study': 'digits',
    'question': 'Does sharing weights win | pay?',
    'command': 'jaxdl run digits',
    'seeds': [0, 1, 2],
    'devices': ['cpu (2 cores)'],
    'versions': {'jax': '0.10.2'},
    'seconds': 83.6,
    'commit': '0123456789abcdef',
    'better': {'test/accuracy': 'higher', 'test/loss': 'lower', 'train/loss': 'lower'},
    'shown': ['test/accuracy', 'test/loss'],
    'arms': {
        'lenet': {
            'parameters': 44426,
            'steps': 100,
            'seconds': 50.0,
            'params': {'width': 8},
            'metrics': {
                'test/accuracy': {
                    'mean': 0.98623,
                    'ci95': [0.98484, 0.98762],
                    'per_seed': [0.986, 0.9862, 0.98649],
                },
                'train/loss': {'mean': 0.1, 'ci95': [0.1, 0.1], 'per_seed': [0.1, 0.1, 0.1]},
            },
        },
        'mlp': {
            'parameters': 45000,
            'steps': 100,
            'seconds': 33.6,
            'params': {'width': 16},
            'metrics': {
                'test/accuracy': {'mean': 0.9, 'ci95': [None, None], 'per_seed': [0.9]},
                'test/loss': {'mean': 0.25, 'ci95': [0.2, 0.3], 'per_seed': [0.2, 0.3]},
            },
        },
    },
    'claims': [
        {'text': 'A', 'verdict': 'supported', 'effect': 0.05, 'ci95': [0.04, 0.06], 'p': 1e-7},
        {'text': 'B', 'verdict': 'undecided', 'effect': 0.9862, 'ci95': [0.98, 0.99], 'p': 0.21},
        {'text': 'C', 'verdict': 'undecided', 'effect': 0.8, 'ci95': [0.28, 0.99], 'p': None},
    ],
}

WIDTHS = {'lenet': 8, 'mlp': 16}
OWN = Own({arm: {'width': width} for arm, width in WIDTHS.items()}, seeds=2)
TABLE = """\
| study | question | answer | seeds | device | time | commit |
|---|---|---|---|---|---|---|
| [digits](#digits) | Does sharing weights win \\| pay? | 1 supported, 2 undecided | 3 | \
cpu (2 cores) | 84 s | 0123456789 |

### digits

`jaxdl run digits`

| arm | parameters | test/accuracy | test/loss | seeds | steps | time |
|---|---:|---:|---:|---:|---:|---:|
| lenet | 44,426 | **0.9862 ± 0.0014** | – | 3 | 100 | 50 s |
| mlp | 45,000 | 0.9 | 0.250 ± 0.050 | 1 | 100 | 34 s |

| claim | verdict | effect | 95 % interval | p | p (Holm) |
|---|---|---:|---:|---:|---:|
| A | **supported** | 0.050 | [0.040, 0.060] | < 0.0001 | < 0.0001 |
| B | **undecided** | 0.9862 | [0.9800, 0.9900] | 0.21 | 0.21 |
| C | **undecided** | 0.80 | [0.28, 0.99] | – | – |
"""


@pytest.fixture
def run(tmp_path):
    """A finished run's folder."""
    folder = tmp_path / 'runs' / 'digits'
    write_json(folder / 'result.json', RESULT)
    for arm in RESULT['arms']:
        done = {'metrics': {}, 'parameters': 1, 'steps': 1, 'seconds': 1.0}
        write_json(folder / arm / 'DONE', done)
        write_json(folder / arm / 'env.json', {'starts': [{'commit': 'abc'}]})
        identity = {'origin': None, 'phases': [], 'accepted': []}
        write_json(folder / arm / 'identity.json', identity)
        config = {'seeds': [0, 1], 'params': {'width': WIDTHS[arm]}, 'phases': []}
        write_json(folder / arm / 'config.json', config)
        write_json(folder / arm / 'numbers.json', {})
    return folder


def changed(folder, **changes):
    write_json(folder / 'result.json', RESULT | changes)


def test_a_finished_run_is_recorded_as_it_is(run, tmp_path):
    path = record_run(run, tmp_path / 'results')
    assert path == tmp_path / 'results' / 'digits.json'
    assert json.loads(path.read_text()) == RESULT
    # Again after a change: the newer takes the place of the older.
    changed(run, seconds=1.0)
    assert json.loads(record_run(run, tmp_path / 'results').read_text())['seconds'] == 1.0


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda run: (run / 'result.json').unlink(), 'has no result.json'),
        (lambda run: (run / 'mlp' / 'DONE').unlink(), 'is older'),
        (lambda run: changed(run, arms={'lenet': RESULT['arms']['lenet']}), 'is older'),
        (
            lambda run: changed(run, claims=[RESULT['claims'][0] | {'verdict': 'not run'}]),
            "not finished: not run: 'A'",
        ),
    ],
)
def test_an_unfinished_run_is_refused(run, tmp_path, spoil, said):
    spoil(run)
    with pytest.raises(UsageError, match=said) as error:
        record_run(run, tmp_path / 'results')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'results').exists()


def revised(run, arm, name, **changes):
    path = run / arm / name
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.mark.parametrize(
    ('spoil', 'own', 'said'),
    [
        (lambda run: revised(run, 'mlp', 'config.json', smoke=True), OWN, 'mlp: a smoke run'),
        (
            lambda run: revised(run, 'mlp', 'env.json', starts=[{'commit': 'abc-dirty'}]),
            OWN,
            'mlp ran with uncommitted changes; the arms are of different commits: '
            'lenet of abc, mlp of abc-dirty',
        ),
        (
            lambda run: revised(run, 'lenet', 'env.json', starts=[{'commit': None}]),
            OWN,
            'the arms are of different commits: lenet of –, mlp of abc',
        ),
        (
            lambda run: revised(run, 'mlp', 'config.json', init_from='runs/x/y'),
            OWN,
            'mlp started from the weights of runs/x/y',
        ),
        (
            lambda run: revised(run, 'mlp', 'config.json', params={'width': 16, 'lr': 1}),
            OWN,
            'lr of mlp is 1, and not there in the study',
        ),
        (
            lambda run: revised(run, 'mlp', 'config.json', seeds=[4]),
            OWN,
            'mlp has 1 of 2 seeds',
        ),
        (
            lambda run: None,
            Own({'lenet': {'width': 9}, 'mlp': {'width': 9}, 'vit': {}}, seeds=1),
            'the arm vit is missing; width of lenet is 8, and 9 in the study; '
            'width of mlp is 16, and 9 in the study',
        ),
        (
            lambda run: None,
            Own({'lenet': {'width': 8}, 'mpl': {}}, seeds=1),
            "the arm mpl is missing; mlp is no arm of the study; did you mean 'mpl'?",
        ),
    ],
)
def test_what_is_not_the_study_is_recorded_only_with_words_that_say_so(
    run, tmp_path, spoil, own, said
):
    results, readme = tmp_path / 'results', tmp_path / 'README.md'
    spoil(run)
    with pytest.raises(UsageError) as error:
        record_run(run, results, own=own)
    assert said in str(error.value) and '--anyway' in str(error.value)
    assert '\n' not in str(error.value) and not results.exists()
    path = record_run(run, results, own=own, anyway=True)
    assert said in '; '.join(json.loads(path.read_text())['departs'])
    readme.write_text(f'{BEGIN}{END}')
    write_table(results, readme)
    text = readme.read_text()
    assert '2 undecided (**not the study as it stands**) |' in text
    assert '**Recorded anyway, though ' in text and said in text


GRID = {'width': [8, 16]}
ASKED = {'by': 'valid/accuracy', 'seeds': [1000000]}
TUNED = OWN._replace(grids=dict.fromkeys(WIDTHS, GRID), asked=ASKED)


def tuned(run, arm, **changes):
    """The arm as if its width had been chosen."""
    chosen = {'grid': GRID, **ASKED, 'chosen': {'width': WIDTHS[arm]}}
    write_json(run / 'tuning' / arm / 'choice.json', chosen | changes)
    revised(run, arm, 'config.json', tuned=['width'])


def test_a_value_that_was_chosen_is_no_departure_and_one_that_was_not_is(run, tmp_path):
    for arm in WIDTHS:
        tuned(run, arm)
    other = TUNED._replace(arms=dict.fromkeys(WIDTHS, {'width': 3}))
    assert 'departs' not in json.loads(record_run(run, tmp_path / 'a', own=other).read_text())
    said = 'mlp was tuned over another grid, or otherwise'
    for changes in (
        {'grid': {'width': [8, 16, 32]}},
        {'by': 'valid/loss'},
        {'seeds': [1000000, 1000001]},
        {'chosen': {'width': 8}},
    ):
        tuned(run, 'mlp', **changes)
        with pytest.raises(UsageError, match=said):
            record_run(run, tmp_path / 'b', own=TUNED)
    revised(run, 'mlp', 'config.json', tuned=[])
    with pytest.raises(
        UsageError, match='the study as it stands: width of mlp is not tuned; --any'
    ):
        record_run(run, tmp_path / 'b', own=TUNED)
    tuned(run, 'mlp')
    with pytest.raises(UsageError, match='as it stands: lenet, mlp was tuned over another grid'):
        record_run(run, tmp_path / 'b', own=OWN)
    write_json(run / 'tuning' / 'vit' / 'choice.json', {'chosen': None})
    with pytest.raises(UsageError, match='vit is not finished'):
        record_run(run, tmp_path / 'b', own=TUNED)


def test_more_seeds_than_the_study_has_are_welcome_and_an_unfinished_run_can_be_recorded(
    run, tmp_path
):
    assert 'departs' not in json.loads(record_run(run, tmp_path / 'a', own=OWN).read_text())
    revised(run, 'mlp', 'config.json', seeds=[0, 1, 2])
    record_run(run, tmp_path / 'a', own=OWN)
    (run / 'mlp' / 'DONE').unlink()
    changed(run, arms={'lenet': RESULT['arms']['lenet']})
    with pytest.raises(UsageError, match='mlp is not finished'):
        record_run(run, tmp_path / 'b', own=OWN)
    path = record_run(run, tmp_path / 'b', own=OWN, anyway=True)
    assert json.loads(path.read_text())['departs'][0] == 'mlp is not finished'


def test_no_path_of_a_machine_is_recorded(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed(
        run,
        study=f'{tmp_path}/mine/digits.py',
        command=(
            f'TFDS_DATA_DIR=/data/tfds /opt/venv/bin/jaxdl run {tmp_path}/mine/digits.py '
            f"--workdir={tmp_path}/runs/x --init-from '/home/someone/old run' --lr 1e-3/2"
        ),
        arms={
            name: arm | {'params': {'file': '/home/someone/x.csv', 'also': ['a/b', '/c/d']}}
            for name, arm in RESULT['arms'].items()
        },
    )
    path = record_run(run, tmp_path / 'results')
    assert path.name == 'digits.json'
    result = json.loads(path.read_text())
    assert result['study'] == 'mine/digits.py'
    assert result['command'] == (
        'TFDS_DATA_DIR=tfds jaxdl run mine/digits.py '
        "--workdir=runs/x --init-from 'old run' --lr 1e-3/2"
    )
    assert result['arms']['lenet']['params'] == {'file': 'x.csv', 'also': ['a/b', 'd']}
    assert result['question'] == RESULT['question']


def test_the_table_is_written_between_the_markers(run, tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text(f'# Title\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n')
    record_run(run, tmp_path / 'results')
    write_table(tmp_path / 'results', readme)
    expected = f'# Title\n\nbefore\n\n{BEGIN}\n\n{TABLE}\n{END}\n\nafter\n'
    assert readme.read_text() == expected
    write_table(tmp_path / 'results', readme)
    assert readme.read_text() == expected


def test_a_remark_stands_with_the_result_until_it_is_recorded_anew(run, tmp_path):
    readme, results = tmp_path / 'README.md', tmp_path / 'results'
    readme.write_text(f'{BEGIN}{END}')
    with pytest.raises(UsageError, match="no result of 'digits' is recorded"):
        remark(results, 'digits', 'x')
    path = record_run(run, results)
    with pytest.raises(UsageError, match="'digit' is recorded.*digits"):
        remark(results, 'digit', 'x')
    assert remark(results, 'digits', 'To be run again: its pooling was wrong.') == path
    write_table(results, readme)
    text = readme.read_text()
    assert '| 1 supported, 2 undecided (**see the remark**) |' in text
    assert '\n\n**To be run again: its pooling was wrong.**\n\n' in text
    record_run(run, results)
    write_table(results, readme)
    assert 'remark' not in readme.read_text() and TABLE in readme.read_text()


def test_studies_are_in_the_order_of_their_names(run, tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text(f'{BEGIN}{END}')
    write_table(tmp_path / 'results', readme)
    assert 'Nothing is recorded yet.' in readme.read_text()
    for name in ('ring_gan', 'digits', 'catch_dqn'):
        changed(run, study=name, claims=[])
        record_run(run, tmp_path / 'results')
    write_table(tmp_path / 'results', readme)
    headings = [line for line in readme.read_text().splitlines() if line.startswith('###')]
    assert headings == ['### catch_dqn', '### digits', '### ring_gan']
    assert '[ring_gan](#ring_gan)' in readme.read_text()


def test_what_others_reported_stands_beside_what_was_found(run, tmp_path):
    results, readme = tmp_path / 'results', tmp_path / 'README.md'
    readme.write_text(f'{LEARNED}{END_OF_LEARNED}{BEGIN}{END}')
    write_table(results, readme)
    assert f'{LEARNED}\n\nNothing yet.\n' in readme.read_text()
    first, *rest = RESULT['claims']
    late = {'reported': 'A paper | 1999: 5 %', 'reason': 'at this budget: mlp still moved'}
    changed(run, claims=[first | late, *rest], stale=['what it computes'])
    record_run(run, results)
    write_table(results, readme)
    learned = readme.read_text().split(END_OF_LEARNED)[0]
    (row,) = [line for line in learned.splitlines() if '1999' in line]
    assert r'| A paper \| 1999: 5 % | A |' in row and '[digits](#digits)' in row
    assert f'**{first["verdict"]}** (at this budget, stale)' in row
    # The study's own table has it too.
    assert '| claim | reported | verdict |' in readme.read_text()


@pytest.mark.parametrize('text', [None, 'no markers\n', f'{END}\n{BEGIN}\n', BEGIN])
def test_a_readme_without_its_markers_is_refused(tmp_path, text):
    readme = tmp_path / 'README.md'
    if text is not None:
        readme.write_text(text)
    with pytest.raises(UsageError, match=r'README\.md must have the lines'):
        write_table(tmp_path, readme)
    assert (readme.read_text() if text is not None else None) == text
