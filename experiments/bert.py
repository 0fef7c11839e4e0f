"""Does pre-training help a small BERT, and is it the language in the text that helps?

BERT (Devlin et al. 2019) of 2 layers of 64 reads English with three in ten of its pieces hidden
(masked language model; the paper hides 15 %, and takes more steps) and, half of the time, with a
second part that is another text's (next sentence). From there it learns, with a new head each time,
to mark answers in paragraphs of XQuAD, one of ten of which is kept for the test; the entities of
WNUT17; and the sentiment of 100, 1,000 and 10,000 phrases of SST-2, balanced draws of each seed.
Beside it the same network from scratch, and one that was pre-trained on the same pieces shuffled:
of language it has learned how often each piece comes.

The text is what is at hand: training phrases of SST-2, posts of WNUT17, sentences of LinES,
training paragraphs of XQuAD, and plays of Shakespeare. Next sentences are spans of up to 14 words
that follow each other in one of these, as in the paper, whose sentences are "an arbitrary span of
contiguous text". No text of a test is read, and no label.

    jaxdl run bert        an hour and three quarters on one CPU core

The baselines are the more frequent class, the most frequent tag of each word, and the sentence that
shares most words with the question. One rate serves all targets; 1,000 labels choose it.
"""

import functools
import re
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.baselines import frequent_tags, majority, overlapping
from jaxdl.claims import better
from jaxdl.data.augment import compose
from jaxdl.data.draws import Draw, balanced
from jaxdl.data.sets.shakespeare import shakespeare
from jaxdl.data.sets.sst2 import NAMES, sst2
from jaxdl.data.sets.ud_english import ud_english
from jaxdl.data.sets.wnut17 import TAGS, wnut17
from jaxdl.data.sets.xquad import xquad
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.text import (
    IGNORED,
    Pieces,
    answer_table,
    masked,
    scrambled,
    sentence_pairs,
    sentence_table,
    spans,
    tag_table,
    token_table,
)
from jaxdl.data.text.tables import padded
from jaxdl.game import Player, beside
from jaxdl.metrics.answers import exact, f1
from jaxdl.metrics.entities import Entities
from jaxdl.models.bert import BERT, PreTraining, SequenceClassifier, SpanAnswers, TokenClassifier
from jaxdl.objectives.answering import span_answers
from jaxdl.objectives.classification import classifier, read_tokens
from jaxdl.objectives.language import masked_language_model
from jaxdl.objectives.tagging import tagger
from jaxdl.study import BatchSize, Count, Eval, Peak, Phase, Steps, Study, Trial, each
from jaxdl.task import Task
from jaxdl.transfer import graft

SPAN, LENGTH, CONTEXT = 14, 48, 256  # words of a span; pieces of two spans, and of a paragraph
LENGTHS = {'sst2': (48, 64), 'wnut17': (64, 128)}  # pieces in training, and where it is measured
LABELS = {'sst2_100': 100, 'sst2_10k': 10_000, 'sst2_1k': 1_000}
# Optimizer steps on each target. The numbers of the last one have no name before them.
TARGETS = {'xquad': 300, 'wnut17': 800, 'sst2_100': 200, 'sst2_10k': 1200, 'sst2_1k': 400}


def phrases() -> Table:
    """Training phrases of SST-2 of eight words and more, most like the sentences of the test."""
    table = sst2('train')
    return table.take(np.array([len(text.split()) >= 8 for text in table.column('text')]))


@functools.cache
def corpus() -> tuple[Pieces, Table, Table]:
    """The pieces of the text that is read, pairs of its spans, and of others that are held out."""
    sentences = [*wnut17().column('words'), *ud_english().column('words')]
    texts = [*phrases().column('text'), *map(' '.join, sentences), shakespeare()]
    texts += dict.fromkeys(xquad('train').column('context'))
    tokenizer = Pieces.bpe(texts, vocabulary=2_000, marks=['<mask>'])
    read, held_out = (
        sentence_table([spans(text, most=SPAN) for text in some], tokenizer, length=LENGTH)
        for some in (texts, sst2('valid').column('text'))
    )
    return tokenizer, read, held_out


@functools.cache
def rows(name: str, split: str) -> Table:
    """A split of a target as pieces."""
    tokenizer, named = corpus()[0], f'{name} {split}'
    if name == 'xquad':
        columns = map(xquad(split).column, ('question', 'context', 'answers', 'starts'))
        return answer_table(*columns, tokenizer, length=CONTEXT, name=named)
    length = LENGTHS[name][split != 'train']
    marks = {'length': length, 'start': True, 'end': True, 'name': named}
    if name == 'wnut17':
        table = wnut17(split)
        words, tags = table.column('words'), table.column('tags')
        return tag_table(words, tags, tokenizer, classes=TAGS, card=table.card, **marks)
    table = phrases() if split == 'train' else sst2(split)
    y = {'y': table.column('y')}
    return token_table(table.column('text'), tokenizer, columns=y, card=table.card, **marks)


def learner(
    target: str, bert: BERT, opt: optax.GradientTransformation
) -> tuple[Task, Table | Draw]:
    """What is learned from there on, and of what."""
    if target == 'xquad':
        return span_answers(SpanAnswers(bert), opt, longest=12), rows(target, 'train')
    if target == 'wnut17':
        module = TokenClassifier(len(TAGS), bert)
        return tagger(module, opt, classes=TAGS, entities=True), rows(target, 'train')
    task = classifier(SequenceClassifier(2, bert), opt, classes=NAMES, inputs=read_tokens)
    return task, balanced(rows('sst2', 'train'), each=LABELS[target] // 2)


def adam(lr: float, steps: int) -> optax.GradientTransformation:
    """AdamW that warms up for a tenth of its steps."""
    rate = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 10), steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.01))


def trial(
    start: Literal['pretrained', 'scratch', 'shuffled'] = 'pretrained',
    targets: Count = 5,
    width: Count = 64,
    pretraining: Steps = 6000,
    steps: Steps = 1200,
    batch: BatchSize = 32,
    lr: Peak = 1e-3,
) -> Trial:
    """Pre-training, if there is any, and every target from there.

    Args:
        start: from pre-training, from random weights, or from pre-training on shuffled pieces.
        targets: how many are learned, the last ones of TARGETS.
        width: of a layer, in heads of 16.
        pretraining: optimizer steps before, at a rate of 0.005.
        steps: optimizer steps on a target, at most; each has its own number.
        batch: rows of a training batch; half of them paragraphs of XQuAD.
    """
    tokenizer, read, held_out = corpus()
    bert = BERT(tokenizer.vocabulary, CONTEXT, 2, width, 2, heads=width // 16, mlp=4 * width)
    before = PreTraining(bert.clone(dropout=0.0))  # no text is read often
    phases = []
    if start != 'scratch':
        mixed = [scrambled(tokenizer)] if start == 'shuffled' else []
        hide = masked(tokenizer, rate=0.3, most=LENGTH // 3)
        made = compose(sentence_pairs(tokenizer, length=LENGTH), *mixed, hide)
        phases = [
            Phase(
                masked_language_model(before, adam(5e-3, pretraining), next_sentence=True),
                train=shuffled(read, batch=batch, augment=made, private=True),
                tests={'test': in_order(held_out, batch=64, transform=made)},
                steps=pretraining,
                name='pretraining',
            )
        ]
    for target, its_steps in [*TARGETS.items()][-targets:]:
        count = min(steps, its_steps)
        task, train = learner(target, bert, adam(lr, count))
        source = 'net' if len(phases) == 1 else 'before'
        take = graft(nets={'net': source, 'before': source}, parts={'bert/*': 'bert/*'})
        if start != 'scratch':  # what was pre-trained stays beside each, for the next
            task = beside(task, {'before': Player(before, None, None, inputs=read_tokens)})
        rows_of = partial(rows, 'sst2' if target in LABELS else target)
        phases.append(
            Phase(
                task,
                train=shuffled(train, batch=batch // 2 if target == 'xquad' else batch),
                valid=in_order(rows_of('valid'), batch=64),
                tests={'test': Eval(in_order(rows_of('test'), batch=64), every=count)},
                steps=count,
                every=max(1, count // 5),
                start=None if start == 'scratch' else take,
                name=target,
            )
        )
    return tuple(phases)


def common(seed: int) -> dict[str, Any]:
    """SST-2: the more frequent class."""
    known, truth = phrases().column('y'), sst2('test').column('y')
    right = np.mean(majority(known, truth) == truth)
    return dict.fromkeys([f'{name}test/accuracy' for name in ('', 'sst2_100/', 'sst2_10k/')], right)


def dictionary(seed: int) -> dict[str, Any]:
    """WNUT17: the tag that a word most often has."""
    train, test = wnut17('train'), wnut17('test')
    said = frequent_tags(train.column('words'), train.column('tags'), test.column('words'))
    longest = max(map(len, said))
    said, truth = (
        padded(tags, length=longest, pad=IGNORED)[0] for tags in (said, test.column('tags'))
    )
    found = Entities.of(jnp.array(said), jnp.array(truth), jnp.ones(len(truth), bool), tags=TAGS)
    return {f'wnut17/test/entity/{name}': number for name, number in found.value().items()}


def overlap(seed: int) -> dict[str, Any]:
    """XQuAD: the sentence that shares most words with the question."""
    test = xquad('test')
    said = [
        overlapping(question, re.split(r'(?<=[.!?])\s+', context))
        for question, context in zip(test.column('question'), test.column('context'), strict=True)
    ]
    pairs = list(zip(said, test.column('answers'), strict=True))
    found = {'f1': f1, 'exact_match': exact}
    return {
        f'xquad/test/{name}': 100 * np.mean([of(*pair) for pair in pairs])
        for name, of in found.items()
    }


study = Study(
    question='Does pre-training help a small BERT, and is it the language in the text that helps?',
    trial=trial,
    seeds=5,
    arms=each(start=('pretrained', 'scratch', 'shuffled')),
    baselines={'common': common, 'dictionary': dictionary, 'overlap': overlap},
    tune={'lr': (3e-4, 1e-3)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny={'targets': 2, 'width': 16, 'pretraining': 2, 'steps': 2, 'batch': 4},
    claims=[
        better('pretrained', other, number)
        for other in ('scratch', 'shuffled')
        for number in (
            *('sst2_100/test/accuracy', 'test/accuracy', 'sst2_10k/test/accuracy'),
            *('wnut17/test/entity/f1', 'xquad/test/f1'),
        )
    ],
)
