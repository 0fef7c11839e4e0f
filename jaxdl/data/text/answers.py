"""Questions whose answer is a part of a text, as tables of tokens."""

from collections.abc import Sequence

import numpy as np

from jaxdl.data.table import Table, from_arrays
from jaxdl.data.text.tables import known, pad_of, padded, told_cut
from jaxdl.data.text.vocabulary import Tokenizer
from jaxdl.errors import UsageError
from jaxdl.metrics.text import utf8


def answer_table(
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[Sequence[str]],
    starts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    *,
    length: int,
    name: str = 'questions',
) -> Table:
    """A row for each question: 'start, question, end, context, end' (Devlin et al. 2019, 4.2).

    Columns: `tokens` int32 [length], `lengths`, `sentences` int32 [length] (1 in the context);
    `start` and `end`, the first and the last token of the first answer, and `there` bool, whether
    they are in the row at all (else both are 0). For the answer as text: `context` and `answers`
    as UTF-8 bytes (the answers parted by zeros), and `bytes` int32 [length, 2], which bytes of the
    context a token stands for.

    answers: those that are right, one at least; starts: the character at which each begins.
    length: tokens of a row. A longer context is cut, and the name of the table says how many were.
    """
    rows, sentences, places, spans = [], [], [], []
    first, end = known(tokenizer, 'start'), known(tokenizer, 'end')
    for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        asked = tokenizer.encode(question)
        if len(asked) + 3 > length:
            raise UsageError(f'{name}, row {number}: the question alone is {len(asked)} tokens')
        ids, where = tokenizer.spans(context)
        begin = len(asked) + 2
        rows.append([first, *asked, end, *ids, end])
        sentences.append([*[0] * begin, *[1] * (len(ids) + 1)])
        sizes = np.cumsum([0, *(len(char.encode()) for char in context)])
        places.append((begin, sizes[np.array(where, np.int64).reshape(-1, 2)]))
        _check_answers(answers[number], starts[number], context, f'{name}, row {number}')
        low = starts[number][0]
        high = low + len(answers[number][0])
        inside = [i for i, (a, b) in enumerate(where) if a < high and b > low]
        spans.append((begin + inside[0], begin + inside[-1]) if inside else (length, length))
    tokens, lengths, cut = padded(rows, length=length, pad=pad_of(tokenizer), last=True)
    beyond = np.array([last >= length - 1 for _, last in spans])
    starts_, ends = np.where(beyond[:, None], 0, np.array(spans)).T
    bytes_of = np.zeros((len(rows), length, 2), np.int32)
    for i, (begin, some) in enumerate(places):
        count = min(len(some), length - 1 - begin)
        bytes_of[i, begin : begin + count] = some[:count]
    held = {
        'tokens': tokens,
        'lengths': lengths,
        'sentences': padded(sentences, length=length, pad=0)[0],
        'start': starts_.astype(np.int32),
        'end': ends.astype(np.int32),
        'there': ~beyond,
        'context': utf8(contexts),
        'bytes': bytes_of,
        'answers': utf8(['\0'.join(some) for some in answers]),
    }
    return from_arrays(held, name=name + told_cut(cut, len(rows), length))


def _check_answers(answers: Sequence[str], starts: Sequence[int], context: str, where: str) -> None:
    if not len(answers) or len(answers) != len(starts):
        raise UsageError(f'{where}: {len(answers)} answers and {len(starts)} places')
    for answer, start in zip(answers, starts, strict=True):
        if context[start : start + len(answer)] != answer:
            raise UsageError(f'{where}: {answer!r:.60} is not at character {start} of its context')
