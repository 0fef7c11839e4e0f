"""What optax does not say in one word: parameters chosen by their path, or kept within bounds.

Schedules, clipping and chains are optax's own:
``optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, mask=decayed))``, and

    optax.warmup_cosine_decay_schedule(0, peak, warmup, steps)           `steps` include the warm-up
    optax.piecewise_constant_schedule(peak, {32_000: 0.1, 48_000: 0.1})  step decay by factors
    optax.exponential_decay(peak, 1000, 0.9)                             times 0.9 every 1000 steps
    optax.linear_schedule(peak, 0, steps)
"""

import fnmatch
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl.errors import UsageError, nearest
from jaxdl.paths import matching, path_name, paths


def freeze(opt: optax.GradientTransformation, *patterns: str) -> optax.GradientTransformation:
    """`opt` for all parameters but those whose path matches one of `patterns`: they do not move.

    A pattern is a shell glob over the whole path ('encoder/*', '*/bias'; `*` crosses slashes).
    Frozen parameters have no optimizer state and receive no weight decay. Raises UsageError at
    initialisation if a pattern matches nothing.
    """

    def labels(params: Any) -> Any:
        names = paths(params)
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise UsageError(
                    f'freeze: {pattern!r} matches no parameter{nearest(pattern, names)}'
                )
        return jax.tree_util.tree_map_with_path(lambda path, _: label(path_name(path)), params)

    def label(name: str) -> str:
        return 'frozen' if matching(patterns, name) else 'trained'

    return optax.partition({'trained': opt, 'frozen': optax.set_to_zero()}, labels)


def clip_weights(limit: float) -> optax.GradientTransformation:
    """After each step no parameter is beyond +-limit: ``optax.chain(opt, clip_weights(0.01))``.

    It stands last in a chain. WGAN keeps its critic Lipschitz so (Arjovsky et al. 2017, algorithm
    1, line 7). Raises UsageError for a limit that is not positive.
    """
    if not limit > 0:
        raise UsageError(f'clip_weights: the limit is {limit!r:.40}; it must be above 0')

    def update(updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)

    return optax.stateless(update)


def lazy_adam(
    learning_rate: float | optax.Schedule,
    *,
    every: int,
    b1: float = 0.0,
    b2: float = 0.99,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam of a player who moves k + 1 times in k = `every` turns (Karras et al. 2020, app. B).

    With c = k / (k + 1) it has the rate c lr and the decays b1^c and b2^c: as much is done in k
    turns as by Adam in k moves. The defaults are StyleGAN2's. A schedule is one of turns.
    """
    c = every / (every + 1)
    given = learning_rate  # mypy forgets inside the function what it is here
    rate = (lambda count: c * given(c * count)) if callable(given) else c * given
    return optax.adam(rate, b1**c, b2**c, eps)


def decayed(params: Any) -> Any:
    """The parameters that weight decay is for: `optax.adamw(..., mask=decayed)`.

    True for arrays of two axes and more that are multiplied with activations (kernels). False for
    biases, for the scales of norms, for what is added to activations or put beside them
    ('pos_embedding', 'class_token'), and for embedding tables: a step uses a few of their rows, and
    decay would shrink them all.
    """

    others = ('bias', 'scale', 'embedding', 'class_token')

    def decays(path: tuple[Any, ...], x: jax.Array) -> bool:
        # By name too: the biases of an attention layer have the axes [heads, width].
        return x.ndim >= 2 and not path_name(path).endswith(others)

    return jax.tree_util.tree_map_with_path(decays, params)
