"""What do a replay and a target network do for deep Q-learning on Catch?

Mnih et al. 2015 (extended data, table 3) take the two out of DQN one at a time and both, and all of
it matters on Atari: Breakout falls from 317 to 241 without the target network, to 10 without the
replay, to 3 without both. Here the same on Catch as in bsuite (Osband et al. 2020), where 1 is the
best return and a random player gets -0.6. A step plays 32 moves and learns from 32 transitions:
those, without a replay, or 32 of the last 4,000, none of them twice. So every arm sees and learns
equally much, and only the order differs. How fast it is learned is compared, by the area under the
curve of the greedy policy's return: in the end all may get there.

    jaxdl run catch_dqn        some minutes on one CPU core
"""

import optax

from jaxdl.claims import area, better, larger_lead
from jaxdl.data.stream import nothing
from jaxdl.models.mlp import MLP
from jaxdl.rl.actor import actor, epsilon_greedy
from jaxdl.rl.catch import catch
from jaxdl.rl.dqn import q_learner, q_values
from jaxdl.rl.replay import distinct
from jaxdl.rl.show import show_episodes
from jaxdl.study import Count, Eval, Phase, Rate, Steps, Study

BATCH = 32


def trial(
    replay: Count = 4000,
    copy_every: Count = 50,
    lr: Rate = 3e-3,
    warm_up: Count = 500,
    steps: Steps = 1500,
) -> Phase:
    """DQN with a perceptron on Catch.

    Args:
        replay: transitions remembered; 32, a batch, is no replay.
        copy_every: steps between copies to the target network; 1 is no target network.
        lr: learning rate of Adam.
        warm_up: transitions played before learning begins.
    """
    env = catch()
    learner = q_learner(MLP((64, 64, env.actions)), optax.adam(lr), copy_every=copy_every)
    policy = epsilon_greedy(q_values, optax.linear_schedule(1.0, 0.1, max(1, steps // 2)))
    options = {'envs': BATCH, 'batch': BATCH, 'warm_up': warm_up, 'discount': 0.99}
    task = actor(env, replay=distinct(replay), learner=learner, policy=policy, **options)
    show = show_episodes(env, policy, episodes=4, rate=5)
    return Phase(
        task,
        nothing(),
        tests={'test': Eval(nothing(batches=1), show=show)},
        steps=steps,
        every=max(1, steps // 30),
        valid=Eval(nothing(batches=1), every=steps),
    )


RETURN = area('test/return')
study = Study(
    question='What do a replay and a target network do for deep Q-learning on Catch?',
    trial=trial,
    seeds=10,
    arms={
        'dqn': {},
        'no_replay': {'replay': BATCH},
        'no_target': {'copy_every': 1},
        'neither': {'replay': BATCH, 'copy_every': 1},
    },
    tune={'lr': (1e-3, 3e-3, 1e-2)},
    tuned_by='valid/return',
    tiny=dict(steps=20, warm_up=64, replay=256),
    claims=[
        better('dqn', 'no_replay', RETURN).against(
            'Mnih et al. 2015, Breakout: 317, without the replay 10'
        ),
        better('dqn', 'no_target', RETURN).against(
            'Mnih et al. 2015, Breakout: 317, without the target network 241'
        ),
        better('no_target', 'neither', RETURN),
        better('no_replay', 'neither', RETURN),
        larger_lead(('no_replay', 'neither'), ('dqn', 'no_target'), RETURN),
    ],
)
