"""Is a network understood that says digits, also in voices that never said them?

Tacotron (Wang et al. 2017) reads 'seven' and makes mel frames, five at a time after the last one
before, and a spectrum of them; the method of Griffin and Lim (1984) finds the phases of a wave.
Spoken digits of five speakers (Jackson et al. 2018), each a voice. Ten of the fifty pairs of digit
and voice are never heard in training, two of each voice. A recogniser of the real recordings (two
bidirectional LSTMs and CTC) judges what is spoken, and recordings of the same through Griffin and
Lim alone (copy synthesis). 'lost' is the part of words that it mistakes when they are spoken, less
the part that it mistakes in copies. Who guesses is wrong in nine of ten.

    jaxdl run speak        half an hour on one CPU core; the report plays the digits
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.audio.fourier import frame_count, griffin_lim
from jaxdl.audio.mel import (
    HOP,
    MELS,
    SIZE,
    mel_filters,
    mfcc,
    power_spectrogram,
    standardised,
)
from jaxdl.claims import reaches
from jaxdl.data.augment import as_features
from jaxdl.data.sets.spoken import RATE, official, spelled, spoken_digit, utterances
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.game import Player
from jaxdl.keys import Key
from jaxdl.models.seq2seq import Additive
from jaxdl.models.speech import Recogniser
from jaxdl.models.tacotron import Tacotron
from jaxdl.objectives.speech import speech_recognition
from jaxdl.objectives.synthesis import intelligibility, show_speech, synthesis
from jaxdl.study import BatchSize, Count, Eval, Peak, Phase, Steps, Study, Trial
from jaxdl.task import Batch
from jaxdl.transfer import graft

LONGEST = 5600  # samples; one in fifty recordings is longer, and left out
GROUPS, REDUCTION = 15, 5  # the most that is spoken: 0.75 seconds
SPEECH_FILTERS = mel_filters(slaney_norm=False)
CEPSTRA = 20
CEPSTRAL = as_features(
    partial(mfcc, filters=mel_filters(), coefficients=CEPSTRA), partial(frame_count, hop=HOP)
)


def heard(key: Key, batch: Batch) -> Batch:
    """Cepstra of mean 0 and deviation 1 in each utterance."""
    batch = CEPSTRAL(key, batch)
    return {**batch, 'x': standardised(batch['x'], batch['lengths'])}


def spectra(key: Key, batch: Batch) -> Batch:
    """Mel frames and spectra of waves of equal peaks, as log10(1 + 10 magnitude): 0 is silence."""
    x = batch['x'].astype(jnp.float32)
    power = power_spectrogram(x / jnp.abs(x).max(1, keepdims=True))
    return {
        'frames': jnp.log10(1 + 10 * jnp.sqrt(power @ SPEECH_FILTERS)),
        'spectrum': jnp.log10(1 + 10 * jnp.sqrt(power)),
        'lengths': frame_count(batch['lengths'], hop=HOP),
        'voice': batch['speaker'],
        'y': batch['y'][:, None] + 1,  # 0 is the blank
        'y_lengths': jnp.ones_like(batch['y']),
        **{name: batch[name] for name in ('text', 'text_lengths', 'mask')},
    }


def wave(spectrum, lengths):
    """Waves of spectra as above, and their lengths in samples."""
    magnitude = (10 ** jnp.maximum(spectrum, 0) - 1) / 10
    return griffin_lim(magnitude, hop=HOP), (lengths - 1) * HOP


def hear(spectrum, lengths):
    """What the recogniser gets of a spectrum."""
    x, lengths = wave(spectrum, lengths)
    batch = heard(None, {'x': x, 'lengths': lengths})
    return batch['x'], batch['lengths']


def withheld(table: Table) -> np.ndarray:
    """Which recordings are of pairs of digit and voice that are never heard in training."""
    return table.column('y') % 5 == table.column('speaker')


def short(table: Table) -> Table:
    """What is short enough, with its letters."""
    kept = table.take(table.column('lengths') <= LONGEST)
    return spelled(kept).map({'x': lambda x: x[:, :LONGEST]})


def once(table: Table) -> Table:
    """One recording of each pair, voice by voice: what is spoken is the same for all of them."""
    pairs = np.stack([table.column('speaker'), table.column('y')])
    return table.take(np.unique(pairs, axis=1, return_index=True)[1])


def adam(peak: float, steps: int) -> optax.GradientTransformation:
    """Adam of a rate that falls along a cosine, with clipped gradients."""
    rate = optax.cosine_decay_schedule(peak, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def trial(
    steps: Steps = 2000,
    batch: BatchSize = 32,
    lr: Peak = 2e-3,
    recogniser: Count = 400,
    units: Count = 64,
) -> Trial:
    """The recogniser, then the synthesiser, which it judges.

    Args:
        lr: peak learning rate of the synthesiser, falling to zero along a cosine.
        recogniser: optimizer steps of the recogniser.
        units: of the synthesiser's GRUs, half as many as its decoder's have.
    """
    train, test = official(spoken_digit())
    ears = Recogniser(11, dropout=0.2)
    listen = partial(utterances, words=(1, 1), longest=1.3, transform=heard)
    before = Phase(
        speech_recognition(ears, adam(3e-3, recogniser)),
        train=listen(train, batch=batch),
        tests={'recorded': listen(test, batch=125, batches=2)},
        steps=recogniser,
        name='recogniser',
    )
    known, said = short(train), short(test)
    known, valid = known.take(~withheld(known)).split(valid=0.1, seed=0)
    new = withheld(said)
    judge = Player(ears, None, None, lambda _: (jnp.zeros((1, 2, CEPSTRA)), jnp.ones(1, int)))
    letters, mels, bins = 27, MELS, SIZE // 2 + 1
    module = Tacotron(
        *(letters, mels, bins, len(train.classes['speaker']), units, units, 2 * units, REDUCTION),
        banks=(6, 4),
        attention=partial(Additive, units),
    )

    def judged(table: Table) -> Eval:
        pairs = once(table)
        source = in_order(pairs, batch=len(pairs), transform=spectra)
        show = partial(show_speech, groups=GROUPS, wave=wave, rate=RATE)
        return Eval(source, intelligibility(groups=GROUPS, hear=hear), max(1, steps // 3), show)

    return before, Phase(
        synthesis(module, adam(lr, steps), judges={'judge': judge}),
        train=shuffled(known, batch=batch, augment=spectra),
        valid=in_order(valid, batch=100, transform=spectra),
        tests={'spoken': judged(said.take(~new)), 'new': judged(said.take(new))},
        steps=steps,
        start=graft(nets={'judge': 'net'}),
    )


study = Study(
    question='Is a network understood that says digits, also in voices that never said them?',
    trial=trial,
    seeds=5,
    arms={'tacotron': {}},
    tune={'lr': (1e-3, 2e-3)},
    tuned_by='valid/spectrum',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 8, 'recogniser': 2, 'units': 4},
    claims=[
        reaches('tacotron', 'spoken/copied/wer', at_most=0.1),
        reaches('tacotron', 'spoken/wer', at_most=0.2),
        reaches('tacotron', 'spoken/lost', at_most=0.1),
        reaches('tacotron', 'new/wer', at_most=0.3),
    ],
)
