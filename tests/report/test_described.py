"""The page before its numbers: what a reviewer reads without the code, and what old runs lack."""

import pytest
from rich.console import Console
from test_report import page, read_page, report, write_arm

from jaxdl.claims import better, reaches
from jaxdl.files import read_json, write_bytes, write_json
from jaxdl.report import numerals
from jaxdl.report.described import Block, blocks, covers, datasets
from jaxdl.report.result import verdict_lines
from jaxdl.report.rows import arm_grid, cost_grid
from jaxdl.run.registered import digest, digests

DOCSTRING = '''"""Is it so? The demo.

Smith (1998) has 0.95 %
against 3.05 %.

    jaxdl run toy        a second

Expected: <yes> | no.
"""
raise RuntimeError('a report runs nothing of this')
'''


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(page, '_save', lambda folder, name, figure, alt: page.Shown('x', '', alt))


def told(**changes):
    """What about.json holds of a phase."""
    player = {'name': 'net', 'network': 'MLP(features (4, 2))', 'loss': 'cross-entropy'}
    player |= {'optimizer': 'Adam, learning rate 0.1', 'turns': 1, 'accumulate': 1, 'shadow': ''}
    test = {'every': 2, 'transform': 'none', 'measure': '', 'private': False, 'made': False}
    phase = {'name': '', 'steps': 1500, 'every': 2, 'at_most': False, 'batch': 64, 'epochs': 80.13}
    phase |= {
        'flops': 1e6,
        'private': False,
        'players': [player],
        'augmentation': 'crop(padding 2)',
    }
    phase |= {'regularisation': ['dropout 0.5'], 'notes': [], 'start': '', 'best': ''}
    return {**phase, 'tests': {'test': test}, **changes}


def split(name, rows, **changes):
    card = {'name': 'cells', 'source': 'https://a.b/<c>', 'licence': '', 'citation': 'Roe 2001'}
    found = {'split': name, 'name': '', 'card': {**card, 'about': 'Cells | more.'}}
    found |= {
        'table': f'cells {name}',
        'rows': rows,
        'columns': {'x': 'uint8[8,8,1]', 'y': 'int32'},
    }
    found |= {'classes': {'y': ['red', 'white']}, 'digest': f'abc{rows}', 'of': 'all rows'}
    return {**found, **changes}


def describe(folder, phase=None, data=None):
    data = [split('train', 1198), split('test', 599)] if data is None else data
    write_json(folder / 'about.json', {'phases': [phase or told()], 'data': data})


def texts(folder):
    return (folder / 'report.md').read_text(), ' '.join(''.join(read_page(folder)[0].text).split())


def test_the_docstring_is_paragraphs_and_commands(tmp_path):
    assert blocks('One.\n\nTwo\nlines.\n\n    run a\n      b\n\nEnd.') == [
        Block('One.', False),
        Block('Two lines.', False),
        Block('run a\n  b', True),
        Block('End.', False),
    ]
    write_arm(tmp_path / 'a', [0.5, 0.6])
    write_bytes(tmp_path / 'a' / 'source' / 'toy.py', DOCSTRING.encode())
    report(tmp_path)
    markdown, said = texts(tmp_path)
    assert 'Smith (1998) has 0.95 % against 3.05 %.\n\n    jaxdl run toy  ' in markdown
    assert 'Smith (1998) has 0.95 % against 3.05 %. jaxdl run toy a second Expected: <yes>' in said


def test_data_and_method_stand_before_the_answer(tmp_path):
    for name, part in {'a': 1198, 'b': 800}.items():
        write_arm(tmp_path / name, [0.5, 0.6])
        rate = {'optimizer': 'Adam, learning rate 0.1' if name == 'a' else 'SGD'}
        phase = told()
        phase['players'][0] |= rate
        data = [split('train', part), split('test', 599, order='in order')]
        describe(tmp_path / name, phase, data)
    report(tmp_path, better('a', 'b', 'test/accuracy'))
    markdown, said = texts(tmp_path)
    assert markdown.index('## Data') < markdown.index('## Method') < markdown.index('## Answer')
    assert markdown.index('## Answer') < markdown.index('## Results') < markdown.index('## Cost')
    assert '**cells**: Cells | more.' in markdown
    assert '- licence: no licence stated\n- cited as: Roe 2001\n\n| split' in markdown
    head = '| x uint8[8,8,1], y int32 | 2: red, white |'
    assert f'| train | cells train | 1,198 | – {head} abc1198 | a |\n' in markdown
    assert f'| test | cells test | 599 | in order {head} abc599 | all |\n' in markdown
    # What the arms have alike is said once, what not arm by arm.
    assert '- network: MLP(features (4, 2))\n' in markdown
    assert '- optimizer:\n  - a: Adam, learning rate 0.1\n  - b: SGD\n' in markdown
    assert '- steps: 1,500 of 64 rows, 80.1 epochs\n' in markdown
    assert '- regularisation: dropout 0.5\n' in markdown
    for words in (
        'https://a.b/<c>',
        'no licence stated',
        'abc1198',
        'a: Adam, learning',
        '80.1 ep',
        'in order',
    ):
        assert words in said


def test_phases_have_parts_of_their_own_and_the_last_is_the_last(tmp_path):
    write_arm(tmp_path / 'a', [0.5, 0.6])
    write_arm(tmp_path / 'b', [0.5, 0.6])
    unread = {'name': 'pretrain', 'unread': 'TypeError: no'}
    describe(tmp_path / 'a', told(at_most=True, start='graft()', best='valid/accuracy'))
    content = {'phases': [unread, told()], 'data': [{**split('train', 3), 'unread': 'no'}]}
    write_json(tmp_path / 'b' / 'about.json', content)
    report(tmp_path)
    markdown, _ = texts(tmp_path)
    first, last = markdown.index('### pretrain'), markdown.index('### the last phase')
    assert first < last
    assert 'it could not be read from its objects: TypeError: no' in markdown[first:last]
    assert '- steps:\n  - a: at most 1,500 of 64 rows' in markdown[last:]
    assert '  - a: the weights of the phase before: graft()\n  - b: none\n' in markdown[last:]


def test_a_run_from_before_is_shown_without_and_says_so(tmp_path):
    write_arm(tmp_path / 'old', [0.5, 0.6])
    result = report(tmp_path, reaches('old', 'test/accuracy', at_least=0.1))
    markdown, said = texts(tmp_path)
    assert 'Of old it is not known how and on which data' in markdown and '## Data' not in markdown
    assert 'Of old it is not known how and on which data' in said
    assert result['claims'][0]['when'] == 'exploratory'
    assert arm_grid(result).head == (
        *('arm', 'parameters', 'test/accuracy', 'seeds', 'steps', 'time'),
    )
    assert [cell.text for cell in cost_grid(result).rows[0]][3:6] == ['–', '–', '–']


def test_what_an_interval_covers():
    def said(**changes):
        return ' '.join(covers({'a': {'phases': [told(**changes)]}}))

    test = told()['tests']['test']
    assert 'order of the rows' not in said() and 'the same training batches' in said()
    assert 'measured on the same examples (test)' in said()
    assert 'order of the rows' in said(private=True)
    assert 'examples that each seed draws to train on' in said(drawn=True)
    assert 'the same training batches' not in said(private=True)
    assert 'drawn by each seed anew (test)' in said(tests={'test': {**test, 'private': True}})
    # Such as an actor: no batches, and all that is played is a seed's own.
    played = said(batch=0)
    assert 'the data that each seed makes for itself' in played and 'drawn by each seed' in played
    assert 'same' not in played
    assert covers({}) == []


def start_with(folder, *claims):
    """Note claims at the start of a run."""
    env = read_json(folder / 'env.json')
    env['starts'][0]['claims'] = digests(claims)
    write_json(folder / 'env.json', env)


def test_a_claim_is_confirmatory_if_it_was_there_before_the_first_seed(tmp_path):
    early, late = better('a', 'b', 'test/accuracy'), reaches('a', 'test/accuracy', at_least=0.1)
    for name in 'ab':
        write_arm(tmp_path / name, [0.5, 0.6])
        start_with(tmp_path / name, early)

    def whens(*claims):
        return [claim['when'] for claim in report(tmp_path, *claims)['claims']]

    assert whens(early, late) == ['confirmatory', 'exploratory']
    markdown, said = texts(tmp_path)
    assert '| confirmatory |' in markdown and '| exploratory |' in markdown
    assert 'Exploratory: it was not' in said and 'Exploratory: it was not' in markdown
    # Another bound is another claim, and so is another sentence.
    other = better('a', 'b', 'test/accuracy', by=0.01, text=early.text)
    assert whens(other, early._replace(text='a wins')) == ['exploratory', 'exploratory']
    # A later start cannot make it so; nor can one lot of seeds of two.
    env = read_json(tmp_path / 'a' / 'env.json')
    later = {**env['starts'][0], 'claims': digests([early, late])}
    write_json(tmp_path / 'a' / 'env.json', {'starts': [*env['starts'], later]})
    assert whens(early, late) == ['confirmatory', 'exploratory']
    write_arm(tmp_path / 'b' / 'seeds' / '2-3', [0.5, 0.6], seeds=[2, 3])
    assert whens(early) == ['exploratory']
    start_with(tmp_path / 'b' / 'seeds' / '2-3', early)
    assert whens(early) == ['confirmatory']


def test_a_judge_of_ones_own_has_the_same_digest_at_every_start():
    def made(bound):
        def judge(results, better):
            return bound

        return better('a', 'b', 'test/accuracy')._replace(judge=judge)

    assert digest(made(1)) == digest(made(1))
    assert digest(made(1)) != digest(better('a', 'b', 'test/accuracy'))


def test_validation_stands_beside_a_judged_test_and_has_no_star(tmp_path):
    for name, value in {'a': 0.5, 'b': 0.7}.items():
        write_arm(tmp_path / name, [value, value + 0.1])
        done = read_json(tmp_path / name / 'DONE')
        done['metrics'] |= {'valid/accuracy': [value, value + 0.1], 'test/loss': [1.0, 2.0]}
        done['metrics'] |= {'valid/loss': [1.0, 2.0], 'train/accuracy': [0.9, 0.9]}
        done |= {'flops': 1.234e12, 'epochs': [2.0, None]}
        write_json(tmp_path / name / 'DONE', done)
        told = read_json(tmp_path / name / 'numbers.json')
        told['valid/accuracy'] = {'better': 'higher', 'labels': []}
        write_json(tmp_path / name / 'numbers.json', told)
    result = report(tmp_path, better('b', 'a', 'test/accuracy'))
    shown = ['test/accuracy', 'train/accuracy', 'valid/accuracy', 'test/loss', 'train/loss']
    assert result['shown'] == shown
    grid = arm_grid(result)
    assert [cell.marked for cell in grid.rows[1]][2:7] == [True, False, False, False, False]
    assert arm_grid(result, beside=False).head[2:4] == ('test/accuracy', 'test/loss')
    assert grid.head[-3:] == ('epochs', 'FLOPs', 'time')
    assert [cell.text for cell in grid.rows[0]][-3:-1] == ['2 + –', '1.2 TFLOP']
    assert arm_grid(result, cost=False).head[-2:] == ('steps', 'time')
    console = Console(width=200)
    with console.capture() as captured:
        console.print(verdict_lines(result, tmp_path))
    # All of it would be more than 110 characters wide.
    assert 'valid/accuracy' not in captured.get() and '1.2 TFLOP' in captured.get()
    assert 'exploratory, not there before the first seed ran: 1 of 1 claims' in captured.get()


@pytest.mark.parametrize(
    ('count', 'said'),
    [
        (None, '–'),
        (0, '0 FLOP'),
        (999, '1000 FLOP'),
        (1.25e6, '1.2 MFLOP'),
        (3.68e8, '370 MFLOP'),
        (1.2e12, '1.2 TFLOP'),
        (4e21, '4 ZFLOP'),
    ],
)
def test_flops_in_the_unit_that_suits_them(count, said):
    assert numerals.flops(count) == said


@pytest.mark.parametrize(
    ('counts', 'said'),
    [(None, '–'), ([None], '–'), ([5.3422], '5.34'), ([2.1, 1234.5], '2.1 + 1,230')],
)
def test_epochs_phase_by_phase(counts, said):
    assert numerals.epochs(counts) == said


def test_rows_that_each_seed_draws_are_counted():
    known = {'a': {'data': [split('test', 1797, drawn=599)], 'phases': []}}
    ((_, (found,)),) = datasets(known)
    assert found.rows == '599 of 1,797, drawn by each seed' and found.order == ''
    known['a']['data'][0]['order'] = 'in order'
    assert datasets(known)[0].splits[0].order == 'in order'
