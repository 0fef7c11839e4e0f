"""Deep Q-learning: a net that maps observations [n, ...] to action values [n, actions]."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.game import Nets, Player, game, periodic_copy
from jaxdl.keys import Key
from jaxdl.losses import huber
from jaxdl.metrics import Each
from jaxdl.micro_batches import whole
from jaxdl.net import Net
from jaxdl.rl.env import Transition
from jaxdl.rl.replay import Drawn
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array

# What the values of a batch's actions [n] are drawn towards, from the net and its shadow.
Rule = Callable[[Net, Transition], Array]
# What weighs errors: `huber` or another of `jaxdl.losses`, (predictions, targets, weights=) -> L.
Loss = Callable[..., Array]


def q_learning(q: Net, batch: Transition) -> Array:
    """The targets [n] of Q-learning with a target network, Q' = `q.shadow`.

        r + discount * max_a Q'(s', a)          (Mnih et al. 2015, algorithm 1)

    Raises ValueError where the net has no shadow.
    """
    following = _target(q)(batch.next_obs)[0].max(-1)
    return batch.reward + batch.discount * following


def double_q_learning(q: Net, batch: Transition) -> Array:
    """The targets [n] of double Q-learning: the net chooses, its shadow says what that is worth.

        r + discount * Q'(s', argmax_a Q(s', a))          (van Hasselt et al. 2016, equation 4)

    Raises ValueError where the net has no shadow.
    """
    best = q(batch.next_obs)[0].argmax(-1)
    following = _pick(_target(q)(batch.next_obs)[0], best)
    return batch.reward + batch.discount * following


def q_learning_loss(
    q: Net, drawn: Drawn, *, rule: Rule, loss: Loss = huber
) -> tuple[Array, tuple[Net, Array]]:
    """(the loss, (the net as it has become, the temporal-difference errors e [n])).

        mean of w * l(e),  e = target - Q(s, a)

    l is the Huber function of width 1, which clips the error's gradient to [-1, 1] (Mnih et al.
    2015), or what is given, w the rows' weights. No gradient flows into the targets.
    """
    rows = drawn.transitions
    target = jax.lax.stop_gradient(rule(q, rows))
    values, q = q(rows.obs, train=True)
    taken = _pick(values, rows.action)
    # The sum of weights is no part of it: rare rows would lose what others have in weight.
    value = loss(taken, target, weights=drawn.weight) * whole(drawn.weight.mean())
    return value, (q, target - taken)


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
    rule: Rule = q_learning,
    loss: Loss = huber,
    copy_every: int,
) -> Task:
    """The learner of an actor: one net, whose target network is a copy made every few steps.

    module: [n, ...] -> action values [n, actions]. rule: `q_learning` or `double_q_learning`.
    loss: of the errors. Huber's, which is the paper's, is for rewards that are clipped to 1: where
        values are large and ends are rare, the clipped errors of the ends are outvoted, and values
        may grow without end. `mean_squared_error` does not clip.
    """

    def learn(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        value, (q, errors) = q_learning_loss(nets['q'], batch, rule=rule, loss=loss)
        return value, ({'q': q}, {'error': Each.of(jax.lax.stop_gradient(errors))})

    def inputs(batch: Batch) -> tuple[Array]:
        return (batch.transitions.obs,)

    q = Player(module, learn, opt, inputs, shadow=periodic_copy(copy_every))
    # What an actor measures is its play; batches of transitions are for learning only.
    return game({'q': q}, lambda nets, batch, key: {})


def q_values(nets: Mapping[str, Net], obs: Array) -> Array:
    """The action values [n, actions] by the net of a `q_learner`, for a policy."""
    return nets['q'](obs)[0]
