"""Can sequence-to-sequence networks compose what they have learned apart?

SCAN (Lake and Baroni 2018): commands such as 'jump twice and walk left' and the actions they mean.
Networks are tested on commands like those they were trained on (simple), on longer actions
(length), and on a verb they saw only alone (jump). An LSTM of theirs reaches 99.8 %, 13.8 % (20.8
at best) and 0.08 % (1.2 at best). A GRU without attention, with it, and a Transformer.

    jaxdl run scan        an hour on two CPU cores

A much better score on length or jump would hint at a leak. The part of rows that are right from the
first token to the last is judged; a tenth of the training commands chooses the rate.
"""

import functools
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import optax

from jaxdl.claims import reaches
from jaxdl.data.sets.scan import scan
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.text import Words, pair_table
from jaxdl.models.seq2seq import Additive, NoAttention, Seq2Seq
from jaxdl.models.transformer import Transformer, pre_norm
from jaxdl.objectives.seq2seq import decoded, seq2seq
from jaxdl.study import BatchSize, Eval, Fraction, Peak, Phase, Steps, Study, each

KINDS = {'simple': 'simple', 'length': 'length', 'jump': 'addprim_jump'}
SAID, READ = 50, 10  # actions and words of a row at most, and the marks


@functools.cache
def pairs(kind: str, split: str) -> tuple[Table, Words, Words]:
    """Rows of commands and actions, and their tokenizers."""
    train, table = scan(kind), scan(kind, split)
    words, actions = (
        Words.learn(train.column(name), pattern=r'\S+') for name in ('source', 'target')
    )
    rows = pair_table(
        table.column('source'),
        table.column('target'),
        tokenizers=(words, actions),
        length=(READ, SAID),
        name=f'scan {kind} {split}',
        card=table.card,
    )
    return rows, words, actions


def build(kind: str, source: int, target: int, *, dropout: float) -> nn.Module:
    """A GRU with attention or without, or a Transformer."""
    if kind == 'transformer':
        options: dict[str, Any] = {'residual': pre_norm, 'norm_last': True, 'dropout': dropout}
        return Transformer(max(source, target), width=64, depth=2, heads=4, mlp=256, **options)
    attention = NoAttention if kind == 'plain' else partial(Additive, 64)
    return Seq2Seq(source, target, 32, 100, attention=attention, dropout=dropout)


def trial(
    network: Literal['plain', 'attention', 'transformer'] = 'attention',
    kind: Literal['simple', 'length', 'jump'] = 'simple',
    steps: Steps = 2000,
    batch: BatchSize = 64,
    lr: Peak = 3e-3,
    dropout: Fraction = 0.1,
) -> Phase:
    """One network on one split.

    Args:
        network: what is trained.
        kind: how the test differs from training.
    """
    table, words, actions = pairs(KINDS[kind], 'train')
    train, valid = table.split(valid=0.1, seed=0)
    module = build(network, words.vocabulary, actions.vocabulary, dropout=dropout)
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps))
    )
    test = in_order(pairs(KINDS[kind], 'test')[0], batch=256)
    return Phase(
        seq2seq(module, opt),
        train=shuffled(train, batch=batch),
        valid=in_order(valid, batch=256),
        tests={
            'test': test,
            'said': Eval(test, measure=decoded(length=SAID), every=steps),
        },
        steps=steps,
        every=max(1, steps // 5),
        tokenizer=actions,
        source_tokenizer=words,
    )


study = Study(
    question='Can sequence-to-sequence networks compose what they have learned apart?',
    trial=trial,
    seeds=3,
    arms=each(network=('plain', 'attention', 'transformer'), kind=KINDS),
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2},
    claims=[
        reaches('attention_simple', 'said/sequence_accuracy', at_least=0.99).against(
            'Lake and Baroni 2018, LSTM: 99.8 %'
        ),
        reaches('attention_length', 'said/sequence_accuracy', at_most=0.25).against(
            'Lake and Baroni 2018, LSTM: 13.8 %, 20.8 % at best'
        ),
        reaches('attention_jump', 'said/sequence_accuracy', at_most=0.05).against(
            'Lake and Baroni 2018, LSTM: 0.08 %, 1.2 % at best'
        ),
        reaches('transformer_simple', 'said/sequence_accuracy', at_least=0.99),
        reaches('transformer_length', 'said/sequence_accuracy', at_most=0.25),
        reaches('transformer_jump', 'said/sequence_accuracy', at_most=0.05),
    ],
)
