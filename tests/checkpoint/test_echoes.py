"""What orbax and tensorstore print of an error that they also raise."""

import asyncio
import sys
import warnings

import pytest

from jaxdl.checkpoint.echoes import leave_out_echoes, of_a_loop


def trace_of(call):
    with pytest.raises(RuntimeError) as found:
        call()
    return found.value.__traceback__.tb_next.tb_next  # without this file's own frames


def closed_loop():
    loop = asyncio.new_event_loop()
    loop.close()
    return lambda: loop.call_soon_threadsafe(print)


def test_only_what_lies_wholly_within_asyncio_is_an_echo():
    closed = closed_loop()
    assert of_a_loop(trace_of(lambda: closed()).tb_next)
    assert not of_a_loop(trace_of(lambda: closed()))  # asked for by this file
    assert not of_a_loop(None)


def test_echoes_are_left_out_and_other_errors_are_not(monkeypatch):
    said = []
    monkeypatch.setattr(sys, 'excepthook', lambda *error: said.append(error))
    monkeypatch.setattr(sys, 'unraisablehook', said.append)
    trace = trace_of(closed_loop())
    with warnings.catch_warnings():
        leave_out_echoes.__wrapped__()
        warnings.warn("coroutine 'save' was never awaited", RuntimeWarning, stacklevel=1)
    sys.excepthook(RuntimeError, RuntimeError('Event loop is closed'), trace)
    assert not said
    sys.excepthook(RuntimeError, RuntimeError('ours'), None)
    assert len(said) == 1
