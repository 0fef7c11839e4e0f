"""Small studies that stand for the kinds of tasks there are, one for each way to use the engine.

The laws run over these in `make test`, and over every experiment in `make laws`.
"""

import jax
import optax
import toy

from jaxdl.data.sets.rings import coverage, ring
from jaxdl.data.stream import in_order, nothing, shuffled, synthetic
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.adversarial import WASSERSTEIN, adversarial
from jaxdl.objectives.keep_best import keep_best
from jaxdl.rl.actor import actor, epsilon_greedy
from jaxdl.rl.catch import catch
from jaxdl.rl.dqn import q_learner, q_values
from jaxdl.rl.n_step import n_step
from jaxdl.rl.prioritised import prioritised
from jaxdl.study import Eval, Phase
from jaxdl.transfer import graft


def ragged() -> tuple[Phase, ...]:
    """BatchNorm, dropout, a slow copy; a last batch that is padded; rows that each seed draws."""
    table = from_arrays({'x': toy.X, 'y': toy.Y}, name='toy')
    rest, test = table.draw(test=0.3)

    def noisy(key, batch):
        return {**batch, 'x': batch['x'] + 0.1 * jax.random.normal(key, batch['x'].shape)}

    source = shuffled(rest, batch=8, augment=noisy)
    return (Phase(toy.task(), source, {'test': in_order(test, batch=20)}, steps=6),)


def gan() -> tuple[Phase, ...]:
    """Two players, one with several turns; noise of its own."""

    def measure(nets, batch, key):
        return coverage(nets['generator'](batch['noise'])[0], batch['mask'])

    task = adversarial(
        *(MLP((8, 2)), MLP((8, 1)), measure),
        rules=WASSERSTEIN,
        noise=2,
        generator_opt=optax.sgd(1e-2),
        critic_opt=optax.sgd(1e-2),
        critic_turns=2,
        penalty=0.1,
    )
    train = synthetic(lambda key: {'x': ring(key, 16)}, name='ring')
    test = synthetic(lambda key: {'noise': jax.random.normal(key, (20, 2))}, batches=2)
    return (Phase(task, train, {'test': test}, steps=6),)


def player() -> tuple[Phase, ...]:
    """A task that makes its own data: environments and a replay by priorities in the state."""
    env = catch()
    learner = q_learner(MLP((8, env.actions)), optax.sgd(1e-2), copy_every=2)
    policy = epsilon_greedy(q_values, optax.constant_schedule(0.5))
    memory = n_step(prioritised(64, beta=optax.linear_schedule(0.4, 1.0, 6)), 2)
    options = {'envs': 4, 'batch': 8, 'warm_up': 8, 'episodes': 10, 'discount': 0.9}
    task = actor(env, replay=memory, learner=learner, policy=policy, **options)
    return (Phase(task, nothing(), {'test': nothing(batches=1)}, steps=6),)


def kept() -> tuple[Phase, ...]:
    """Two phases: the best state of the first, taken over by the second."""
    first = Phase(
        keep_best(toy.task(), 'accuracy', patience=2),
        toy.train_source(),
        {'test': toy.test_source()},
        steps=6,
        every=2,
        valid=Eval(toy.test_source(batch=50), every=1),
        name='first',
    )
    second = Phase(
        toy.task(),
        toy.train_source(),
        {'test': toy.test_source()},
        steps=4,
        start=graft('params/Dense_1/*'),
    )
    return first, second


KINDS = {make.__name__: make for make in (ragged, gan, player, kept)}
