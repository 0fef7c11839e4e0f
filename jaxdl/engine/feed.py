"""What the host feeds to the device: stretches of steps, and what is sent for them, made ahead."""

import queue
import threading
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl.data.source import Source


def chunks(
    start: int, stop: int, cadences: Collection[int], chunk: int
) -> Iterator[tuple[int, int]]:
    """Stretches (first, last) of at most `chunk` steps; each cadence ends one, and so does `stop`.

    Stretches are laid from the multiples of cadences, not from `start`, so a resumed run makes
    the same programs, and the same numbers to the bit, as one that never stopped.
    """
    step = start
    while step < stop:
        base = max(step - step % every for every in cadences)
        limit = min(stop, *(step - step % every + every for every in cadences))
        last = min(limit, base + ((step - base) // chunk + 1) * chunk)
        yield step, last
        step = last


def prefetch(items: Iterator[Any], *, depth: int = 2) -> Iterator[Any]:
    """The same items, made by a thread up to `depth` ahead. Its errors are raised here."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(ok: bool, item: Any) -> None:
        while not closed.is_set():
            try:
                return ready.put((ok, item), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(True, item)
                if closed.is_set():
                    return
            put(False, None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(False, error)

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        while True:
            ok, item = ready.get()
            if not ok:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        closed.set()
        thread.join()


def first_sent(source: Source, seed: int = 0) -> Any:
    """What is sent for step 0."""
    stream = source.open(seed, 0)
    first = next(stream)
    if isinstance(stream, Generator):
        stream.close()  # it may hold threads that read ahead
    return first


def stacked(items: Sequence[Any]) -> Any:
    """What is sent for several steps, with a leading axis of steps."""
    return jax.tree.map(lambda *xs: np.stack(xs), *items)
