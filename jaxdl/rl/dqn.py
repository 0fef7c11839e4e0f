"""Deep Q-learning: a net that maps observations [n, ...] to action values [n, actions]."""

from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.game import Nets, Player, game, periodic_copy
from jaxdl.keys import Key
from jaxdl.losses import huber
from jaxdl.net import Net
from jaxdl.rl.env import Transition
from jaxdl.task import Batch, Metrics, State, Task

Array = jax.Array


class Rule(Protocol):
    """A loss of a net and its shadow on transitions: (loss, the net as it has become)."""

    def __call__(self, q: Net, batch: Transition, *, discount: float) -> tuple[Array, Net]:
        """See `q_learning_loss`."""
        ...


def q_learning_loss(q: Net, batch: Transition, *, discount: float) -> tuple[Array, Net]:
    """Q-learning with a target network: (loss, the net as it has become).

        mean of H(r + discount * goes_on * max_a Q'(s', a) - Q(s, a))

    H is the Huber function of width 1, which clips the error's gradient to [-1, 1]; Q' is
    `q.shadow` (Mnih et al. 2015, algorithm 1). No gradient flows into the bracket's first half.
    """
    following = _target(q)(batch.next_obs)[0].max(-1)
    return _temporal_difference(q, batch, following, discount)


def double_q_learning_loss(q: Net, batch: Transition, *, discount: float) -> tuple[Array, Net]:
    """Double Q-learning: the net chooses the next action, its shadow says what that is worth.

        mean of H(r + discount * goes_on * Q'(s', argmax_a Q(s', a)) - Q(s, a))

    Otherwise as `q_learning_loss` (van Hasselt et al. 2016, equation 4).
    """
    best = q(batch.next_obs)[0].argmax(-1)
    following = _pick(_target(q)(batch.next_obs)[0], best)
    return _temporal_difference(q, batch, following, discount)


def _temporal_difference(
    q: Net, batch: Transition, following: Array, discount: float
) -> tuple[Array, Net]:
    target = jax.lax.stop_gradient(batch.reward + discount * batch.goes_on * following)
    values, q = q(batch.obs, train=True)
    return huber(_pick(values, batch.action), target), q


def _pick(values: Array, action: Array) -> Array:
    """The value [n] of each row's action."""
    return jnp.take_along_axis(values, action[:, None], axis=-1)[:, 0]


def _target(q: Net) -> Net:
    if q.shadow is None:
        raise ValueError('Q-learning needs a target network: Player(..., shadow=periodic_copy(n))')
    return q.shadow


def q_learner(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    rule: Rule = q_learning_loss,
    discount: float,
    copy_every: int,
) -> Task:
    """The learner of an actor: one net, whose target network is a copy made every few steps.

    rule: `q_learning_loss` or `double_q_learning_loss`.
    """

    def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        value, q = rule(nets['q'], batch, discount=discount)
        return value, ({'q': q}, {})

    q = Player(module, loss, opt, lambda batch: (batch.obs,), shadow=periodic_copy(copy_every))
    # What an actor measures is its play; batches of transitions are for learning only.
    return game({'q': q}, lambda nets, batch, key: {})


def q_values(learner: State, obs: Array) -> Array:
    """The action values [n, actions] of a `q_learner`'s state, for a policy."""
    return learner['q'].net(obs)[0]
