"""Does attention help to translate, and is a Transformer better still?

Multi30k (Elliott et al. 2016), 29,000 descriptions of pictures, English to German, in 4,000 pieces
of both languages together (Sennrich et al. 2016); training reads those of at most 28 pieces, 94 in
100, four times. A GRU that has to keep a sentence in one state, the same with attention (Bahdanau
et al. 2015), and a Transformer with its norms first (Vaswani et al. 2017; Xiong et al. 2020); each
of 0.7 to 0.9 million parameters beside the vectors of pieces, of which the Transformer has one
table and the others three. BLEU by sacrebleu of the 1,000 sentences of test 2016, said greedily and
by a beam; and by the length of the source, where the state that holds everything should lose most.
Small Transformers that are trained ten times as long are reported with 38 to 41 BLEU.

    jaxdl run translate        two hours on two CPU cores
"""

import functools
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import numpy as np
import optax

from jaxdl.claims import better, reaches
from jaxdl.data.sets.multi30k import multi30k
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.text import Pieces, pair_table
from jaxdl.decoding import wu_penalty
from jaxdl.metrics.text import TRANSLATION
from jaxdl.models.seq2seq import Additive, NoAttention, Seq2Seq
from jaxdl.models.transformer import Transformer, pre_norm
from jaxdl.objectives.seq2seq import decoded, seq2seq, show_said
from jaxdl.study import BatchSize, Count, Eval, Fraction, Peak, Phase, Steps, Study, each

LENGTH = 48  # pieces of a sentence, with its marks
READ = 28  # pieces of a sentence that is trained on, at most
LONG = 16  # pieces of a source from which on it is a long one


@functools.cache
def pieces() -> Pieces:
    """The tokenizer, learned from the training sentences of both languages."""
    train = multi30k('train')
    return Pieces.bpe([*train.column('en'), *train.column('de')], vocabulary=4_000, lower=True)


@functools.cache
def pairs(split: str) -> Table:
    """English and German sentences as pieces."""
    table, tokenizer = multi30k(split), pieces()
    return pair_table(
        [text.lower() for text in table.column('en')],
        [text.lower() for text in table.column('de')],
        tokenizers=(tokenizer, tokenizer),
        length=(LENGTH, LENGTH),
        name=f'multi30k {split}',
        card=table.card,
    )


def up_to(table: Table, length: int) -> Table:
    """The pairs of at most so many pieces, without the room for more."""
    lengths = np.maximum(table.column('source_lengths'), table.column('target_lengths'))
    return table.take(lengths <= length).map(
        dict.fromkeys(('source', 'target'), lambda tokens: tokens[:, :length])
    )


def build(network: str, words: int, *, dropout: float) -> nn.Module:
    """One of the three networks."""
    if network == 'transformer':
        options: dict[str, Any] = {'residual': pre_norm, 'norm_last': True, 'dropout': dropout}
        return Transformer(words, width=128, depth=2, heads=4, mlp=512, **options)
    attention = NoAttention if network == 'plain' else partial(Additive, 128)
    return Seq2Seq(words, words, 128, 192, attention=attention, dropout=dropout)


def trial(
    network: Literal['plain', 'attention', 'transformer'] = 'attention',
    steps: Steps = 1800,
    batch: BatchSize = 64,
    lr: Peak = 1e-3,
    dropout: Fraction = 0.1,
    smoothing: Fraction = 0.1,
    sentences: Count = 1000,
) -> Phase:
    """One translator.

    Args:
        network: what is trained.
        sentences: of the test, the first ones.
        smoothing: label smoothing.
    """
    tokenizer = pieces()
    module = build(network, tokenizer.vocabulary, dropout=dropout)
    rate = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 10), steps)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.98))
    test = pairs('test').take(slice(sentences))
    short = test.column('source_lengths') < LONG
    say = partial(decoded, length=LENGTH, decode=tokenizer.decode, scores=TRANSLATION)
    show = partial(
        show_said, decode=tokenizer.decode, decode_source=tokenizer.decode, length=LENGTH
    )
    last = {'every': steps}
    return Phase(
        seq2seq(module, opt, label_smoothing=smoothing),
        train=shuffled(up_to(pairs('train'), READ), batch=batch),
        valid=in_order(pairs('valid'), batch=250),
        tests={
            'test': in_order(test, batch=250),
            'greedy': Eval(in_order(test, batch=250), measure=say(), show=show, **last),
            'beam': Eval(
                in_order(test, batch=50), measure=say(width=4, penalty=wu_penalty(0.6)), **last
            ),
            'short': Eval(in_order(test.take(short), batch=250), measure=say(), **last),
            'long': Eval(in_order(test.take(~short), batch=250), measure=say(), **last),
        },
        steps=steps,
        every=max(1, steps // 5),
        tokenizer=tokenizer,
    )


study = Study(
    question='Does attention help to translate, and is a Transformer better still?',
    trial=trial,
    seeds=3,
    arms=each(network=('plain', 'attention', 'transformer')),
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2, 'sentences': 8},
    claims=[
        better('attention', 'plain', 'greedy/bleu'),
        better('attention', 'plain', 'long/bleu').against(
            'Bahdanau et al. 2015: attention helps most on long sentences'
        ),
        better('transformer', 'attention', 'greedy/bleu'),
        reaches('transformer', 'beam/bleu', at_least=35),
    ],
)
