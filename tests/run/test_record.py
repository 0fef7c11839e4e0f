"""The record of a run: what is on the disk after writing, dying and going on."""

import errno
import io
import json
import math
import os

import numpy as np
import pytest
from PIL import Image

import jaxdl.run.progress
import jaxdl.run.record
from jaxdl.errors import JaxdlError
from jaxdl.files import read_json, write_json
from jaxdl.run.record import Record, read_metrics
from jaxdl.samples import Images, Points, Texts
from jaxdl.samples.drawing import draw, read_texts

SEEDS = [0, 3]


def opened(folder, **options):
    options = {
        'title': 'digits lenet',
        'seeds': SEEDS,
        'steps': 100,
        'tensorboard': False,
    } | options
    return Record(folder, **options)


def scalars(folder):
    """{seed: [(step, name, value)]} as TensorBoard's files hold them."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(folder.glob('tensorboard/*/events*'), key=lambda f: f.stat().st_mtime_ns):
        data = file.read_bytes()
        while data:  # length, checksum, event, checksum
            size = int.from_bytes(data[:8], 'little')
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            values = [(event.step, v.tag, v.simple_value) for v in event.summary.value]
            found.setdefault(int(file.parent.name), []).extend(values)
    return found


def test_metrics_are_exact_lines_of_json(tmp_path):
    values = {'train/loss': [0.1 + 0.2, math.nan], 'test/n': [np.float32(0.1), math.inf]}
    with opened(tmp_path) as record:
        record.metrics(10, phase=1, seconds=2.5, values=values)
        # On the disk at once, not at the end.
        assert read_metrics(tmp_path) == [
            {
                'step': 10,
                'phase': 1,
                'seconds': 2.5,
                'metrics': {
                    'train/loss': [0.30000000000000004, None],
                    'test/n': [float(np.float32(0.1)), None],
                },
            }
        ]


def test_resuming_forgets_what_came_after(tmp_path):
    samples = {'fake': Images(np.zeros((1, 2, 2, 1)))}
    with opened(tmp_path) as record:
        for step in (0, 10, 20, 30):
            record.metrics(step, phase=0, seconds=1.0, values={'m': [step / 3, 0.5]})
            record.samples(step, samples)
    before = (tmp_path / 'metrics.jsonl').read_bytes()
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 40, "metr')  # died while writing
    assert [event['step'] for event in read_metrics(tmp_path)] == [0, 10, 20, 30]

    with opened(tmp_path, resume_at=20) as record:
        assert [event['step'] for event in read_metrics(tmp_path)] == [0, 10, 20]
        assert (tmp_path / 'metrics.jsonl').read_bytes() == b''.join(
            before.splitlines(keepends=True)[:3]
        )
        assert sorted(os.listdir(tmp_path / 'samples')) == [
            f'fake_{step:08d}.png' for step in (0, 10, 20)
        ]
        record.metrics(30, phase=0, seconds=1.0, values={'m': [10.0, 0.5]})
    assert (tmp_path / 'metrics.jsonl').read_bytes() == before
    with opened(tmp_path):
        assert read_metrics(tmp_path) == []
        assert os.listdir(tmp_path / 'samples') == []


def test_a_damaged_line_is_an_error_that_names_it(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(JaxdlError, match='line 2 is damaged'):
        read_metrics(tmp_path)


@pytest.mark.parametrize('resume_at', [0, 10])
def test_tensorboard_has_a_run_per_seed(tmp_path, resume_at):
    with opened(tmp_path, tensorboard=True) as record:
        record.metrics(10, phase=0, seconds=1.0, values={'test/accuracy': [0.25, 0.75]})
        record.samples(10, {'digits': Images(np.zeros((1, 2, 2, 1)))})
        record.samples(10, {'said': Texts(np.array([[104, 105, 0]]))})
        # Flushed: it is there before the record is closed.
        assert scalars(tmp_path)[3] == [(10, 'test/accuracy', 0.75)]
        kinds = [name for _, name, _ in scalars(tmp_path)[0]]
        assert kinds == ['test/accuracy', 'digits', 'said/text_summary']
    with opened(tmp_path, tensorboard=True, resume_at=resume_at) as record:
        record.metrics(20, phase=0, seconds=1.0, values={'test/accuracy': [0.5, 0.5]})
    steps = [step for step, _, _ in scalars(tmp_path)[3]]
    assert steps == ([10, 20] if resume_at else [20])


def test_a_log_is_kept_over_restarts(tmp_path, capsys):
    with opened(tmp_path) as record:
        record.say('compiling step: 2.1 s')
    with opened(tmp_path, resume_at=5) as record:
        record.say('going on at step 5 [red]')
    lines = (tmp_path / 'log.txt').read_text().splitlines()
    assert [line.split(' s  ')[1] for line in lines] == [
        'compiling step: 2.1 s',
        'going on at step 5 [red]',
    ]
    # The terminal gets it on stderr: stdout is for results.
    assert capsys.readouterr() == ('', 'compiling step: 2.1 s\ngoing on at step 5 [red]\n')


def test_how_long_programs_compile_is_for_the_log_and_one_line_says_so(tmp_path, capsys):
    with opened(tmp_path) as record:
        record.note('compiling init: 1.0 s')
        record.note('compiling step: 2.1 s')
    assert capsys.readouterr().err == (
        f'compiling; how long each program takes is in {tmp_path / "log.txt"}\n'
    )
    said = [line.split('s  ')[1] for line in (tmp_path / 'log.txt').read_text().splitlines()]
    assert said == ['compiling init: 1.0 s', 'compiling step: 2.1 s']


def test_only_process_0_writes_or_speaks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jaxdl.run.record.jax, 'process_index', lambda: 1)
    folder = tmp_path / 'arm'
    with opened(folder, tensorboard=True) as record:
        record.say('hello')
        record.progress(5, examples=8)
        record.metrics(10, phase=0, seconds=1.0, values={'m': [1.0, 2.0]})
        record.samples(10, {'x': Images(np.zeros((1, 2, 2, 1)))})
        record.arrays({'a': np.zeros(2)})
        record.done({})
    assert not folder.exists()
    assert capsys.readouterr() == ('', '')


def test_done_is_whole_or_not_there(tmp_path, monkeypatch):
    with opened(tmp_path) as record:
        record.done({'steps': np.int64(3), 'metrics': {'m': np.array([0.5, np.nan])}})
        assert read_json(tmp_path / 'DONE') == {'steps': 3, 'metrics': {'m': [0.5, None]}}

        def full(number):
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(jaxdl.run.record.os, 'fsync', full)
        with pytest.raises(JaxdlError, match='cannot write .*DONE: No space left on device$'):
            record.done({'steps': 4})
    # What was there is still there, and no half file beside it.
    assert read_json(tmp_path / 'DONE')['steps'] == 3
    assert not list(tmp_path.glob('.*'))


def test_a_full_disk_is_one_line(tmp_path):
    if not os.path.exists('/dev/full'):
        pytest.skip('this system has no /dev/full')
    (tmp_path / 'log.txt').symlink_to('/dev/full')
    with opened(tmp_path) as record, pytest.raises(JaxdlError, match='No space left on device$'):
        record.say('hello')


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(JaxdlError, match='cannot write .*file.*: ') as error:
        opened(tmp_path / 'file' / 'arm')
    assert '\n' not in str(error.value)


def test_arrays(tmp_path):
    counts = np.arange(8).reshape(2, 2, 2)
    with opened(tmp_path) as record:
        record.arrays({'test/confusion': counts})
        first = (tmp_path / 'arrays.npz').read_bytes()
        record.arrays({'test/confusion': counts})
    assert (tmp_path / 'arrays.npz').read_bytes() == first
    with np.load(tmp_path / 'arrays.npz') as arrays:
        np.testing.assert_array_equal(arrays['test/confusion'], counts)


@pytest.mark.parametrize(
    ('content', 'said'), [(None, 'cannot be read: No such file'), ('{"a"', 'is damaged')]
)
def test_reading_what_is_not_there_or_damaged(tmp_path, content, said):
    if content:
        (tmp_path / 'x.json').write_text(content)
    with pytest.raises(JaxdlError, match=said):
        read_json(tmp_path / 'x.json')


def test_json_is_strict(tmp_path):
    write_json(tmp_path / 'x.json', {'a': (math.nan, -math.inf, np.bool_(True)), 'b': tmp_path})
    text = (tmp_path / 'x.json').read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        'a': [None, None, True],
        'b': str(tmp_path),
    }


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int)


@pytest.mark.parametrize(('n', 'channels'), [(1, 1), (8, 3), (9, 1), (80, 3)])
def test_images_are_drawn_unchanged_in_order(n, channels):
    images = np.linspace(0, 1, n)[:, None, None, None] * np.ones((n, 28, 28, channels))
    kind, png = draw(Images(images))
    drawn = pixels(png)
    assert kind == 'png'
    tile = 28 * 2 + 3
    columns = (drawn.shape[1] - 3) // tile
    for i in range(min(n, 64)):
        y, x = 3 + i // columns * tile, 3 + i % columns * tile
        expected = round(255 * i / (n - 1)) if n > 1 else 0
        assert (drawn[y : y + 56, x : x + 56] == expected).all()


def test_wrong_labels_are_red():
    images = np.zeros((2, 8, 8, 1))
    right = pixels(draw(Images(images, np.array([1, 2]), np.array([1, 2])))[1])
    wrong = pixels(draw(Images(images, np.array([1, 2]), np.array([1, 3])))[1])

    def reddish(drawn):
        columns = (drawn[..., 0] - drawn[..., 2] > 100).any(0)
        half = len(columns) // 2
        return columns[:half].any(), columns[half:].any()

    assert reddish(right) == (False, False)
    assert reddish(wrong) == (False, True)


def test_points_are_drawn_the_same_twice():
    rng = np.random.default_rng(0)
    sample = Points(rng.normal(size=(50, 2)), rng.normal(size=(90, 2)))
    assert draw(sample) == draw(sample)
    moved = Points(sample.points + 100, sample.reference)
    assert draw(moved)[1] != draw(sample)[1]


def test_texts_are_code_points():
    codes = np.array([[72, 233, 0, 0], [0x1F600, -1, 0x110000, 0xD800]])
    assert read_texts(Texts(codes)) == ['Hé', '😀���']
    assert draw(Texts(codes)) == ('txt', 'Hé\n😀���\n'.encode())


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(jaxdl.run.progress, 'time', clock)
    return clock


@pytest.mark.parametrize(
    ('per_step', 'expected'),
    # Short runs say nothing, middling ones every tenth, long ones every minute.
    [(0.05, []), (0.5, [20, 40, 60, 80, 100]), (2.0, list(range(10, 101, 10))), (60.0, None)],
)
def test_lines_are_rare(clock, per_step, expected):
    stream = io.StringIO()
    lines = jaxdl.run.progress.progress_for(stream, title='t', steps=100, at=0)
    for step in range(1, 101):
        clock.now += per_step
        lines.at(step, examples=32)
    said = [int(line.split('step ')[1].split(' of')[0]) for line in stream.getvalue().splitlines()]
    assert said == (list(range(1, 101)) if expected is None else expected)


def test_a_line_says_the_time_left_the_speed_and_what_is_watched(clock):
    stream = io.StringIO()
    watched = ['test/accuracy']
    lines = jaxdl.run.progress.progress_for(
        stream, title='digits lenet', steps=100, at=0, watched=watched
    )
    clock.now = 5.0  # compilation, which does not count
    lines.at(10, examples=64)
    lines.latest({'test/accuracy': [0.5, 0.7], 'train/loss': [1.0, 2.0], 'test/f1': [0.1, 0.2]})
    clock.now = 15.0
    lines.at(20, examples=64)
    lines.latest({'test/accuracy': [0.5, math.nan], 'train/loss': [math.nan] * 2})
    clock.now = 75.0
    lines.at(30, examples=0)
    assert stream.getvalue().splitlines() == [
        'digits lenet: step 20 of 100, 1:20 left, 64 examples/s, '
        'test/accuracy 0.6  train/loss 1.5  test/f1 0.15',
        'digits lenet: step 30 of 100, 4:05 left, test/accuracy 0.5 (1 of 2 NaN)  train/loss NaN',
    ]


def test_the_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv('COLUMNS', '160')
    monkeypatch.setenv('TERM', 'xterm')
    stream = Terminal()
    bar = jaxdl.run.progress.progress_for(stream, title='digits lenet', steps=100, at=0)
    try:
        bar.at(40, examples=64)
        bar.latest({'train/loss': [0.25, 0.75]})
        bar.say('saved [bold]step[/bold] 40')
    finally:
        bar.close()
    said = stream.getvalue()
    assert '40/100' in said
    assert 'train/loss 0.5' in said
    # Text is said as it is: brackets are no markup.
    assert 'saved [bold]step[/bold] 40' in said
