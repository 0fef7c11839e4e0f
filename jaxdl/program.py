"""A program: a pure function of one seed, compiled for all of them when it is first called."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.layout import Compiled, Layout

Shapes = tuple[tuple[tuple[int, ...], Any], ...]


class Program:
    """`fn(*mine of one seed, *ours)`, which returns a tuple, for all seeds of a layout.

    It is compiled again for every new shape of what is `sent`, the arguments that do not come from
    a program of ours, and says so: a recompilation that nobody notices is a slow run.

    kind: what it does, for the log. donate: positions in `mine` whose buffers it may reuse.
    once: it runs a few times only. work: for the log, what one call computes.
    """

    def __init__(
        self,
        kind: str,
        fn: Callable[..., tuple[Any, ...]],
        layout: Layout,
        say: Callable[[str], None],
        *,
        donate: Sequence[int] = (),
        once: bool = False,
        work: str = '',
    ) -> None:
        self._kind, self._fn, self._layout, self._say = kind, fn, layout, say
        self._donate, self._once, self._work = donate, once, work
        self._compiled: dict[Shapes, Compiled] = {}
        self._latest: dict[Any, Shapes] = {}

    def __call__(
        self, mine: Sequence[Any], ours: Sequence[Any] = (), *, sent: Any = (), of: Any = None
    ) -> tuple[Any, ...]:
        """The values for all seeds, in the layout's form; without `mine`, one for all of them.

        of: what has one shape as a rule; another one's may differ (how many steps are scanned).
        """
        shapes = tuple((np.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(sent))
        compiled = self._compiled.get(shapes)
        if compiled is None:
            if of in self._latest:
                changes = _changes(sent, self._latest[of])
                self._say(f'warning: {self._kind} recompiles: {changes}')
            compiled = self._compiled[shapes] = self._compile(mine, ours)
            self._say(
                f'compiling {self._kind}: {compiled.seconds:.1f} s{self._work}, '
                f'{compiled.bytes / 1e6:.0f} MB'
            )
        self._latest[of] = shapes
        return tuple(compiled.call(*mine, *ours))

    def _compile(self, mine: Sequence[Any], ours: Sequence[Any]) -> Compiled:
        if not mine:
            return self._layout.compile_shared(self._fn, ours)
        return self._layout.compile(self._fn, mine, ours, self._donate, once=self._once)


def _changes(sent: Any, shapes: Shapes) -> str:
    """Which arguments have other shapes or types than before, by name."""
    named = jax.tree_util.tree_leaves_with_path(sent)
    changed = [
        f'{jax.tree_util.keystr(path)} {old_type}{list(old)} -> {x.dtype}{list(np.shape(x))}'
        for (path, x), (old, old_type) in zip(named, shapes, strict=False)
        if (np.shape(x), x.dtype) != (old, old_type)
    ]
    return '; '.join(changed) or 'the structure of the batch changed'
