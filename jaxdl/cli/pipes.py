"""Output that nobody may be reading, or that cannot be shown: a run goes on all the same."""

import contextlib
import errno
import os
import select
import stat
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# What stands for characters that a terminal does not have. Of others the letter without its
# accents, where there is one, or a question mark.
PLAIN = {
    **{'±': '+-', '…': '...', '→': '->'},
    **dict(zip('\N{MINUS SIGN}\N{EN DASH}—─━╸╺│┃•×✓✗‘’', "-------||*xvx''", strict=True)),
}


class Forgiving:
    """A text stream that no reader can stop, and that shows what can be shown.

    It falls silent when its reader has gone: the pipe or the terminal closed. A character that
    its encoding lacks is replaced.

    patience: seconds to wait for a reader that does not read (a full pipe, a terminal that Ctrl-S
    stopped); after that text is left out until there is room again. None waits for ever.
    """

    def __init__(self, stream: TextIO, *, patience: float | None = None) -> None:
        self._stream = stream
        self._patience = patience
        self._missed = 0
        self._fd = _never_blocking(stream) if patience is not None else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or forget what nobody reads."""
        shown = encodable(text, self._stream.encoding)
        with self._silence():
            if self._fd is None:
                self._stream.write(shown)
            else:
                self._push(self._fd, shown.encode(self._stream.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush, or forget what nobody reads."""
        with self._silence():
            if self._fd is None:
                self._stream.flush()

    def release(self) -> None:
        """Give back what patience needed; whoever still has the stream writes as to any other."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _push(self, fd: int, data: bytes) -> None:
        assert self._patience is not None
        # Once it has waited in vain it waits no more: training is not to stand at every line.
        deadline = time.monotonic() + (0 if self._missed else self._patience)
        if self._missed and _has_room(fd, deadline):
            note = f'\n[{self._missed} pieces of text are left out: nobody read them]\n'
            self._missed, data = 0, note.encode() + data
        while data:
            if not _has_room(fd, deadline):
                self._missed += 1
                return
            # Never blocking, but for a socket: so little that there is room for it.
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(fd, data[:512]) :]

    @contextmanager
    def _silence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            # Under the stream, so that what its buffer holds goes the same way at exit.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            if self._fd is not None:
                os.dup2(null, self._fd)
            os.close(null)


def encodable(text: str, encoding: str | None) -> str:
    """The text with replacements for what an encoding lacks."""

    def fits(part: str) -> bool:
        try:
            part.encode(encoding or 'utf-8')
        except UnicodeEncodeError:
            return False
        return True

    if fits(text):
        return text
    return ''.join(c if fits(c) else PLAIN.get(c) or _letter(c) for c in text)


def _letter(character: str) -> str:
    apart = unicodedata.normalize('NFKD', character)
    return apart.encode('ascii', 'ignore').decode() or '?'


def _has_room(fd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _never_blocking(stream: TextIO) -> int | None:
    """A descriptor for what is under the stream; None where nothing is, as in a test."""
    try:
        fd = stream.fileno()
        stream.flush()
        kind = os.fstat(fd).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISFIFO(kind) or os.isatty(fd):
        # Opened again: whether it blocks belongs to all who share what is open. Not so a file,
        # where a place of its own would write over what others wrote; a file has always room.
        with contextlib.suppress(OSError):
            return os.open(f'/dev/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return os.dup(fd)


@contextmanager
def forgive_readers(patience: float | None = None) -> Iterator[None]:
    """Standard output and error as forgiving streams; what was closed before is nowhere."""
    with contextlib.ExitStack() as stack:
        out, err = (
            Forgiving(stream or stack.enter_context(open(os.devnull, 'w')), patience=patience)
            for stream in (sys.stdout, sys.stderr)
        )
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            yield
        finally:
            for stream in (out, err):
                stream.flush()
                stream.release()
