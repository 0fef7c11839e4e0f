"""Output that nobody reads, or that a terminal cannot show."""

import io
import os
import pty
import termios
import threading
import time

import pytest
from rich.console import Console
from rich.table import Table

from jaxdl.cli.main import main
from jaxdl.cli.pipes import Forgiving, encodable, forgive_readers


@pytest.fixture
def pipe():
    """(end to read, text stream to write)."""
    read, write = os.pipe()
    with os.fdopen(write, 'w', buffering=1) as stream:
        yield read, stream
    os.close(read)


def test_a_full_pipe_costs_its_patience_once(pipe):
    read, stream = pipe
    forgiving = Forgiving(stream, patience=0.2)
    began = time.monotonic()
    for _ in range(100):
        assert forgiving.write('x' * 9_999 + '\n') == 10_000
        forgiving.flush()
    assert 0.15 < time.monotonic() - began < 2
    had = os.read(read, 1 << 20)  # and now there is room again
    assert len(had) > 3_000
    forgiving.write('here again\n')
    missed = 100 - len(had) // 10_000
    assert os.read(read, 1 << 20).decode() == (
        f'\n[{missed} pieces of text are left out: nobody read them]\nhere again\n'
    )
    assert os.get_blocking(stream.fileno())  # others who share the pipe are left alone
    forgiving.release()


def test_a_slow_reader_misses_nothing(pipe):
    read, stream = pipe
    found = []

    def slowly():
        while sum(map(len, found)) < 300_000:
            time.sleep(0.001)
            found.append(os.read(read, 4096))

    reader = threading.Thread(target=slowly)
    reader.start()
    forgiving = Forgiving(stream, patience=5.0)
    for n in range(30):
        forgiving.write(chr(ord('a') + n % 26) * 10_000)
    reader.join()
    assert b''.join(found).decode() == ''.join(chr(ord('a') + n % 26) * 10_000 for n in range(30))
    forgiving.release()


def test_a_terminal_that_ctrl_s_stopped():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, 'w', buffering=1) as stream:
        forgiving = Forgiving(stream, patience=0.1)
        assert forgiving.isatty()
        forgiving.write('seen\n')
        assert os.read(ours, 100) == b'seen\r\n'
        termios.tcflow(stream.fileno(), termios.TCOOFF)
        began = time.monotonic()
        for _ in range(50):
            forgiving.write('y' * 1000)
        assert time.monotonic() - began < 2
        termios.tcflow(stream.fileno(), termios.TCOON)
        forgiving.release()
    os.close(ours)


def test_patience_appends_to_a_file_as_others_do(tmp_path):
    path = tmp_path / 'log'
    with path.open('a') as stream:
        stream.write('before\n')
        forgiving = Forgiving(stream, patience=1.0)
        forgiving.write('mine\n')
        os.write(stream.fileno(), b'of another\n')
        forgiving.write('mine\n')
        forgiving.release()
        forgiving.write('after\n')
    assert path.read_text() == 'before\nmine\nof another\nmine\nafter\n'


def test_patience_forgives_a_reader_that_left(pipe):
    _, stream = pipe
    gone, write = os.pipe()
    os.close(gone)
    os.dup2(write, stream.fileno())
    os.close(write)
    forgiving = Forgiving(stream, patience=1.0)
    for _ in range(3):
        assert forgiving.write('x' * 70_000) == 70_000
    forgiving.release()


def test_only_a_run_is_impatient(monkeypatch, capsys):
    asked = []

    def spy(patience=None):
        asked.append(patience)
        return forgive_readers(patience)

    monkeypatch.setattr('jaxdl.cli.main.forgive_readers', spy)
    assert main(['run']) == 2
    assert main(['list', '--help']) == 0
    assert asked == [5.0, None]


@pytest.mark.parametrize(
    ('encoding', 'shown'),
    [
        ('utf-8', '0.5 ± 0.1 \N{MINUS SIGN}2 ✓ naïve 中 x²'),
        ('latin-1', '0.5 ± 0.1 -2 v naïve ? x²'),
        ('ascii', '0.5 +- 0.1 -2 v naive ? x2'),
        (None, '0.5 ± 0.1 \N{MINUS SIGN}2 ✓ naïve 中 x²'),
    ],
)
def test_what_an_encoding_lacks_is_replaced(encoding, shown):
    assert encodable('0.5 ± 0.1 \N{MINUS SIGN}2 ✓ naïve 中 x²', encoding) == shown


def test_what_no_encoding_has_is_replaced():
    assert encodable('a file \udcff of bytes', 'utf-8') == 'a file ? of bytes'


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_tables_and_lines_on_any_terminal(encoding, monkeypatch):
    raw = io.BytesIO()
    stream = Forgiving(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    table = Table('arm', 'accuracy')
    table.add_row('naïve', '0.5 ± 0.1')
    Console(file=stream, width=60).print(table)
    print('\N{CHECK MARK} 1 − 2', file=stream)
    assert '0.5 ' in raw.getvalue().decode(encoding)
