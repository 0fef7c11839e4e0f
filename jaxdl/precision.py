"""Mixed precision: networks compute in bfloat16, and all that is kept stays in float32.

Parameters, their optimizer, gradients as they are applied, running statistics, losses and metrics
are float32; each network casts its parameters and inputs when it is called, and its outputs back
(Micikevicius et al. 2018, with a type that needs no scaled losses). On CPU it saves nothing.
"""

from typing import Any, Literal, get_args

import jax

from jaxdl.errors import UsageError, nearest
from jaxdl.keys import Key
from jaxdl.net import Net, is_net
from jaxdl.task import Batch, State, Task

Precision = Literal['float32', 'bf16']


def computing_in(task: Task, precision: Precision) -> Task:
    """The same task, whose networks compute in `precision`. Raises UsageError for another."""
    known = get_args(Precision)
    if precision not in known:
        raise UsageError(f'precision: unknown {precision!r}{nearest(precision, known)}')
    if precision == 'float32':
        return task

    def init(key: Key, batch: Batch) -> State:
        return jax.tree.map(_told, task.init(key, batch), is_leaf=is_net)

    def _told(node: Any) -> Any:
        if not isinstance(node, Net):
            return node
        shadow = None if node.shadow is None else _told(node.shadow)
        return node.replace(computes='bfloat16', shadow=shadow)

    note = 'networks compute in bfloat16; what is kept is in float32'
    return task._replace(init=init, method=task.method._replace(notes=(*task.method.notes, note)))
