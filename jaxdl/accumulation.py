"""Gradients accumulated over micro-batches: the memory of one, and one optimizer step.

The batch of a step is cut into equal parts inside the program; their gradients are averaged, masked
rows weighing as in the whole batch (`jaxdl.micro_batches`), and every player moves once a turn. The
numbers are those of the whole batch where a loss is a mean over rows that do not see each other.
BatchNorm's statistics, the negatives of a contrastive loss and noise are of a micro-batch.
"""

from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.micro_batches import asking
from jaxdl.net import nets
from jaxdl.task import Batch, Metrics, State, Task


def accumulating(task: Task, parts: int) -> Task:
    """The same task, which takes each gradient in `parts` micro-batches.

    A learner inside it does so with the batches that it draws itself, as of a replay. Its step
    raises UsageError where parts do not divide the rows of a batch, and where it takes no gradient
    that could be cut: none is, but in a game's step.
    """
    if isinstance(parts, bool) or not hasattr(parts, '__index__') or parts < 1:
        raise UsageError(f'accumulate is {parts!r:.80}; it must be a whole number, at least 1')
    if parts == 1:
        return task

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
        with asking(parts) as asked:
            after = task.step(key, state, batch)
        if not asked.heard:
            raise UsageError(
                f'--accumulate {parts}: the task takes its gradients itself, in no game; 1 does'
            )
        return after

    note = (
        f'each gradient is of {parts} micro-batches, one after another; noise, and what rows see '
        'of each other (the statistics of BatchNorm, negatives), are of a micro-batch'
    )
    method = task.method._replace(notes=(*task.method.notes, note))
    return task._replace(step=step, micro_batches=parts, method=method)


def caution(task: Task, state: State, rows: int) -> str | None:
    """One line for a person, where micro-batches are not the same as the whole batch of `rows`."""
    kinds = {kind for net in nets(state) for kind in net.memory}
    if task.micro_batches == 1 or 'batch_stats' not in kinds:
        return None
    size = rows // task.micro_batches
    told = f' of {size} row{"s" * (size > 1)}' if size else ''
    return (
        f'--accumulate {task.micro_batches}: the statistics of BatchNorm are those of '
        f'micro-batches{told}, not of the batch'
    )
