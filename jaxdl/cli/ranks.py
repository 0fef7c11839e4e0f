"""`jaxdl run` as one of many processes: joining the others, a folder of one's own, and the end.

A process alone goes through here unchanged.
"""

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxdl.cli.main import error_line
from jaxdl.errors import LostPeerError
from jaxdl.processes.address import read_address
from jaxdl.run.interruption import end_when_asked, tell

DISTRIBUTED = '--distributed'
LOST = 'another process is lost; the same command goes on from the newest checkpoint'


class Place:
    """Where a process of a run works: the first one in the run's folder, others in a copy."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._meant = ''
        self._own: Path | None = None

    def folder(self, meant: Path) -> Path:
        """The folder to work in, of a run that is meant to be in `meant`; waits for the first."""
        from jaxdl.processes.mirror import read_folder, write_folder
        from jaxdl.processes.telling import from_first

        files = from_first(lambda: read_folder(meant))
        if self._rank == 0:
            return meant
        self._meant = str(meant)
        self._own = Path(tempfile.mkdtemp(prefix=f'jaxdl-rank{self._rank}-'))
        write_folder(self._own, files)
        return self._own

    def forget(self) -> None:
        """Remove the copy."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def in_words(self, text: str) -> str:
        """A text that names the run's folder, not the copy."""
        return text.replace(str(self._own), self._meant) if self._own is not None else text


@contextlib.contextmanager
def joined(words: Sequence[str]) -> Iterator[Place | None]:
    """Around a run that may be one of many processes; None for one that is alone.

    Of many, the process does not come back from an error: it says it with its rank, and ends.
    Raises UsageError for addresses that cannot be.
    """
    address = read_address(os.environ, detect=DISTRIBUTED in words)
    unneeded = {'-h', '--help', '--print-config'} & {*words}
    if address is None or address.processes == 1 or unneeded:
        yield None
        return
    from jaxdl.processes import joining, leaving
    from jaxdl.processes.telling import wait_for_all

    place: Place | None = None

    def aborted() -> None:
        if place is not None:
            place.forget()
        missing = f'not all processes came within {address.patience} s'
        tell(f'jaxdl: rank {joining.rank()}: {missing if place is None else LOST}\n')

    keep = joining.on_abort(aborted)
    joining.join(address)
    if joining.count() == 1:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        yield None
        return
    place = Place(joining.rank())
    end_when_asked(lambda code, text: leaving.leave(code, text))
    with contextlib.ExitStack() as stack:
        if joining.rank() > 0:
            # Below Python: gloo prints there too.
            silent = stack.enter_context(open(os.devnull, 'w'))
            os.dup2(silent.fileno(), 1)
            logging.getLogger('jaxdl').setLevel(logging.ERROR)
        try:
            yield place
            wait_for_all()  # for the first one's report
        except BaseException as error:
            code, text = _ending(error, debug='--debug' in words)
            place.forget()
            leaving.leave(code, place.in_words(text))
    place.forget()
    joining.part()
    del keep


def _ending(error: BaseException, *, debug: bool) -> tuple[int, str]:
    """The exit code of an error, and what to say of it."""
    from jaxdl.processes.leaving import lost_peer

    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, ''
    if why := lost_peer(error):
        code, text = LostPeerError.code, f'{LOST} ({why})'
    elif found := error_line(error):
        text, code = found
    else:
        code, text, debug = 1, '', True
    if debug:
        text = ''.join(traceback.format_exception(error)) + text
    return code, text
