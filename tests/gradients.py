"""Whole gradients three ways: as users get them, of plain layers, and of plain layers in float64.

A formulation that is right alone may be wrong inside a compiled network, where XLA computes things
again and fuses them otherwise. So what is compared is the gradient of a whole training loss.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from as_users import AS_USERS

from jaxdl import game
from jaxdl.net import takes_train
from jaxdl.task import Task

Gradients = Callable[..., Any]  # of (key, state, batch), or whatever the arguments are

Program = Callable[[Any], list[np.ndarray]]

# Rounding that is always allowed, of a tensor's own norm and of its share of the whole gradient's:
# where the plain gradients happen to be exact, three times nothing is nothing.
OWN, SHARE = 1e-6, 1e-6
DRAWS, ULPS = 16, 4  # of the plain gradient's rounding, and how far its arguments are moved
PLAIN = {'JAXDL_PLAIN_LAYERS': '1'}


def of_task(task: Task) -> Gradients:
    """The gradients that the players of a task's step would move against, one after another.

    Those of lazy losses too, whether it is their turn or not.
    """

    def due(name: str, player: Any, lazy: Any, *args: Any) -> Any:
        return game._descended(name, player, lazy.loss, *args)

    def gradients(key: Any, state: Any, batch: Any) -> list[Any]:
        seen = []

        def move(player: Any, seat: Any, grads: Any) -> Any:
            seen.append(grads)
            return seat

        with mock.patch.multiple(game, move=move, _lazily=due):
            task.step(key, state, batch)
        return seen

    return gradients


def of_module(module: nn.Module, method: str | None = None) -> Gradients:
    """The gradient of a drawn linear function of all outputs in training mode."""

    options: dict[str, Any] = {'train': True} if takes_train(module, method) else {}

    def gradients(key: Any, variables: Any, inputs: Any) -> Any:
        def loss(params: Any) -> Any:
            ys = module.apply(
                {**variables, 'params': params},
                *inputs,
                method=method,
                mutable=[name for name in variables if name != 'params'],
                rngs={'dropout': key, 'sampling': key, 'noise': key},
                **options,
            )[0]
            total = 0.0
            for i, y in enumerate(jax.tree.leaves(ys)):
                c = np.random.default_rng(i).standard_normal(y.shape).astype(y.dtype)
                total += (y * c).sum() / np.sqrt(y.size)
            return total

        return jax.grad(loss)(variables['params'])

    return gradients


def compiled(gradients: Gradients, args: Any, *, optimised: bool = False) -> Program:
    """A program that gives the leaves of a gradient, in float64 on the host."""
    level = AS_USERS | ({} if optimised else {'xla_backend_optimization_level': 0})
    with the_same_noise():
        program = jax.jit(lambda *args: gradients(*args)).lower(*args).compile(level)
    return lambda args: [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(program(*args))]


def plain(gradients: Gradients, args: Any) -> list[list[np.ndarray]]:
    """With Linen's layers, as often as rounding is drawn: the first time with `args` themselves."""
    with mock.patch.dict('os.environ', PLAIN):
        program = compiled(gradients, args)
    return [program(args), *(program(rounded(args, draw)) for draw in range(DRAWS))]


def exact(gradients: Gradients, args: Any, *, ours: bool = False) -> list[np.ndarray]:
    """In float64, with Linen's layers or with `ours`."""
    with jax.enable_x64(True):
        wide = jax.tree.map(widened, args)
        with mock.patch.dict('os.environ', {} if ours else PLAIN):
            return compiled(gradients, wide)(wide)


def widened(x: Any) -> Any:
    """Floats as float64."""
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def rounded(tree: Any, draw: int) -> Any:
    """The same numbers, changed by a few units in their last place."""
    rng = np.random.default_rng(draw)

    def change(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return (x * (1 + rng.uniform(-ULPS, ULPS, x.shape) * 2.0**-24)).astype(x.dtype)

    return jax.tree.map(change, tree)


def assert_as_near(ours: Any, plain: Any, exact: Any) -> None:
    """Assert that `ours` is at most three times as far from the exact gradient as a plain one.

    Over the whole gradient and tensor by tensor, the farthest of the plain ones. They are several,
    because one ReLU that flips by rounding moves a gradient more than all other rounding does, and
    flips in one of a few; what is lost is a hundred times as much.
    """

    def distances(gradient: Any) -> np.ndarray:
        return np.array([np.linalg.norm(g - x) for g, x in zip(gradient, exact, strict=True)])

    mine, theirs = distances(ours), np.array([distances(each) for each in plain])
    norms = np.array([np.linalg.norm(x) for x in exact])
    sizes = np.array([x.size for x in exact])
    whole = np.linalg.norm(norms)
    assert np.isfinite(whole) and whole > 0
    shares = whole * np.sqrt(sizes / sizes.sum())
    limits = 3 * theirs.max(0) + OWN * norms + SHARE * shares
    for i in np.flatnonzero(~(mine <= limits)):
        raise AssertionError(
            f'tensor {i} {exact[i].shape}: off by {mine[i] / norms[i]:.1e}, plain ones by '
            f'{theirs[:, i].max() / norms[i]:.1e}; its norm is {norms[i] / whole:.1e} of the whole'
        )
    ours_off, plain_off = np.linalg.norm(mine) / whole, np.linalg.norm(theirs, axis=1).max() / whole
    assert ours_off <= 3 * plain_off + OWN, f'off by {ours_off:.1e}, plain ones by {plain_off:.1e}'


def law(gradients: Gradients, args: Any, *, in_float64: bool = False) -> None:
    """Assert the law; `in_float64`: also that ours, in float64, is the plain one to 1e-9."""
    wide = exact(gradients, args)
    ours = compiled(gradients, args, optimised=True)(args)
    assert_as_near(ours, plain(gradients, args), wide)
    if in_float64:
        whole = np.sqrt(sum((x**2).sum() for x in wide))
        for i, (a, b) in enumerate(zip(exact(gradients, args, ours=True), wide, strict=True)):
            assert np.abs(a - b).max() <= 1e-9 * whole, f'tensor {i} {a.shape} differs in float64'


def stirred(tree: Any) -> Any:
    """The same state with 0.1 at most added to every float: a head of zeros hides all below it."""
    rng = np.random.default_rng(0)

    def stir(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x + rng.uniform(0, 0.1, x.shape).astype(x.dtype)

    return jax.tree.map(stir, tree)


@contextmanager
def the_same_noise() -> Iterator[None]:
    """Random numbers in float64 are those in float32, and nothing is dropped."""
    with ExitStack() as stack:
        for name in ('uniform', 'normal'):
            draw = getattr(jax.random, name)

            def narrow(
                key: Any, shape: Any = (), dtype: Any = None, *args: Any, draw: Any = draw
            ) -> Any:
                return draw(key, shape, jnp.float32, *args).astype(
                    jax.dtypes.canonicalize_dtype(dtype or float)
                )

            stack.enter_context(mock.patch.object(jax.random, name, narrow))
        whole = jax.random.randint
        stack.enter_context(
            mock.patch.object(
                jax.random,
                'randint',
                lambda key, shape, low, high: whole(key, shape, low, high, jnp.int32),
            )
        )

        def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            return args[0] if isinstance(context.module, nn.Dropout) else call(*args, **kwargs)

        stack.enter_context(nn.intercept_methods(keep))
        yield
