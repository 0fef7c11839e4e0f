"""What is predicted of scaling and what was measured: rows, their tables, and their picture.

The two never stand in one table: see `experiments.scaling`, which makes them.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.engine import cost
from jaxdl.files import read_json
from jaxdl.report.figures import scatter
from jaxdl.report.recorded import markdown_table
from jaxdl.run.chips import Chip
from jaxdl.run.roofline import Prediction

NETWORKS = ('gpt2', 'gpt2_medium', 'gpt2_xl', 'resnet50')
STEPS = 3  # that are measured

FORMULA, COMPILED = 'by formula', 'compiled'
RECORDED = (1, 8, 64, 256, 1024)  # chips of the rows by formula in README.md; the picture has all
HEAD = ('network', 'chips', 'how', 'state a chip', 'sent a chip', 'compute', 'memory', 'links')
MORE = ('step', 'efficiency at most', 'memory of the chip')
Table = tuple[str, Sequence[str], list[list[str]]]


class Row(NamedTuple):
    """What a step is predicted to take. how: by formula, or compiled."""

    network: str
    chips: int
    how: str
    state: float
    sent: float
    times: Prediction
    fits: str = ''


class Measured(NamedTuple):
    """What training gave on simulated devices, and what its step sends.

    formula: bytes that it would send by `sent_by`, which counts gathers in bfloat16.
    """

    network: str
    devices: int
    losses: tuple[float, ...]
    sent: dict[str, float]
    formula: float


class Found(NamedTuple):
    """All that is known of a chip, in the order of the networks."""

    predicted: tuple[Row, ...] = ()
    measured: tuple[Measured, ...] = ()

    def with_(self, more: 'Found') -> 'Found':
        """These and more, which take the place of those of the same kind."""
        rows = {(r.network, r.how, r.chips): r for r in (*self.predicted, *more.predicted)}
        seen = {(m.network, m.devices): m for m in (*self.measured, *more.measured)}
        order = NETWORKS.index
        return Found(
            tuple(sorted(rows.values(), key=lambda r: (order(r.network), r.how, r.chips))),
            tuple(sorted(seen.values(), key=lambda m: (order(m.network), m.devices))),
        )


def row_of(found: Sequence[Any]) -> Row:
    """A row as JSON has it."""
    *head, times, fits = found
    return Row(*head, Prediction(*times), fits)


def versions() -> dict[str, str]:
    """What a prediction depends on beside the chip."""
    names = ('jax', 'libtpu')
    known = {each.name for each in importlib.metadata.distributions() if each.name in names}
    return {name: importlib.metadata.version(name) for name in names if name in known}


def kept(folder: Path, chip: Chip) -> Found:
    """What a folder has of a chip, made with these versions; nothing where it is of others."""
    path = folder / 'scaling.json'
    if not path.exists():
        return Found()
    known = read_json(path, remedy='remove it')
    if known.get('chip') != list(chip) or known.get('versions') != versions():
        return Found()
    rows = tuple(map(row_of, known['predicted']))
    return Found(rows, tuple(Measured(*each) for each in known['measured']))


def cells(row: Row) -> list[str]:
    """A row of the table of what is predicted."""
    sizes = [f'{cost.quantity(size)}B' for size in (row.state, row.sent)]
    times = [f'{seconds * 1e3:.3g} ms' for seconds in (*row.times, row.times.step)]
    return [
        *(row.network, str(row.chips), row.how, *sizes, *times),
        *(f'{row.times.efficiency:.0%}', row.fits or '-'),
    ]


def plot(rows: Sequence[Row], chip: Chip) -> Any:
    """How long chips send, of the time that products take; above 1 more chips wait for links."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        if row.chips > 1:
            where = points.setdefault(f'{row.network}, {row.how}', {})
            where[str(row.chips)] = row.chips, row.times.links / row.times.compute
    return scatter(
        points,
        x='chips, each with as many rows on any number of them',
        y=f'PREDICTED for {chip.name}: time of links / time of products',
    )


def tables(found: Found, chip: Chip) -> Iterator[Table]:
    """What is predicted and what was measured, each as a title, the heads of columns, and rows."""
    made = ', '.join(f'{name} {version}' for name, version in versions().items())
    yield (
        f'PREDICTED, not measured: a step in bfloat16 on {chip.name} ({chip.source}; {made}). '
        'A roofline: no step is faster, most are slower.',
        (*HEAD, *MORE),
        [cells(row) for row in found.predicted],
    )
    if not found.measured:
        return
    yield (
        'MEASURED on simulated CPU devices: small networks in bfloat16, the same rows on all; '
        'bytes that a device sends by a ring, of the collectives of the compiled program, and by '
        'formula.',
        (
            *('small network of the kind', 'sent by each kind of collective'),
            *('devices', f'loss after 1 to {STEPS} steps', 'sent in all', 'by formula'),
        ),
        [seen_cells(each) for each in found.measured],
    )


def seen_cells(each: Measured) -> list[str]:
    """A row of the table of what was measured."""
    sent = ', '.join(f'{kind} {cost.quantity(size)}B' for kind, size in each.sent.items())
    return [
        *(each.network, sent or 'nothing', str(each.devices)),
        ' '.join(f'{loss:.6f}' for loss in each.losses),
        *(f'{cost.quantity(size)}B' for size in (sum(each.sent.values()), each.formula)),
    ]


def rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """A table for the terminal."""
    from rich.table import Table

    table = Table(*head, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def markdown(found: Found, chip: Chip) -> str:
    """The tables of README.md, with the rows by formula of a few numbers of chips."""
    few = [row for row in found.predicted if row.how == COMPILED or row.chips in RECORDED]
    lines = ['![Predicted time of links](results/scaling.png)', '']
    for title, head, rows in tables(found._replace(predicted=tuple(few)), chip):
        words = 1 if head[0] == HEAD[0] else 2
        lines += [title, '', *markdown_table(head, rows, words=words), '']
    return '\n'.join(lines)
