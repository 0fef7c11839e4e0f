"""How a process that is one of many ends: who says what, and nobody waits for the lost.

A process says its end in a note that the others can read. The first one, with whom the notes and
jax's coordination vanish, waits a little for those of the others; an error that it has said itself
the others do not say again. Then a process ends at once, whatever its threads do: jax would wait
for a lost peer for a whole heartbeat.
"""

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import jax

from jaxdl.errors import JaxdlError, LostPeerError, PreemptedError
from jaxdl.faults import chain
from jaxdl.processes.joining import client, count, rank

NOTES = 'jaxdl/left'
GRACE = 10.0  # seconds that the first process waits for the notes of others, they half for its
A_MOMENT = 1.0  # seconds that it waits where one is lost
_STATUS = re.compile('[A-Z_]{5,}: ')
LOST = ('gloo', 'nccl', 'connection', 'coordination', 'heartbeat', 'peer', 'barrier', 'unavailable')


def lost_peer(error: BaseException) -> str | None:
    """Why an error means that another process is gone, in jax's words; None where it does not."""
    if count() == 1 or isinstance(error, JaxdlError):
        return None
    for each in chain(error):
        words = ' '.join(str(each).split())
        # What is dispatched to the lost raises a ValueError with jax's status in its text.
        of_jax = isinstance(each, jax.errors.JaxRuntimeError) or _STATUS.match(words)
        if of_jax and any(word in words.lower() for word in LOST):
            return words[:200]
    return None


def leave(code: int, text: str = '') -> NoReturn:
    """End this process with a code, and say why on standard error: 'jaxdl: rank 3: ...'.

    Of a lost peer that had left because it was asked to, the code is 75 as that one's.
    """
    if code == LostPeerError.code and any(it == PreemptedError.code for it in _codes()):
        code = PreemptedError.code
    lost = code == LostPeerError.code  # each says it at once: jax may end it any moment
    if rank() == 0:
        _note(f'{code} {text}')
        _say(text)
        # The lost leave no note, and whoever is left learns of it without this one.
        _until(lambda: len(_notes()) >= count(), A_MOMENT if lost else GRACE)
    else:
        if lost or (text and not _until(lambda: _is_said(text), GRACE / 2)):
            _say(text)
        _note(f'{code} {text}')  # the last it does: once all have left one the first one goes
    end(code)


def end(code: int) -> NoReturn:
    """End at once, with what was written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _say(text: str) -> None:
    for line in text.splitlines():
        print(f'jaxdl: rank {rank()}: {line}', file=sys.stderr, flush=True)


def _note(text: str) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client().key_value_set(f'{NOTES}/{rank()}', text, allow_overwrite=True)


def _notes() -> dict[int, str]:
    """What processes noted at their end; nothing where the coordinator is gone."""
    try:
        found = client().key_value_dir_get(NOTES)
    except jax.errors.JaxRuntimeError:
        return {}
    return {int(key.rpartition('/')[2]): text for key, text in found}


def _is_said(text: str) -> bool:
    """Whether the first process has said the same."""
    return _notes().get(0, '').partition(' ')[2] == text


def _codes() -> list[int]:
    return [int(text.partition(' ')[0]) for text in _notes().values()]


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False
