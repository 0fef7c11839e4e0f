"""How does one teach a network to write molecules: which network, and in which language?

An LSTM and a GPT of about as many parameters write molecules as SMILES (Weininger 1988), of which
most texts are none, or as SELFIES (Krenn et al. 2020), of which each text is one. The only
molecules here are ESOL's 1,128 (Delaney 2004), of which 976 take no more than 40 symbols;
such models are trained on a million and more elsewhere (Brown et al. 2019). Every molecule is
written in eight ways, each along another walk through its bonds, and one of them is drawn each time
(Arus-Pous et al. 2019). The arm `lstm_one` has the canonical one alone.

1,000 texts are drawn at temperature 1. Valid: RDKit reads them. Unique: different molecules, of the
valid. Novel: of these, those that are none of ESOL's. New: all three, of all texts: a network that
has learned its molecules by heart is valid, and has nothing new. The baseline knows how often a
symbol follows two others. Needs the extra 'molecules'.

    jaxdl run molecules        half an hour on two CPU cores
    jaxdl sample molecules --arm gpt_smiles --prompt C --length 40
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.claims import better, reaches
from jaxdl.data.draws import Draw
from jaxdl.data.sets.esol import esol
from jaxdl.data.smiles import (
    SELFIES,
    SMILES,
    canonical_smiles,
    first_variant,
    from_selfies,
    one_variant,
    random_smiles,
    to_selfies,
    variants_table,
)
from jaxdl.data.stream import in_order, shuffled, synthetic
from jaxdl.data.table import Table
from jaxdl.data.text import Words
from jaxdl.metrics.invention import Invented
from jaxdl.models.gpt import GPT
from jaxdl.models.rnn import LanguageModel
from jaxdl.objectives.invention import invented, show_molecules
from jaxdl.objectives.keep_best import keep_best
from jaxdl.objectives.language import language_model
from jaxdl.study import BatchSize, Count, Eval, Fraction, Peak, Phase, Steps, Study

LONGEST = 40  # symbols of a molecule; one that has more in any of its texts is left out
LENGTH = LONGEST + 2
WAYS = 8  # in which each molecule is written
Language = Literal['smiles', 'selfies']


@functools.cache
def molecules() -> list[str]:
    """The canonical SMILES of all molecules, each once."""
    forms = [canonical_smiles(text) for text in esol().column('smiles')]
    return sorted({form for form in forms if form is not None})


@functools.cache
def texts(language: Language) -> list[list[str]]:
    """Each molecule in its canonical text, and then in WAYS others."""
    found = []
    for i, form in enumerate(molecules()):
        ways = [form, *random_smiles(form, count=WAYS, seed=i)]
        if language == 'selfies':
            ways = [each for each in map(to_selfies, ways) if each is not None]
        if len(ways) == 1 + WAYS:
            found.append(ways)
    return found


@functools.cache
def language_of(language: Language) -> tuple[Words, Table, Callable[[Iterable[int]], str]]:
    """The tokenizer, the molecules that are short enough, and what makes SMILES of tokens."""
    pattern = SMILES if language == 'smiles' else SELFIES
    written = texts(language)
    tokenizer = Words.learn(
        [text for ways in written for text in ways], pattern=pattern, between=''
    )
    short = [
        ways for ways in written if max(len(tokenizer.encode(text)) for text in ways) <= LONGEST
    ]
    table = variants_table(short, tokenizer, length=LENGTH, name='esol', card=esol().card)

    def smiles(ids: Iterable[int]) -> str:
        text = tokenizer.decode(ids)
        return text if language == 'smiles' else from_selfies(text)

    return tokenizer, table, smiles


@functools.cache
def parts(language: Language, ways: Literal['many', 'one']) -> tuple[Draw, ...]:
    """Training, validation and test molecules, each seed's own."""
    _, table, _ = language_of(language)
    chosen = slice(1, None) if ways == 'many' else slice(1)
    columns = {name: lambda x: x[:, chosen] for name in ('variants', 'variant_lengths')}
    return table.map(columns).draw(valid=0.1, test=0.1)


def build(network: str, words: int, dropout: float) -> nn.Module:
    """An LSTM or a GPT of about 150,000 parameters."""
    if network == 'lstm':
        return LanguageModel(words, (96, 96), 64, dropout=dropout)
    return GPT(words, LENGTH, width=64, depth=3, heads=4, dropout=dropout)


def trial(
    network: Literal['lstm', 'gpt'] = 'lstm',
    language: Language = 'smiles',
    ways: Literal['many', 'one'] = 'many',
    steps: Steps = 1500,
    batch: BatchSize = 32,
    lr: Peak = 3e-3,
    dropout: Fraction = 0.1,
    drawn: Count = 1000,
) -> Phase:
    """One language model, kept where its validation loss is least.

    Args:
        network: what is trained.
        language: in which molecules are written.
        ways: whether a molecule is written in one way or in many.
        drawn: texts that are drawn at the end.
    """
    tokenizer, _, smiles = language_of(language)
    train, valid, test = parts(language, ways)
    rate = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 20), steps)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate))
    rows = min(250, drawn)
    source = synthetic(
        lambda key: {'mask': jnp.ones(rows, bool)}, batches=-(-drawn // rows), private=True
    )
    write: dict[str, Any] = {'length': LENGTH - 1, 'decode': smiles}
    measure = invented(**write, canonical=canonical_smiles, known=molecules())
    show = functools.partial(show_molecules, **write)
    return Phase(
        keep_best(language_model(build(network, tokenizer.vocabulary, dropout), opt), 'loss'),
        train=shuffled(train, batch=batch, augment=one_variant),
        valid=in_order(valid, batch=128, transform=first_variant),
        tests={
            'test': in_order(test, batch=128, transform=first_variant),
            'drawn': Eval(source, measure=measure, show=show, every=steps),
        },
        steps=steps,
        tokenizer=tokenizer,
    )


def trigram(seed: int) -> dict[str, Any]:
    """SMILES of three symbols in a row: each is drawn by how often it followed the two before."""
    tokenizer, _, smiles = language_of('smiles')
    train, _, _ = parts('smiles', 'many')
    rows = train.of(seed).column('variants').reshape(-1, LENGTH)
    words = tokenizer.vocabulary
    counts = np.zeros((words, words, words), np.int64)
    end = tokenizer.id('</s>')
    before = np.concatenate([np.full((len(rows), 1), end), rows], axis=1)
    a, b, c = before[:, :-2], before[:, 1:-1], before[:, 2:]
    np.add.at(counts, (a[c > 0], b[c > 0], c[c > 0]), 1)
    rng = np.random.default_rng(seed)
    drawn = np.full((1000, LENGTH), end)
    for row in drawn:
        pair = (end, tokenizer.id('<s>'))
        for i in range(LENGTH):
            follows = counts[pair]
            row[i] = rng.choice(words, p=follows / follows.sum())
            if row[i] == end:
                break
            pair = (pair[1], row[i])
    found = Invented.of(
        drawn,
        np.ones(len(drawn), bool),
        decode=smiles,
        canonical=canonical_smiles,
        known=molecules(),
    )
    return {f'drawn/{name}': value for name, value in found.value().items()}


study = Study(
    question='How does one teach a network to write molecules: which one, in which language?',
    trial=trial,
    seeds=5,
    arms={
        'lstm_smiles': {},
        'gpt_smiles': {'network': 'gpt'},
        'lstm_selfies': {'language': 'selfies'},
        'gpt_selfies': {'network': 'gpt', 'language': 'selfies'},
        'lstm_one': {'ways': 'one'},
    },
    baselines={'trigram': trigram},
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 4, 'drawn': 8},
    claims=[
        reaches('lstm_smiles', 'drawn/valid', at_least=0.9),
        reaches('gpt_smiles', 'drawn/valid', at_least=0.9),
        better('lstm_smiles', 'trigram', 'drawn/valid'),
        better('lstm_selfies', 'lstm_smiles', 'drawn/valid').against(
            'Krenn et al. 2020: every text of SELFIES is a molecule'
        ),
        better('lstm_selfies', 'lstm_smiles', 'drawn/new'),
        better('lstm_smiles', 'lstm_one', 'drawn/new').against(
            'Arus-Pous et al. 2019: training on several SMILES of a molecule helps'
        ),
    ],
)
