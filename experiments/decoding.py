"""How fast does a GPT write here, and how fast in the library transformers?

Greedy, 64 tokens after a prompt of 32, with caches of keys and values in both. Weights are random,
which costs the same time as any. `make bench` runs it, or, where both libraries are installed,
`python -m experiments.decoding`; each turn of ours is followed by one of theirs.

    gpt    6 layers, width 384, 65 signs, 10.8 M parameters; rows 1 and 8
    gpt2   GPT-2's smallest, 12 layers, width 768, 50,257 words, 124 M; rows 1 and 8
"""

import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments._against_torch import Racer, apart, tell, torch_process
from jaxdl.cli.main import run_script
from jaxdl.cli.options import Option, parse
from jaxdl.cli.plan import surroundings
from jaxdl.errors import UsageError, nearest
from jaxdl.models.gpt import GPT
from jaxdl.net import Net
from jaxdl.objectives.language import continued
from jaxdl.run import machine
from jaxdl.study import Count, Rate

PROMPT, LENGTH, ROWS = 32, 64, (1, 8)  # tokens, tokens, texts at once

BEGIN = '<!-- decoding: written by `python -m experiments.decoding --record` -->'
END = '<!-- end of decoding -->'
HEAD = ['network', 'rows', 'jaxdl tokens/s', 'transformers tokens/s', 'jaxdl / transformers']
OPTIONS = [
    Option('only', tuple[str, ...], (), 'which networks; all if none is named'),
    Option('rounds', Count, 9, 'turns of each; the ratio of times is the median over them'),
    Option('seconds', Rate, 0.5, 'about how long a turn takes at least'),
    Option('record', bool, False, 'rewrite the table in experiments/README.md'),
]


class Size(NamedTuple):
    """Of a GPT."""

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int


SIZES = {'gpt': Size(65, 256, 384, 6, 6), 'gpt2': Size(50_257, 1024, 768, 12, 12)}


def main(words: list[str]) -> None:
    """Time the writing of ours and of transformers in turn, and print the ratios."""
    values = parse('decoding', OPTIONS, words, about=str(main.__doc__)).values
    if values['record'] and values['only']:
        raise UsageError('--record: it records all networks, so it goes without --only')
    for name in values['only']:
        if name not in SIZES:
            raise UsageError(
                f'--only: unknown network {name!r}{nearest(name, SIZES)}; '
                f'there are {", ".join(SIZES)}'
            )
    for library in ('torch', 'transformers'):
        if find_spec(library) is None:
            raise UsageError(f'decoding: {library} is not installed here; make bench installs it')
    rows = []
    for name in values['only'] or SIZES:
        for count in ROWS:
            rows.append(apart(race, name, count, values['rounds'], values['seconds']))
            print(*rows[-1], file=sys.stderr)  # the table comes last
    about = f'{LENGTH} tokens after {PROMPT}, greedily, on {surroundings()["devices"][0]}, medians '
    about += f'of {values["rounds"]} turns, transformers {version("transformers")} with PyTorch '
    about += f'{version("torch")}, jax {version("jax")}; the last column is of times.'
    readme = Path(__file__).with_name('README.md')
    tell(HEAD, rows, about, into=(readme, BEGIN, END) if values['record'] else None)


def race(name: str, rows: int, rounds: int, seconds: float) -> list[str]:
    """A line of the table."""
    if line := machine.tune_memory():
        print(line, file=sys.stderr)
    ours, parameters = writer(SIZES[name], rows)
    words = [*map(str, (*SIZES[name], rows, PROMPT, LENGTH))]
    with torch_process(words, parameters=parameters, program='_decoding_in_torch.py') as theirs:
        turns = raced((ours, theirs), rounds=rounds, seconds=seconds)
    return cells(name, rows, turns)


def writer(size: Size, rows: int) -> tuple[Racer, int]:
    """What writes `LENGTH` tokens to each row so many times, and the number of parameters."""
    prompts = jnp.ones((rows, PROMPT), jnp.int32)
    net = jax.jit(lambda key: Net.init(GPT(*size), key, prompts))(jax.random.key(0))

    @jax.jit
    def write(net: Net) -> jax.Array:
        return continued(net, prompts, jax.random.key(0), length=LENGTH, temperature=0)

    def times(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            write(net).block_until_ready()
        return time.perf_counter() - begun

    return times, sum(leaf.size for leaf in jax.tree.leaves(net.params))


def raced(racers: Sequence[Racer], *, rounds: int, seconds: float) -> np.ndarray:
    """Seconds that it takes each of the racers to write once, in turn, [rounds, racers]."""
    turns = []
    for racer in racers:
        racer(1)  # compiles
        turns.append((racer, max(1, round(seconds / racer(1)))))
    return np.array([[racer(count) / count for racer, count in turns] for _ in range(rounds)])


def cells(name: str, rows: int, turns: np.ndarray) -> list[str]:
    """Tokens a second of each racer, and the first one's time over the second's."""
    rates = rows * LENGTH / np.median(turns, axis=0)
    ratio = np.median(turns[:, 0] / turns[:, 1])
    return [name, str(rows), *(f'{rate:.0f}' for rate in rates), f'{ratio:.2f}']


if __name__ == '__main__':
    run_script(main)
