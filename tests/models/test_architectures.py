"""The table of architectures: counts beside published ones, memory, and what is written where."""

import json
import re

import flax.linen as nn
import pytest
from pace import mostly_slow

from experiments import architectures
from experiments.architectures import FOLDER, TABLE, Architecture, agrees, main, row
from jaxdl.cli.main import run_script
from jaxdl.errors import UsageError
from jaxdl.models.mlp import MLP
from jaxdl.report.figures import scatter

ALL = {name: each for members in TABLE.values() for name, each in members.items()}


def counted(name, **more):
    return row(name, 'family', ALL[name], batch=2, seconds=more.get('seconds'))


@pytest.mark.parametrize(
    'name',
    mostly_slow(
        ['lenet5', 'alexnet2014', 'vgg11', 'resnet18', 'resnet20', 'clip_image_b_32', 'clip_text']
    ),
)
def test_counts_are_the_published_ones(name):
    found, known = counted(name), ALL[name]
    assert known.parameters and agrees(found.parameters, found.macs, known)
    assert not agrees(found.parameters * 11 // 10, found.macs, known)
    assert found.published.startswith(known.parameters) and '≠' not in found.published


@pytest.mark.parametrize(
    'parameters, gmacs, same',
    [
        ('25,557,032', '4.089', True),
        ('25.6 M', '', True),
        ('26 M', '4.1', True),
        ('', '', True),
        ('25,557,033', '', False),
        ('25.5 M', '', False),
        ('25.6 M', '4.14', False),
    ],
)
def test_a_published_number_is_compared_to_its_digits(parameters, gmacs, same):
    known = Architecture(lambda: None, (1, 1, 1), parameters, gmacs)
    assert agrees(25_557_032, 4_089_184_256, known) is same


def test_a_number_that_differs_is_marked():
    it = Architecture(lambda: MLP((2,)), (1, 3, 1), '9', source='nowhere')
    found = row('x', 'y', it, batch=1, seconds=None)
    assert (found.parameters, found.macs) == (8, 6) and found.published == '9 (nowhere) ≠ ours'


def test_memory_is_that_of_weights_and_of_what_lives_at_one_time():
    found = counted('mlp_300_100')
    assert found.weights == 4 * 266_610 and found.macs == 784 * 300 + 300 * 100 + 100 * 10
    # At least a layer's input and output, at most all of them (and XLA's rounding to 64 bytes).
    assert 4 * (784 + 300) <= found.activations <= 4 * (784 + 300 + 100 + 10) * 2
    it = Architecture(lambda: nn.Dense(1, use_bias=False), (1, 1000, 1))
    found = row('x', 'y', it, batch=1, seconds=None)
    assert found.weights == 4 and 8000 <= found.activations < 12500  # image and output


def test_texts_and_steps_are_counted_as_images_are():
    found = counted('lstm_128')
    assert found.input == '100x64' and found.macs == 100 * 4 * 128 * (64 + 128)
    assert agrees(found.parameters, found.macs, ALL['lstm_128'])
    assert ALL['gpt2'].size() == '128 tokens' and ALL['seq2seq'].size() == '32 + 32 tokens'
    assert [(x.shape, x.dtype.name) for x in ALL['seq2seq'].shapes(3)] == [((3, 32), 'int32')] * 2
    assert counted('text_generator', seconds=0.01).speed > 0


def test_throughput_is_positive_and_only_measured_when_asked_for():
    assert counted('lenet').speed is None
    assert counted('lenet', seconds=0.01).speed > 0


def test_every_picture_of_points_names_each_place_once():
    points = {'a': {'one': (1.0, 1.0), 'same': (1.0, 1.001)}, 'b': {'far': (1e6, 1e6)}}
    (axes,) = scatter(points, x='x', y='y').axes
    assert [text.get_text() for text in axes.texts] == ['one', 'far']
    crowd = {'a': {f'a_rather_long_name_{i}': (1 + i / 50, 1.0) for i in range(40)}}
    (axes,) = scatter(crowd, x='x', y='y').axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 0 < len(boxes) < 40
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_command_writes_table_and_picture_and_records_both(tmp_path, monkeypatch, capsys):
    table = {'first': {name: ALL[name] for name in ('mlp_300_100', 'lenet5')}}
    monkeypatch.setattr(architectures, 'TABLE', table)
    monkeypatch.setattr(architectures, 'FOLDER', tmp_path / 'e')
    words = ['--workdir', str(tmp_path / 'w'), '--measure', '--seconds', '0.01', '--batch', '2']
    (tmp_path / 'e').mkdir()
    readme = tmp_path / 'e' / 'README.md'
    readme.write_text(f'a\n{architectures.BEGIN}\nold\n{architectures.END}\nb\n')
    main([*words, '--record'])
    out = capsys.readouterr().out
    assert '266,610' in out and 'examples/s' in out
    rows = json.loads((tmp_path / 'w' / 'architectures.json').read_text())['rows']
    assert [each['name'] for each in rows] == ['mlp_300_100', 'lenet5']
    assert (tmp_path / 'w' / 'architectures.png').read_bytes()[:4] == b'\x89PNG'
    text = readme.read_text()
    assert 'old' not in text and text.startswith('a\n') and text.endswith('b\n')
    assert re.search(r'\| lenet5 \| 32x32x1 \| 60,000 \| 416 k \| 60,000 \(paper\) \|', text)
    assert (tmp_path / 'e' / 'results' / 'architectures.png').is_file()


@pytest.mark.parametrize(
    'words, line',
    [
        (['--only', 'vgg'], "--only: unknown architecture 'vgg'; did you mean 'vgg19'?"),
        (['--only', 'lenet', '--record'], '--record: it records all architectures'),
        (['--batch', '0'], '--batch: 0 is not allowed'),
    ],
)
def test_a_mistake_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match=re.escape(line)):
        main([*words, '--workdir', str(tmp_path / 'w')])
    assert not (tmp_path / 'w').exists()
    monkeypatch.setattr('sys.argv', ['architectures', *words])
    with pytest.raises(SystemExit, match='2'):
        run_script(main)
    assert capsys.readouterr().err.startswith(f'jaxdl: {line}')


def test_what_is_recorded_is_the_whole_table():
    text = (FOLDER / 'README.md').read_text()
    part = text[text.index(architectures.BEGIN) : text.index(architectures.END)]
    assert re.findall(r'^\| (\w+) \| \d', part, re.MULTILINE) == list(ALL)
    assert '≠' not in part
