"""What the soak has found so far: its injections, what came of each, and where the time went."""

from collections import Counter
from collections.abc import Sequence

from chaos.injections import DAMAGES, DISTURBANCES

Done = tuple[str, bool]  # what was done to a run, and whether a start refused it

HEAD = ('injection', 'times', 'survived, bit-equal', 'refused in one line', 'wrong')


class Tally:
    """Counts over histories."""

    def __init__(self) -> None:
        self.histories = self.bad = 0
        self._survived, self._refused, self._wrong = Counter[str](), Counter[str](), Counter[str]()
        self._training = self._seconds = 0.0

    def add(self, done: Sequence[Done], *, training: float, seconds: float) -> None:
        """A history that ended bit-equal; seconds of its training that counts, and in all."""
        self.histories += 1
        self._refused.update(name for name, refused in done if refused)
        self._survived.update(name for name, refused in done if not refused)
        self._training += training
        self._seconds += seconds

    def add_wrong(self, done: Sequence[Done]) -> None:
        """A history that did not: everything that was done to it is suspect."""
        self.histories += 1
        self.bad += 1
        self._wrong.update(name for name, _ in done)

    def table(self) -> str:
        """What was done how often, and what came of it, as Markdown."""
        columns = (self._survived, self._refused, self._wrong)
        rows = [HEAD]
        for name in (*DISTURBANCES, *DAMAGES):
            rows.append(_row(name, [counter[name] for counter in columns]))
        rows.append(_row('in all', [counter.total() for counter in columns]))
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
        ruled = [HEAD, tuple('-' * width for width in widths), *rows[1:]]
        return '\n'.join(f'| {" | ".join(map(str.ljust, row, widths))} |' for row in ruled)

    def sentence(self) -> str:
        """How many histories there were, and how much of their time was training that counts."""
        share = f'{self._training / self._seconds:.0%}' if self._seconds else 'none'
        return (
            f'{self.histories} histories, {self.bad} of them wrong; training that counts was '
            f'{share} of the time'
        )


def _row(name: str, counts: Sequence[int]) -> tuple[str, ...]:
    return (name, *map(str, (sum(counts), *counts)))
