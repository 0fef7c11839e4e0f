"""Does hiding parts of what is heard help to understand new speakers?

Spoken digits of six speakers (Jackson 2016), joined to utterances of one to five: MFCC, two
bidirectional LSTMs, and CTC, which needs no alignment (Graves et al. 2006). Recordings 0 to 4 of
each digit and speaker are the official test. SpecAugment (Park et al. 2019) hides frames and
frequencies in training. With a speaker held out the question is harder: the `new` arms have never
heard the one they are tested on.

    jaxdl run speech_digits        forty minutes on two CPU cores
"""

from functools import partial
from typing import Literal

import optax

from jaxdl.audio.fourier import frame_count
from jaxdl.audio.mel import HOP, mel_filters, mfcc, standardised
from jaxdl.claims import better, reaches
from jaxdl.data.augment import as_features, compose, spec_augment
from jaxdl.data.sets.spoken import official, speakers_apart, spoken_digit, utterances
from jaxdl.keys import Key
from jaxdl.models.speech import Recogniser
from jaxdl.objectives.speech import show_transcripts, speech_recognition
from jaxdl.study import BatchSize, Eval, Peak, Phase, Steps, Study, each
from jaxdl.task import Batch

SPOKEN = as_features(
    partial(mfcc, filters=mel_filters(), coefficients=20), partial(frame_count, hop=HOP)
)


def normalised(key: Key, batch: Batch) -> Batch:
    """Features of mean 0 and deviation 1 in each utterance."""
    return {**batch, 'x': standardised(batch['x'], batch['lengths'])}


def trial(
    augment: Literal['plain', 'hidden'] = 'plain',
    speakers: Literal['known', 'new'] = 'known',
    steps: Steps = 400,
    batch: BatchSize = 32,
    lr: Peak = 3e-3,
) -> Phase:
    """One recogniser.

    Args:
        augment: whether frames and frequencies are hidden in training.
        speakers: whether those of the test are in training.
    """
    table = spoken_digit()
    train, test = official(table) if speakers == 'known' else speakers_apart(table, ['theo'])
    train, valid = train.split(valid=0.1, seed=0)
    plain = compose(SPOKEN, normalised)
    hide = spec_augment(time=15, part=0.2, frequency=4)
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps))
    )
    show = partial(show_transcripts, symbols='0123456789')
    heard = partial(utterances, batch=100, transform=plain)
    return Phase(
        speech_recognition(Recogniser(11, dropout=0.2), opt),
        train=utterances(
            train, batch=batch, transform=compose(plain, hide) if augment == 'hidden' else plain
        ),
        valid=heard(valid, batches=2),
        tests={'test': Eval(heard(test, batches=5), show=show)},
        steps=steps,
        every=max(1, steps // 5),
    )


study = Study(
    question='Does hiding parts of what is heard help to understand new speakers?',
    trial=trial,
    seeds=5,
    arms=each(speakers=('known', 'new'), augment=('plain', 'hidden')),
    tune={'lr': (3e-3, 6e-3)},
    tuned_by='valid/wer',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2},
    claims=[
        reaches('known_plain', 'test/wer', at_most=0.03),
        better('known_hidden', 'known_plain', 'test/wer'),
        better('new_hidden', 'new_plain', 'test/wer').against(
            'Park et al. 2019: SpecAugment lowers word error rates'
        ),
    ],
)
