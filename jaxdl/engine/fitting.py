"""What does not fit a device: by how much, the largest tensors, and what would make it fit."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxdl.engine.cost import quantity
from jaxdl.engine.layout import Mesh
from jaxdl.engine.memory import Memory

if TYPE_CHECKING:
    from jaxdl.engine.engine import Engine


def lacking(
    engine: 'Engine',
    memory: Memory,
    *,
    room: float,
    over: float,
    tensors: Sequence[tuple[str, int]],
) -> str:
    """One line on a step that needs `over` bytes more than the `room` of a device.

    memory: of one device; where its activations are 0 they are not known, and are what is over.
    tensors: its largest, with their bytes.
    """
    largest = ', '.join(f'{name} {quantity(size)}B' for name, size in tensors[:3])
    return (
        f'{quantity(over)}B more than {quantity(room)}B a device; the largest tensors are '
        f'{largest}; what helps: {"; ".join(_remedies(engine, memory, room=room, over=over))}'
    )


def _remedies(engine: 'Engine', memory: Memory, *, room: float, over: float) -> Iterator[str]:
    if memory.state > room / 2:
        fsdp = engine.layout.axes.fsdp if isinstance(engine.layout, Mesh) else 1
        more = -(-memory.state * fsdp // int(room / 2))
        yield f'cut the state over more devices (fsdp={more} or more)'
    if memory.data > room / 4:
        yield 'less data resident, or streamed'
    left = room - memory.state - memory.data
    if left > 0:
        activations = memory.activations or left + over
        parts = enough_parts(
            activations / left,
            rows=engine.rows // engine.layout.parts,
            now=engine.task.micro_batches,
        )
        asked = f'--accumulate {parts}' if parts else '--accumulate'
        yield f'smaller micro-batches, one after another ({asked}), or a smaller batch'
        if off := _without_remat(engine.task.method.players):
            yield f'remat, which {" and ".join(off)} can do: activations are computed again'
    if len(engine.seeds) > 1:
        yield 'fewer seeds at once'


def enough_parts(times: float, *, rows: int, now: int = 1) -> int | None:
    """The fewest micro-batches of which one needs so many `times` less than there are `now`.

    rows: of a batch on one device, which they divide. None where no number of them is enough: by
    what one row needs, or because it is not known how many rows there are.
    """
    needed = math.ceil(now * times)
    return next((n for n in range(max(needed, now + 1), rows + 1) if rows % n == 0), None)


def _without_remat(players: Mapping[str, Any]) -> list[str]:
    """The networks that could compute activations again, and do not."""
    modules = [player.module for player in players.values()]
    return sorted({type(m).__name__ for m in modules if getattr(m, 'remat', None) is False})
