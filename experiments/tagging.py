"""Is a word known by what comes after it? Parts of speech from one side and from both.

Recurrent taggers of English sentences (LinES, Universal Dependencies): an LSTM that reads forward,
two of half its width that read from both ends (Schuster and Paliwal 1997; Graves and Schmidhuber
2005), and one that reads forward but is a word ahead when it decides. If reading ahead by one is
nearly as good as reading from both ends, it is the next word that tells. The majority tag is the
baseline.

    jaxdl run tagging        a quarter of an hour on two CPU cores
"""

import functools
from functools import partial
from typing import Any, Literal

import numpy as np
import optax

from jaxdl.baselines import majority
from jaxdl.claims import better
from jaxdl.data.sets.ud_english import ud_english
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.text import IGNORED, Words, tag_table
from jaxdl.models.rnn import Tagger
from jaxdl.nn.recurrent import LSTM, Bidirectional
from jaxdl.objectives.tagging import tagger
from jaxdl.study import BatchSize, Count, Fraction, Peak, Phase, Steps, Study

LENGTH = 64  # words of a sentence that are read


@functools.cache
def sentences(split: str) -> tuple[Table, Words, tuple[str, ...]]:
    """Sentences as tokens and tags, the tokenizer of the training words, and the tags' names."""
    table, train = ud_english(split), ud_english('train')
    words = [word for row in train.column('words') for word in row]
    tokenizer = Words.learn(words, least=2)
    names = table.classes['tags']
    rows = tag_table(
        table.column('words'),
        table.column('tags'),
        tokenizer,
        length=LENGTH,
        classes=names,
        name=f'ud_english {split}',
        card=table.card,
    )
    return rows, tokenizer, names


def trial(
    reads: Literal['forward', 'both', 'ahead'] = 'forward',
    units: Count = 64,
    steps: Steps = 600,
    batch: BatchSize = 32,
    lr: Peak = 3e-3,
    dropout: Fraction = 0.5,
) -> Phase:
    """One tagger.

    Args:
        reads: from where: up to the word, from both ends with half the units each, or to the next.
        units: of the LSTM.
    """
    table, tokenizer, names = sentences('train')
    forward, both = partial(LSTM, units), partial(Bidirectional, partial(LSTM, units // 2))
    module = Tagger(
        tokenizer.vocabulary,
        len(names),
        embedding=64,
        make=both if reads == 'both' else forward,
        ahead=int(reads == 'ahead'),
        dropout=dropout,
    )
    task = tagger(module, optax.adamw(optax.cosine_decay_schedule(lr, steps)), classes=names)
    return Phase(
        task,
        train=shuffled(table, batch=batch),
        valid=in_order(sentences('valid')[0], batch=128),
        tests={'test': in_order(sentences('test')[0], batch=128)},
        steps=steps,
    )


def common(seed: int) -> dict[str, Any]:
    """The most frequent tag, for every word."""
    known, asked = (sentences(split)[0].column('tags') for split in ('train', 'test'))
    truth = asked[asked != IGNORED]
    return {'test/accuracy': np.mean(majority(known[known != IGNORED], truth) == truth)}


study = Study(
    question='Is a word known by what comes after it?',
    trial=trial,
    seeds=5,
    arms={'forward': {}, 'both': {'reads': 'both'}, 'ahead': {'reads': 'ahead'}},
    baselines={'common': common},
    tune={'lr': (1e-3, 3e-3, 1e-2)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny={'steps': 4, 'batch': 4, 'units': 4},
    claims=[
        better('both', 'forward', 'test/accuracy'),
        better('ahead', 'forward', 'test/accuracy'),
        better('both', 'ahead', 'test/accuracy'),
    ],
)
