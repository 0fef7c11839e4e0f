"""Does deep Q-learning need its replay and its target network on Catch?

Mnih et al. 2015 (extended data, table 3) take the replay and the target network out of DQN one at a
time, and both matter on Atari; van Hasselt et al. 2016 change the target. Here the same on Catch as
in bsuite (Osband et al. 2020): 1 is the best return, a random player gets -0.6. The games are
inside the compiled step. The budget, 6,400 moves, is about what DQN needs; with more of them the
arm without replay comes near the others too.

    jaxdl run catch_dqn        about a minute on two CPU cores

Expected: return 1.00 in every seed for dqn, no_target and double, 0.7 for no_replay.
"""

import optax

from jaxdl.claims import better, in_seeds, no_worse
from jaxdl.data.stream import nothing
from jaxdl.models.mlp import MLP
from jaxdl.rl.actor import actor, epsilon_greedy
from jaxdl.rl.catch import catch
from jaxdl.rl.dqn import double_q_learning_loss, q_learner, q_learning_loss, q_values
from jaxdl.study import Count, Phase, Rate, Study


def trial(
    replay: Count = 4000,
    copy_every: Count = 100,
    double: bool = False,
    lr: Rate = 2e-3,
    envs: Count = 8,
    warm_up: Count = 500,
    steps: Count = 800,
) -> Phase:
    """DQN with a perceptron on Catch.

    Args:
        replay: transitions remembered; as many as envs is no replay
        copy_every: steps between copies to the target network; 1 is no target network
        double: the net chooses the action that its target network values
        lr: learning rate of Adam
        envs: games played side by side, one move each per step
        warm_up: transitions played before learning begins
        steps: minibatches learned from, of 64 transitions
    """
    env = catch()
    rule = double_q_learning_loss if double else q_learning_loss
    q_net, opt = MLP((64, 64, env.actions)), optax.adam(lr)
    learner = q_learner(q_net, opt, rule=rule, discount=0.99, copy_every=copy_every)
    policy = epsilon_greedy(q_values, optax.linear_schedule(1.0, 0.1, max(1, steps // 2)))
    options = {'envs': envs, 'batch': 64, 'warm_up': warm_up}
    task = actor(env, replay=replay, learner=learner, policy=policy, **options)
    return Phase(task, nothing(), {'test': nothing(batches=1)}, steps)


study = Study(
    question='Does deep Q-learning need its replay and its target network on Catch?',
    trial=trial,
    seeds=10,
    arms={
        'dqn': {},
        'no_replay': {'replay': 8},
        'no_target': {'copy_every': 1},
        'double': {'double': True},
    },
    tiny=dict(steps=20, warm_up=16, replay=256),
    claims=[
        in_seeds('dqn', 'test/return', at_least=0.95),
        better('dqn', 'no_replay', 'test/return'),
        no_worse('no_target', 'dqn', 'test/return', margin=0.05),
        no_worse('double', 'dqn', 'test/return', margin=0.05),
    ],
)
