"""What reads the sentiment of a sentence best: words alone, a CNN, an RNN or a Transformer?

SST-2 (Socher et al. 2013): the phrases of film reviews, negative or positive, and whole sentences
to test on. With words that start at random Kim (2014) reports 82.7 % for his CNN, and 87.2 % with
vectors of words from elsewhere; BERT, pre-trained, has 93.5 %. All networks here start from random
vectors of 64 numbers; what stands above them has about 40,000 parameters.

    jaxdl run sentiment        fifty minutes on two CPU cores

The labelled test is measured once, at the end; GLUE's validation sentences choose the rate.
"""

import functools
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.baselines import majority
from jaxdl.claims import better, reaches
from jaxdl.data.sets.sst2 import NAMES, sst2
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.text import Words, token_table
from jaxdl.models.bert import BERT, SequenceClassifier
from jaxdl.models.rnn import RNNClassifier, TextCNN
from jaxdl.nn.recurrent import GRU, Bidirectional, SimpleRNN
from jaxdl.objectives.classification import classifier, read_tokens, show_misread
from jaxdl.study import BatchSize, Eval, Fraction, Peak, Phase, Steps, Study, each

LENGTH = 48  # words of a sentence that are read


class BagOfWords(nn.Module):
    """The mean of a sentence's word vectors, and a perceptron on it."""

    vocabulary: int
    hidden: int = 560

    @nn.compact
    def __call__(self, tokens: jax.Array, lengths: jax.Array, *, train: bool = False) -> jax.Array:
        """Tokens int [B, T] -> logits [B, 2]."""
        x = nn.Embed(self.vocabulary, 64)(tokens)
        real = (jnp.arange(tokens.shape[1])[None] < lengths[:, None])[..., None]
        mean = jnp.where(real, x, 0).sum(1) / jnp.maximum(lengths, 1)[:, None]
        x = nn.relu(nn.Dense(self.hidden)(mean))
        return nn.Dense(2)(nn.Dropout(0.5)(x, deterministic=not train))


NETWORKS = {  # of a vocabulary: about 40,000 parameters above the embedding
    'bag': BagOfWords,
    'cnn': partial(TextCNN, classes=2, embedding=64, features=52),
    'rnn': partial(RNNClassifier, classes=2, layers=(SimpleRNN(128), SimpleRNN(64)), dropout=0.5),
    'bigru': partial(
        RNNClassifier, classes=2, layers=(Bidirectional(partial(GRU, 56)),), dropout=0.5
    ),
    'transformer': lambda words: SequenceClassifier(
        2, BERT(words, LENGTH, 1, width=64, depth=1, heads=4, mlp=128)
    ),
}


@functools.cache
def reviews(split: str) -> tuple[Table, Words]:
    """Sentences as tokens, and the tokenizer of the training phrases."""
    train, table = sst2('train'), sst2(split)
    tokenizer = Words.learn(train.column('text'), pattern=r'\S+')
    rows = token_table(
        table.column('text'),
        tokenizer,
        length=LENGTH,
        columns={'y': table.column('y')},
        classes={'y': NAMES},
        name=f'sst2 {split}',
        card=table.card,
    )
    return rows, tokenizer


def trial(
    network: Literal['bag', 'cnn', 'rnn', 'bigru', 'transformer'] = 'cnn',
    steps: Steps = 2000,
    batch: BatchSize = 64,
    lr: Peak = 1e-3,
    smoothing: Fraction = 0.1,
) -> Phase:
    """One classifier of sentences.

    Args:
        network: what is trained.
        smoothing: label smoothing.
    """
    table, tokenizer = reviews('train')
    rate = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 10), steps)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.01))
    task = classifier(
        NETWORKS[network](tokenizer.vocabulary),
        opt,
        classes=NAMES,
        label_smoothing=smoothing,
        inputs=read_tokens,
    )
    test = in_order(reviews('test')[0], batch=256)
    show = partial(show_misread, decode=tokenizer.decode)
    return Phase(
        task,
        train=shuffled(table, batch=batch),
        valid=in_order(reviews('valid')[0], batch=256),
        tests={'test': Eval(test, show=show, every=steps)},
        steps=steps,
    )


def common(seed: int) -> dict[str, Any]:
    """The more frequent class."""
    known, truth = (reviews(split)[0].column('y') for split in ('train', 'test'))
    return {'test/accuracy': np.mean(majority(known, truth) == truth)}


study = Study(
    question='What reads sentiment best: words alone, a CNN, an RNN or a Transformer?',
    trial=trial,
    seeds=5,
    arms=each(network=NETWORKS),
    baselines={'common': common},
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 4},
    claims=[
        better('cnn', 'bag', 'test/accuracy'),
        better('bigru', 'cnn', 'test/accuracy'),
        better('bigru', 'rnn', 'test/accuracy'),
        better('cnn', 'transformer', 'test/accuracy'),
        reaches('cnn', 'test/accuracy', at_least=0.82).against('Kim 2014, CNN-rand: 82.7 %'),
    ],
)
