"""Text as numbers: tokenizers, and tables and streams of tokens.

A text of one's own, to be learned by a language model::

    text = Path('mine.txt').read_text()
    tokenizer = Characters.learn(text)
    tokens = tokenizer.encode(text)
    train = random_windows(tokens[:-1000], length=64, batch=12)
    test = in_order(windows(tokens[-1000:], length=64), batch=100)

or to be classified, a line a text::

    train, test = csv('mine.csv', columns={'text': str, 'y': int}).split(test=0.1, seed=0)
    tokenizer = Words.learn(train.column('text'), most=10_000)
    labels = {'y': train.column('y')}
    table = token_table(train.column('text'), tokenizer, length=50, columns=labels)
    source = shuffled(table, batch=32)
"""

from jaxdl.data.text.answers import answer_table
from jaxdl.data.text.masking import (
    Joined,
    Masked,
    joined_pairs,
    mask_tokens,
    masked,
    scrambled,
    sentence_pairs,
    sentence_table,
    spans,
)
from jaxdl.data.text.pieces import Pieces, load
from jaxdl.data.text.tables import IGNORED, packed, pair_table, tag_table, token_table
from jaxdl.data.text.vocabulary import (
    WORDS_AND_SIGNS,
    Bytes,
    Characters,
    Special,
    Tokenizer,
    Words,
)
from jaxdl.data.text.windows import next_token, random_windows, windows

__all__ = [
    'IGNORED',
    'WORDS_AND_SIGNS',
    'Bytes',
    'Characters',
    'Joined',
    'Masked',
    'Pieces',
    'Special',
    'Tokenizer',
    'Words',
    'answer_table',
    'joined_pairs',
    'load',
    'mask_tokens',
    'masked',
    'next_token',
    'packed',
    'pair_table',
    'random_windows',
    'scrambled',
    'sentence_pairs',
    'sentence_table',
    'spans',
    'tag_table',
    'token_table',
    'windows',
]
