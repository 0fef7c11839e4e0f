"""Attention, the Transformer, BERT and GPT-2."""

from typing import Any

from golden import Case, Exactly, Tokens

from jaxdl.nn.attention import padding_mask

WORDS = 17
SIZE = {'width': 12, 'depth': 2, 'heads': 3, 'mlp': 20}
BERT = {'vocabulary': WORDS, 'context': 11, **SIZE}
HEADS = ('bert_pretraining', 'bert_sequence', 'bert_tokens')
IMAGE = {'image': 32, 'patch': 8, **SIZE, 'classes': 5}
TOLERANCE = 2e-5

# '[CLS] deep learning is amazing! [SEP]' by the vocabulary of tests/interop/test_hub.py.
SENTENCE = Case(
    'bert',
    'hf',
    (Exactly(((2, 4, 5, 6, 7, 8, 3),)), Exactly((7,))),
    {'vocabulary': 9, 'context': 8, **SIZE},
    TOLERANCE,
)


def text(rows: int, steps: int, below: int = WORDS) -> tuple[Tokens, Exactly, Tokens]:
    """Tokens, how many of each row count, and which sentence each is of."""
    lengths = [1 + (5 * i + steps - 1) % steps for i in range(rows)]
    return Tokens((rows, steps), below), Exactly(lengths), Tokens((rows, steps), 2)


def pair(rows: int, steps: tuple[int, int], below: int = WORDS) -> tuple[Any, ...]:
    """Source, target, and how much of the source counts."""
    source, lengths, _ = text(rows, steps[0], below)
    return source, Tokens((rows, steps[1]), below), lengths


def looking(module: Any, x: Any, memory: Any, lengths: Any) -> Any:
    """Attention to what counts of a memory."""
    return module(x, memory, mask=padding_mask(lengths, memory.shape[1]))


def small(arch: str, layout: str, inputs: Any, config: Any, again: Any = ()) -> Case:
    """A case whose gradients are compared; also those on another batch.

    What is added to all keys changes all scores of a query alike, so a key's bias has no gradient.
    """
    zeros = ('*.key.bias', '*.k_proj.bias') if layout == 'hf' else ()
    return Case(arch, layout, inputs, config, TOLERANCE, train=True, again=again, zeros=zeros)


CASES = [
    Case(
        *('attention', 'torch', ((3, 5, 12), (3, 7, 12), Exactly((7, 2, 5)))),
        {'width': 12, 'heads': 3},
        1e-5,
        train=True,
        again=((1, 1, 12), (1, 9, 12), Exactly((9,))),
        call=looking,
    ),
    *(
        small(
            *('transformer', 'torch', pair(3, (7, 5))),
            {'vocabulary': WORDS, **SIZE, 'norm_first': first},
        )
        for first in (False, True)
    ),
    small('transformer', 'hf', pair(3, (7, 5)), BERT, pair(2, (4, 9))),
    small('bert', 'hf', text(3, 7), {**BERT, 'activation': 'relu'}, text(2, 11)),
    *(small(arch, 'hf', text(3, 7), BERT) for arch in HEADS),
    # Beyond a row's end our logits of an answer are -inf: whole rows only.
    small(
        *('bert_span', 'hf', text(3, 7)[:1]),
        {**BERT, 'epsilon': 1e-3},
    ),
    small('gpt2', 'hf', text(3, 7)[:1], BERT, text(2, 11)[:1]),
    small('vit_b_16', 'hf', ((2, 32, 32, 3),), IMAGE),
    SENTENCE,
    Case(
        *('attention', 'torch', ((2, 40, 512), (2, 50, 512), Exactly((50, 3)))),
        full=True,
        call=looking,
    ),
    Case('transformer', 'torch', pair(2, (40, 30), 32_000), {}, TOLERANCE, full=True),
    Case('transformer', 'hf', pair(2, (40, 30), 58_101), {}, TOLERANCE, full=True),
    Case('bert', 'hf', text(2, 60, 30_522), {}, TOLERANCE, full=True),
    *(Case(arch, 'hf', text(2, 60, 30_522), {}, TOLERANCE, full=True) for arch in HEADS),
    Case('bert_span', 'hf', text(2, 60, 30_522)[:1], {}, TOLERANCE, full=True),
    Case('gpt2', 'hf', text(2, 60, 50_257)[:1], {}, TOLERANCE, full=True),
    Case('vit_b_16', 'hf', ((1, 224, 224, 3),), {}, TOLERANCE, full=True),
]
