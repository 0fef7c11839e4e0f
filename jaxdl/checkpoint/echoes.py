"""What orbax and tensorstore print of an error that they also raise: it is not said twice.

A save that fails for want of handles leaves event loops half made or closed, and the threads that
wanted to tell them something print a traceback each. The error itself reaches whoever saves.
"""

import asyncio
import functools
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType

_ASYNCIO = str(Path(asyncio.__file__).parent) + os.sep


@functools.cache
def leave_out_echoes() -> None:
    """Leave them out, for the life of the process."""
    from absl import logging as absl_logging

    absl_logging.get_absl_logger().addFilter(_not_from_orbax)
    warnings.filterwarnings('ignore', r"coroutine '.*' was never awaited", RuntimeWarning)
    uncaught, unraisable = sys.excepthook, sys.unraisablehook

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not of_a_loop(trace):
            uncaught(kind, error, trace)

    def report_unraisable(found: 'sys.UnraisableHookArgs') -> None:
        if not of_a_loop(found.exc_traceback):
            unraisable(found)

    sys.excepthook, sys.unraisablehook = report, report_unraisable


def of_a_loop(trace: TracebackType | None) -> bool:
    """Whether an error was raised and ends within asyncio: nothing of jaxdl's runs there."""
    frames = traceback.extract_tb(trace)
    return bool(frames) and all(frame.filename.startswith(_ASYNCIO) for frame in frames)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return f'{os.sep}orbax{os.sep}' not in record.pathname
