"""WNUT-17: rare and new entities in posts on the web (Derczynski et al. 2017)."""

from jaxdl.data.public import Download, PublicSet, card_of, locate
from jaxdl.data.rows import column_of
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import JaxdlError, UsageError, nearest

KINDS = ('corporation', 'creative-work', 'group', 'location', 'person', 'product')
TAGS = ('O', *(f'{mark}-{kind}' for kind in KINDS for mark in 'BI'))
SPLITS = {
    'train': 'wnut17train.conll',
    'valid': 'emerging.dev.conll',
    'test': 'emerging.test.annotated',
}


def wnut17(split: str = 'train') -> Table:
    """Columns `words`, the words of a post, and `tags`, which of TAGS each has.

    3,394 / 1,009 / 1,287 posts.
    """
    if split not in SPLITS:
        raise UsageError(f'wnut17: there is no split {split!r}{nearest(split, SPLITS)}')
    path = locate('wnut17', SPLITS[split])
    words: list[list[str]] = [[]]
    tags: list[list[int]] = [[]]
    for number, line in enumerate(path.read_bytes().decode().split('\n'), start=1):
        word, _, tag = line.strip().partition('\t')
        if not word and words[-1]:  # between two posts
            words.append([])
            tags.append([])
        elif word:
            if tag not in TAGS:
                raise JaxdlError(f'{path} is damaged: line {number} has the tag {tag!r:.40}')
            words[-1].append(word)
            tags[-1].append(TAGS.index(tag))
    full = slice(None if words[-1] else -1)
    columns = {
        'words': column_of(words[full], object),
        'tags': column_of(tags[full], object),
    }
    return from_arrays(columns, name=f'wnut17 {split}', classes={'tags': TAGS}, card=card_of(SET))


HASHES = {
    'wnut17train.conll': '731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5',
    'emerging.dev.conll': 'e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8',
    'emerging.test.annotated': '2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0',
}

SET = PublicSet(
    name='wnut17',
    about='rare and new entities in posts on the web (named entities)',
    source='https://github.com/leondz/emerging_entities_17',
    licence='CC BY 4.0',
    files={
        file: Download(
            f'https://raw.githubusercontent.com/leondz/emerging_entities_17/master/{file}', sha256
        )
        for file, sha256 in HASHES.items()
    },
    splits={'train': 3394, 'valid': 1009, 'test': 1287},
    load=wnut17,
)
