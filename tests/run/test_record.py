"""The record of a run: what is on the disk after writing, dying and going on."""

import errno
import io
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import jaxdl.run.progress
import jaxdl.run.record
from jaxdl.errors import JaxdlError
from jaxdl.files import read_arrays, read_json, remove_temporaries, seal, unseal, write_json
from jaxdl.run.lock import locked
from jaxdl.run.record import Record, read_done, read_metrics, saves_proved
from jaxdl.samples import Audio, Images, Points, Texts
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
                'ends': False,
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


def four_lines(folder):
    """A record of steps 10, 20, 30 and 40; its file."""
    with opened(folder) as record:
        for step in (10, 20, 30, 40):
            record.metrics(step, phase=0, seconds=1.0, values={'m': [step / 3, 0.5]})
    return folder / 'metrics.jsonl'


def steps(folder, **options):
    return [event['step'] for event in read_metrics(folder, **options)]


@pytest.mark.parametrize(
    'damage',
    [
        lambda line: line.replace(b'6.66', b'6.67'),
        lambda line: line.replace(b'"step": 20', b'"step": 25'),
        lambda line: line[:30],
        lambda line: b'',
        lambda line: b'\0' * len(line),
        lambda line: b'\xff' + line,
        lambda line: b'{"step": 20, "phase": 0, "seconds": 1.0, "metrics": {}}',
        lambda line: b'[]',
    ],
)
def test_a_damaged_line_is_said_and_left_out(tmp_path, damage, capsys):
    path = four_lines(tmp_path)
    lines = path.read_bytes().split(b'\n')
    lines[1] = damage(lines[1])
    path.write_bytes(b'\n'.join(lines))
    said = []
    assert steps(tmp_path, say=said.append) == [10, 30, 40]
    assert len(said) == 1 and said[0].startswith(f'{path}: line 2 is damaged')
    with opened(tmp_path, resume_at=30):
        pass
    assert 'metrics.jsonl: line 2 is damaged' in capsys.readouterr().err
    assert 'line 2 is damaged' in (tmp_path / 'log.txt').read_text()
    # It stays where it is: nothing is lost of what may be mended, and it is said again.
    assert steps(tmp_path) == [10, 30]
    assert path.read_bytes().split(b'\n')[:-1] == lines[:3]


def test_done_covers_the_files_that_belong_to_it(tmp_path):
    path = four_lines(tmp_path)
    with opened(tmp_path, resume_at=40) as record:
        record.arrays({'test/confusion': np.arange(8).reshape(2, 2, 2)})
        record.done({'steps': 40, 'metrics': {'m': [0.25, 0.5]}})
    assert read_done(tmp_path) == {'steps': 40, 'metrics': {'m': [0.25, 0.5]}}
    for name, change, said in (
        ('DONE', (b'0.25', b'0.26'), 'DONE was changed since it was written; remove it, and'),
        ('DONE', (b'"steps"', b'"step5"'), 'DONE was changed since it was written'),
        ('arrays.npz', (b'\x07', b'\x06'), 'arrays.npz was changed since the run ended'),
        ('metrics.jsonl', (b'\n', b'\n\n'), None),  # a damaged line: said by who reads it
    ):
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(good.replace(*change))
        if said is None:
            assert read_done(tmp_path)['steps'] == 40
        else:
            with pytest.raises(JaxdlError, match=said) as error:
                read_done(tmp_path)
            assert '\n' not in str(error.value)
        (tmp_path / name).write_bytes(good)
    # Whole lines that are gone are not to be seen in the file.
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b'\n') + 1])
    with pytest.raises(JaxdlError, match='metrics.jsonl was changed since the run ended'):
        read_done(tmp_path)
    path.unlink()
    with pytest.raises(JaxdlError, match='metrics.jsonl is gone; put a copy'):
        read_done(tmp_path)


def test_what_proves_that_something_was_saved(tmp_path):
    with opened(tmp_path) as record:
        for n, name in enumerate(('train/loss', 'test/loss', 'train/loss', 'test/x', 'train/x')):
            assert not saves_proved(tmp_path)
            record.metrics(n, phase=0, seconds=1.0, values={name: [1.0, 2.0]})
    assert saves_proved(tmp_path)


def test_files_of_the_users_own_among_the_samples(tmp_path):
    with opened(tmp_path) as record:
        record.samples(10, {'test/a_b': Texts(np.array([[104, 105, 0]]))})
    others = [
        'notes_final.txt',
        '.test-a_b_00000020.txt',
        'x_\N{SUPERSCRIPT TWO}.png',
        'a_00000020.py',
    ]
    for name in others:
        (tmp_path / 'samples' / name).touch()
    with opened(tmp_path, resume_at=5):
        assert sorted(os.listdir(tmp_path / 'samples')) == sorted(others)


def test_temporary_files_of_the_dead(tmp_path):
    """A kill in the middle of a write: whoever holds the lock knows that nobody is at it."""
    arm = tmp_path / 'arm'
    names = ['samples/.test_00000040.png.tmp', '.DONE.tmp', '.123-0123abcd.tmp', 'deep/er/.x.tmp']
    kept = ['checkpoints/quarantine/1/.x.tmp', 'samples/x.tmp', '.hidden']
    for name in (*names, *kept):
        (arm / name).parent.mkdir(parents=True, exist_ok=True)
        (arm / name).touch()
    remove_temporaries(tmp_path, mine=False, leave='checkpoints')  # they may be at it now
    assert all((arm / name).exists() for name in (*names, *kept))
    with locked(arm):
        assert [name for name in (*names, *kept) if (arm / name).exists()] == kept
    (arm / names[0]).touch()
    os.utime(arm / names[0], (0, 0))
    (arm / names[1]).touch()
    remove_temporaries(tmp_path, mine=False, leave='checkpoints')
    assert not (arm / names[0]).exists() and (arm / names[1]).exists()


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_json(tmp_path / 'x.json', {'n': [n] * 999}), range(64)))
    assert len(set(read_json(tmp_path / 'x.json')['n'])) == 1
    assert os.listdir(tmp_path) == ['x.json']


@pytest.mark.parametrize('resume_at', [0, 10])
def test_tensorboard_has_a_run_per_seed(tmp_path, resume_at):
    with opened(tmp_path, tensorboard=True) as record:
        record.metrics(10, phase=0, seconds=1.0, values={'test/accuracy': [0.25, 0.75]})
        record.samples(10, {'digits': Images(np.zeros((1, 2, 2, 1)))})
        record.samples(10, {'said': Texts(np.array([[104, 105, 0]]))})
        record.samples(10, {'spoken': Audio(np.zeros((1, 80)), rate=8000)})
        # Flushed: it is there before the record is closed.
        assert scalars(tmp_path)[3] == [(10, 'test/accuracy', 0.75)]
        kinds = [name for _, name, _ in scalars(tmp_path)[0]]
        assert kinds == ['test/accuracy', 'digits', 'said/text_summary', 'spoken']
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


def test_another_process_than_the_first_keeps_what_decides_and_shows_nothing(
    tmp_path, monkeypatch, capsys
):
    """It works in a folder of its own: what it reads there must be what the first one reads."""
    monkeypatch.setattr(jaxdl.run.record.jax, 'process_index', lambda: 1)
    folder = tmp_path / 'arm'
    with opened(folder, tensorboard=True) as record:
        record.say('hello')
        record.progress(5, examples=8)
        record.metrics(10, phase=0, seconds=1.0, values={'m': [1.0, 2.0]})
        record.samples(10, {'x': Images(np.zeros((1, 2, 2, 1)))})
        record.arrays({'a': np.zeros(2)})
        record.done({})
    assert {path.name for path in folder.iterdir()} == {
        *('metrics.jsonl', 'arrays.npz', 'DONE', 'log.txt')
    }
    assert [line['metrics'] for line in read_metrics(folder)] == [{'m': [1.0, 2.0]}]
    assert capsys.readouterr() == ('', '')


def test_done_is_whole_or_not_there(tmp_path, monkeypatch):
    with opened(tmp_path) as record:
        record.done({'steps': np.int64(3), 'metrics': {'m': np.array([0.5, np.nan])}})
        assert read_done(tmp_path) == {'steps': 3, 'metrics': {'m': [0.5, None]}}

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


def test_arrays_that_are_cut_or_damaged_name_their_file(tmp_path):
    path = tmp_path / 'arrays.npz'
    assert read_arrays(path) == {}
    np.savez(path, a=np.arange(100), b=np.ones((3, 3)))
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(JaxdlError, match='arrays.npz is damaged: ') as error:
            read_arrays(path)
        assert '\n' not in str(error.value)
    path.write_bytes(whole.replace(np.float64(1).tobytes(), np.float64(2).tobytes()))
    with pytest.raises(JaxdlError, match='arrays.npz is damaged: Bad CRC'):
        read_arrays(path)


def test_a_file_that_the_machine_does_not_give_is_not_called_damaged(tmp_path, monkeypatch):
    write_json(tmp_path / 'x.json', {})
    np.savez(tmp_path / 'x.npz', a=np.ones(3))

    def full(*args, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(io, 'open', full)
    for read, name in ((read_json, 'x.json'), (read_arrays, 'x.npz')):
        with pytest.raises(JaxdlError, match=f'{name} cannot be read: Too many open files'):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (None, 'cannot be read: No such file'),
        (b'{"a"', 'is damaged; it is not JSON'),
        (b'\xff\xfe\xfa', 'is damaged; it is not JSON'),
        (b'{"a": 1}', 'has no seal: an older jaxdl or someone else wrote it'),
        (b'[]', 'has no seal'),
    ],
)
def test_reading_what_is_not_there_or_damaged(tmp_path, content, said):
    if content:
        (tmp_path / 'x.json').write_bytes(content)
    with pytest.raises(JaxdlError, match=said):
        read_json(tmp_path / 'x.json')


def test_json_is_strict(tmp_path):
    write_json(tmp_path / 'x.json', {'a': (math.nan, -math.inf, np.bool_(True)), 'b': tmp_path})
    text = (tmp_path / 'x.json').read_text()
    content = {'a': [None, None, True], 'b': str(tmp_path)}
    assert unseal(json.loads(text, parse_constant=pytest.fail), 'x') == content
    assert read_json(tmp_path / 'x.json') == content


def test_every_byte_of_sealed_json_counts(tmp_path):
    path, payload = tmp_path / 'x.json', {'a': [0.1, 1e22, -0.0, 12345], 'é': {'n': None, 't': 'x'}}
    write_json(path, payload)
    whole = path.read_bytes()
    assert read_json(path) == payload
    for at in range(len(whole)):
        for bit in (1, 4, 16, 128):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                assert read_json(path) == payload  # between the words
                assert whole[at : at + 1].isspace()
            except JaxdlError as error:
                assert str(path) in str(error) and '\n' not in str(error)


def test_what_a_person_may_write_needs_no_seal(tmp_path):
    path = tmp_path / 'x.json'
    write_json(path, {'a': 1}, sealed=False)
    assert json.loads(path.read_text()) == read_json(path, sealed=False) == {'a': 1}
    write_json(path, {'a': 1, 'seal': 'of something else'})
    assert read_json(path, sealed=False) == {'a': 1}
    path.write_text(path.read_text().replace('1', '2', 1))
    with pytest.raises(JaxdlError, match='was changed'):
        read_json(path, sealed=False)
    assert seal(seal({'a': 1})) == seal({'a': 1})


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
