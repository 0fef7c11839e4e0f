"""Does a network describe an image better if it may look at it again for every word?

Up to five digits of MNIST (LeCun et al. 1998) side by side, at half their size and with gaps of any
width between them, are described from left to right: 'three seven one'. A convolutional network
looks at the image, and the decoder of a Transformer attends to its positions while it speaks (Xu et
al. 2015; Vaswani et al. 2017). Without attention it is given one vector of the whole: the mean over
all positions (Vinyals et al. 2015), which knows what is there, and hardly where; or what a dense
layer makes of all of them, which knows both. Images are composed anew for each batch and each seed,
of other digits in training, in validation and in the test.

Exact match is the part of 2,000 descriptions that are right from the first word to the last.

    jaxdl run caption        half an hour on two CPU cores
"""

import functools
from functools import partial
from typing import Literal

import optax

from jaxdl.claims import better, reaches
from jaxdl.data.sets.mnist import DIGITS, mnist, side_by_side
from jaxdl.data.table import Table
from jaxdl.data.text import Words
from jaxdl.models.captioning import Captioner, MeanFeature, OneVector, Positions
from jaxdl.objectives.seq2seq import decoded, seq2seq, show_captions
from jaxdl.study import BatchSize, Count, Eval, Peak, Phase, Steps, Study, each

MOST = 5  # digits of an image
LENGTH = MOST + 1  # words of a description, with its end
READERS = {'attention': Positions, 'mean': MeanFeature, 'vector': OneVector}


@functools.cache
def parts(examples: int) -> tuple[Table, Table, Table]:
    """Digits of 14x14 to train on, to validate and to test with."""
    train, test = mnist(examples, shrink=2)
    train, valid = train.split(valid=1 / 6, seed=0)
    return train, valid, test


def trial(
    look: Literal['attention', 'mean', 'vector'] = 'attention',
    steps: Steps = 2000,
    batch: BatchSize = 32,
    lr: Peak = 2e-3,
    images: Count = 2000,
    examples: Count = 60_000,
) -> Phase:
    """One network that describes images.

    Args:
        look: what it is given of an image.
        images: of the test.
        examples: digits that are known, those of validation among them.
    """
    tokenizer = Words.learn(DIGITS)
    train, valid, test = parts(examples)
    opt = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 20), steps)),
    )
    module = Captioner(tokenizer.vocabulary, read=READERS[look])
    rows = min(250, images)
    compose = partial(side_by_side, tokenizer=tokenizer, digits=(1, MOST), private=True)
    asked = partial(compose, batch=rows, batches=-(-images // rows))
    show = partial(show_captions, decode=tokenizer.decode, length=LENGTH)
    return Phase(
        seq2seq(module, opt),
        train=compose(train, batch=batch),
        valid=asked(valid),
        tests={
            'test': asked(test),
            'said': Eval(asked(test), measure=decoded(length=LENGTH), show=show, every=steps),
        },
        steps=steps,
        every=max(1, steps // 5),
        tokenizer=tokenizer,
    )


study = Study(
    question='Does a network describe an image better if it may look at it for every word?',
    trial=trial,
    seeds=5,
    arms=each(look=('attention', 'mean', 'vector')),
    tune={'lr': (1e-3, 2e-3, 4e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2, 'images': 4, 'examples': 60},
    claims=[
        better('attention', 'mean', 'said/sequence_accuracy'),
        better('attention', 'vector', 'said/sequence_accuracy'),
        reaches('attention', 'said/sequence_accuracy', at_least=0.9),
    ],
)
