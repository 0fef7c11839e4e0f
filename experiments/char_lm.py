"""Does a Transformer write better than an LSTM, for the same steps and for the same time?

Characters of Shakespeare's plays (Karpathy 2015), the next one from those before it. nanoGPT's
small setting (4 blocks, 4 heads, width 128, context 64, batches of 12, 2,000 steps, dropout 0) ends
at a loss of 1.88 on the last tenth of the text, and 6 blocks of width 384, context 256, at 1.47.
The LSTM has two layers and as many parameters. Its gates wait for each other, character by
character, where attention is a few large products: on a CPU of few cores the LSTM may still be the
faster one.

    jaxdl run char_lm        half an hour on two CPU cores
    jaxdl run char_lm --arm gpt --big --context 256 --batch 64 --dropout 0.2 --steps 5000
                             the larger setting, for an accelerator
    jaxdl sample char_lm --arm gpt --prompt ROMEO: --length 50

The last tenth is the test; what chooses the rate is the tenth before it.
"""

import functools
from functools import partial
from typing import Literal

import flax.linen as nn
import numpy as np
import optax

from jaxdl.claims import better, reaches, sooner
from jaxdl.data.sets.shakespeare import shakespeare
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order
from jaxdl.data.text import Characters, random_windows, windows
from jaxdl.models.gpt import GPT
from jaxdl.models.rnn import LanguageModel
from jaxdl.objectives.language import language_model, show_continued
from jaxdl.study import BatchSize, Count, Eval, Fraction, Peak, Phase, Steps, Study


@functools.cache
def text() -> tuple[Characters, np.ndarray]:
    """The tokenizer, and all the text: its last tenth is the test."""
    whole = shakespeare('train') + shakespeare('validation+test')
    tokenizer = Characters.learn(whole)
    return tokenizer, np.array(tokenizer.encode(whole), np.int32)


def parts(tokens: np.ndarray, context: int) -> tuple[np.ndarray, Source, Source]:
    """What is trained on, and windows of the ninth tenth and of the last."""
    first, last = (int(len(tokens) * part) for part in (0.8, 0.9))
    valid, test = (
        in_order(windows(part, length=context, name=f'shakespeare {name}'), batch=128)
        for name, part in (('valid', tokens[first:last]), ('test', tokens[last:]))
    )
    return tokens[:first], valid, test


def network(kind: str, *, words: int, context: int, big: bool, dropout: float) -> nn.Module:
    """A GPT of 0.8 M parameters, or of 10.7 M; an LSTM of 0.8 M."""
    if kind == 'lstm':
        return LanguageModel(words, (256, 256), 64, dropout=dropout)
    width, depth = (384, 6) if big else (128, 4)
    return GPT(words, context, width=width, depth=depth, heads=depth, dropout=dropout)


def trial(
    kind: Literal['lstm', 'gpt'] = 'gpt',
    big: bool = False,
    steps: Steps = 2000,
    batch: BatchSize = 12,
    context: Count = 64,
    characters: Count = 1_115_394,
    lr: Peak = 1e-3,
    dropout: Fraction = 0.0,
) -> Phase:
    """One language model.

    Args:
        kind: of network.
        big: the larger of nanoGPT's settings.
        context: characters that it reads.
        characters: of the text, the first ones.
    """
    tokenizer, tokens = text()
    train, valid, test = parts(tokens[:characters], context)
    words = tokenizer.vocabulary
    module = network(kind, words=words, context=context, big=big, dropout=dropout)
    warm = min(100, steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0.0, lr, warm, steps, lr / 10)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=0.1))
    task = language_model(module, opt)
    show = partial(show_continued, decode=tokenizer.decode, length=context - 1)
    return Phase(
        task,
        train=random_windows(train, length=context, batch=batch, name='shakespeare'),
        valid=valid,
        tests={'test': Eval(test, show=show)},
        steps=steps,
        every=max(1, steps // 5),
        tokenizer=tokenizer,
    )


study = Study(
    question='Does a Transformer write better than an LSTM, for the same steps and the same time?',
    trial=trial,
    seeds=5,
    arms={'lstm': {'kind': 'lstm'}, 'gpt': {}},
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 4, 'batch': 2, 'characters': 20_000},
    claims=[
        better('gpt', 'lstm', 'test/loss', text='for the same steps gpt is the better one'),
        sooner('gpt', 'lstm', 'test/loss', at_most=2.2, by='seconds'),
        reaches('gpt', 'test/loss', at_most=1.88).against('nanoGPT, its small setting: 1.88'),
    ],
)
