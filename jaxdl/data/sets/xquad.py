"""XQuAD, English: questions whose answer is a part of a paragraph (Artetxe et al. 2020).

240 paragraphs of SQuAD's development set, 1,190 questions.
"""

from jaxdl.data.public import Download, PublicSet, card_of, locate
from jaxdl.data.rows import column_of
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.files import read_json

# Of ten paragraphs: there is no split of its own, and the questions of a paragraph stay together.
SPLITS = {'train': range(8), 'valid': range(8, 9), 'test': range(9, 10), 'all': range(10)}


def xquad(split: str = 'all') -> Table:
    """Columns `question`, `context`, `answers`, `starts` and `paragraph`, a row each question.

    answers: the right ones (one here); starts: the character of the context where each begins;
    paragraph: its number, 0..239. 'train', 'valid' and 'test' have 8, 1 and 1 of every ten
    paragraphs; another part can be taken of 'all' by that column.
    """
    if split not in SPLITS:
        raise UsageError(f'xquad: there is no split {split!r}{nearest(split, SPLITS)}')
    path = locate('xquad', 'xquad.en.json')
    try:
        paragraphs = [part for text in read_json(path, sealed=False)['data']
                      for part in text['paragraphs']]  # fmt: skip
        rows = [
            (
                each['question'],
                part['context'],
                [answer['text'] for answer in each['answers']],
                [answer['answer_start'] for answer in each['answers']],
                number,
            )
            for number, part in enumerate(paragraphs)
            for each in part['qas']
            if number % 10 in SPLITS[split]
        ]
    except (KeyError, TypeError) as error:
        raise JaxdlError(f'{path} is damaged: it is not as SQuAD has it: {error!r}') from error
    question, context, answers, starts, paragraph = zip(*rows, strict=True)
    columns = {
        'question': column_of(question),
        'context': column_of(context),
        'answers': column_of(answers, object),
        'starts': column_of(starts, object),
        'paragraph': column_of(paragraph),
    }
    return from_arrays(columns, name=f'xquad {split}', card=card_of(SET))


SET = PublicSet(
    name='xquad',
    about='questions whose answer is a part of a paragraph, English (extractive answers)',
    source='https://github.com/google-deepmind/xquad',
    licence='CC BY-SA 4.0',
    files={
        'xquad.en.json': Download(
            'https://raw.githubusercontent.com/google-deepmind/xquad/master/xquad.en.json',
            'e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29',
        )
    },
    splits={'all': 1190, 'train': 984, 'valid': 102, 'test': 104},
    load=xquad,
)
