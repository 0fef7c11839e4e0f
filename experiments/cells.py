"""Is a GRU as good as an LSTM, at equal width and at equal size?

Language models of one layer on the characters of Shakespeare's plays (Karpathy 2015). Chung et al.
(2014) find no clear winner at equal size; a GRU has three gates where an LSTM has four, and so
three quarters of its parameters and of its time at equal width.

    jaxdl run cells        twenty minutes on two CPU cores
"""

from typing import Literal

import optax

from experiments.char_lm import parts, text
from jaxdl.claims import no_worse, sooner
from jaxdl.data.text import random_windows
from jaxdl.models.rnn import LanguageModel
from jaxdl.nn.recurrent import GRU, LSTM
from jaxdl.objectives.language import language_model
from jaxdl.study import BatchSize, Count, Peak, Phase, Steps, Study

CELLS = {'gru': GRU, 'lstm': LSTM}


def trial(
    cell: Literal['gru', 'lstm'] = 'lstm',
    units: Count = 128,
    steps: Steps = 1500,
    batch: BatchSize = 32,
    context: Count = 64,
    characters: Count = 1_115_394,
    lr: Peak = 3e-3,
) -> Phase:
    """One language model.

    Args:
        cell: of its recurrent layer.
        units: of its state.
        context: characters that it reads.
        characters: of the text, the first ones.
    """
    tokenizer, tokens = text()
    train, valid, test = parts(tokens[:characters], context)
    module = LanguageModel(tokenizer.vocabulary, (units,), 64, layer=CELLS[cell])
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps))
    )
    return Phase(
        language_model(module, opt),
        train=random_windows(train, length=context, batch=batch, name='shakespeare'),
        valid=valid,
        tests={'test': test},
        steps=steps,
        every=max(1, steps // 5),
        tokenizer=tokenizer,
    )


study = Study(
    question='Is a GRU as good as an LSTM, at equal width and at equal size?',
    trial=trial,
    seeds=5,
    # 150 units make a GRU as large as an LSTM of 128, the embedding and the output included.
    arms={'lstm': {}, 'gru': {'cell': 'gru'}, 'gru_large': {'cell': 'gru', 'units': 150}},
    tune={'lr': (3e-3, 1e-2)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2, 'units': 4, 'characters': 20_000},
    claims=[
        no_worse('gru', 'lstm', 'test/loss', margin=0.02),
        no_worse('gru_large', 'lstm', 'test/loss', margin=0.02, equal='parameters').against(
            'Chung et al. 2014: no clear winner at equal size'
        ),
        sooner('gru', 'lstm', 'test/loss', at_most=1.9, by='seconds'),
    ],
)
