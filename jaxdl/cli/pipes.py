"""Output that nobody may be reading: a run goes on without its reader."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


class Forgiving:
    """A text stream that falls silent when its reader has gone: the pipe or the terminal closed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or forget what nobody reads."""
        with self._silence():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or forget what nobody reads."""
        with self._silence():
            self._stream.flush()

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
            os.close(null)


@contextmanager
def forgive_readers() -> Iterator[None]:
    """Standard output and error as forgiving streams; what was closed before is nowhere."""
    with contextlib.ExitStack() as stack:
        out, err = (
            Forgiving(stream or stack.enter_context(open(os.devnull, 'w')))
            for stream in (sys.stdout, sys.stderr)
        )
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            yield
        finally:
            out.flush()
            err.flush()
