"""How fast does DQN play and learn CartPole here, and how fast does a loop of PyTorch?

One environment, ten moves to a step of learning, a batch of 128 from the last 10,000, the net of
120 and 84 units: the numbers of cleanrl's DQN (Huang et al. 2022). In PyTorch the environment is
Gymnasium's, on the host; here it is in the compiled step. Several seeds are one program here, and
one after another there. Each turn of ours is followed by one of theirs.

    python -m experiments.dqn_speed [--record]        where torch and gymnasium are installed
"""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optax

from experiments._against_torch import apart, our_loop, tell, torch_process
from jaxdl.cli.main import run_script
from jaxdl.cli.options import Option, parse
from jaxdl.cli.plan import surroundings
from jaxdl.data.stream import nothing
from jaxdl.engine.engine import Engine
from jaxdl.errors import UsageError
from jaxdl.models.mlp import MLP
from jaxdl.rl.actor import actor, epsilon_greedy
from jaxdl.rl.cartpole import cartpole
from jaxdl.rl.dqn import q_learner, q_values
from jaxdl.rl.replay import uniform
from jaxdl.run import machine
from jaxdl.study import Count, Rate
from jaxdl.task import Task

HIDDEN, BATCH, PER_STEP, COPY_EVERY, REPLAY, RATE = (120, 84), 128, 10, 50, 10_000, 2.5e-4
SEEDS, CHUNK = (1, 10), 100  # CHUNK: steps of learning that our loop reports at once

BEGIN = '<!-- dqn: written by `python -m experiments.dqn_speed --record` -->'
END = '<!-- end of dqn -->'
HEAD = ['seeds', 'jaxdl moves/s', 'PyTorch moves/s', 'jaxdl / PyTorch']
OPTIONS = [
    Option('rounds', Count, 9, 'turns of each; the ratio of times is the median over them'),
    Option('seconds', Rate, 0.5, 'about how long a turn takes at least'),
    Option('record', bool, False, 'rewrite the table in experiments/README.md'),
]


def main(words: list[str]) -> None:
    """Time moves of ours and of PyTorch in turn, and print the ratios."""
    values = parse('dqn_speed', OPTIONS, words, about=str(main.__doc__)).values
    for library in ('torch', 'gymnasium'):
        if find_spec(library) is None:
            raise UsageError(f'dqn_speed: {library} is not installed here; make bench installs it')
    rows = []
    for seeds in SEEDS:
        rows.append(apart(race, seeds, values['rounds'], values['seconds']))
        print(*rows[-1], file=sys.stderr)  # the table comes last
    about = f'Moves of all seeds, a step of learning for {PER_STEP} of each, on '
    about += f'{surroundings()["devices"][0]}, medians of {values["rounds"]} turns, PyTorch '
    about += f'{version("torch")}, Gymnasium {version("gymnasium")}, jax {version("jax")}; the '
    about += 'last column is of times.'
    readme = Path(__file__).with_name('README.md')
    tell(HEAD, rows, about, into=(readme, BEGIN, END) if values['record'] else None)


def dqn() -> Task:
    """The task that is raced."""
    learner = q_learner(MLP((*HIDDEN, 2)), optax.adam(RATE), copy_every=COPY_EVERY)
    policy = epsilon_greedy(q_values, optax.constant_schedule(0.1))
    options = {'envs': 1, 'per_step': PER_STEP, 'batch': BATCH, 'warm_up': BATCH, 'discount': 0.99}
    return actor(cartpole(), replay=uniform(REPLAY), learner=learner, policy=policy, **options)


def race(seeds: int, rounds: int, seconds: float) -> list[str]:
    """A line of the table."""
    if line := machine.tune_memory():
        print(line, file=sys.stderr)
    engine = Engine(dqn(), nothing(), seeds=range(seeds), chunk=CHUNK)
    words = [*map(str, (*HIDDEN, BATCH, PER_STEP, COPY_EVERY, REPLAY, RATE))]
    process = torch_process(words, parameters=engine.parameters(), program='_dqn_in_torch.py')
    with process as theirs, our_loop(engine) as ours:
        turns = raced(ours, theirs, rounds=rounds, seconds=seconds)
    return cells(seeds, turns)


def raced(ours: Any, theirs: Any, *, rounds: int, seconds: float) -> np.ndarray:
    """Seconds of a step of learning and its moves, of one seed of theirs [rounds, 2], ours first.

    ours: steps -> seconds, of all seeds. theirs: moves -> seconds, of one.
    """
    found = []
    for racer, least, moves in ((ours, CHUNK, 1), (theirs, CHUNK, PER_STEP)):
        racer(least * moves)  # compiles, and fills what is drawn from
        steps = least * max(1, round(seconds / racer(least * moves)))
        found.append((racer, steps, steps * moves))
    return np.array([[racer(n) / steps for racer, steps, n in found] for _ in range(rounds)])


def cells(seeds: int, turns: np.ndarray) -> list[str]:
    """Moves a second of all seeds by each, and our time over theirs for all seeds."""
    ours, theirs = np.median(turns, axis=0)
    ratio = np.median(turns[:, 0] / (seeds * turns[:, 1]))
    rates = seeds * PER_STEP / ours, PER_STEP / theirs
    return [str(seeds), *(f'{rate:,.0f}' for rate in rates), f'{ratio:.3f}']


if __name__ == '__main__':
    run_script(main)
