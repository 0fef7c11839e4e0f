"""Multi30k: descriptions of pictures in English and German (Elliott et al. 2016, task 1)."""

import gzip

from jaxdl.data.public import Download, PublicSet, card_of, locate
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import JaxdlError, UsageError, nearest

LANGUAGES = ('en', 'de')
SPLITS = {'train': 'train', 'valid': 'val', 'test': 'test_2016_flickr'}  # and their files' names


def multi30k(split: str = 'train') -> Table:
    """Columns `en` and `de`, a sentence each: 29,000 pairs, 1,014 ('valid'), 1,000 ('test', 2016).

    They are raw: as they were written, with capitals and signs.
    """
    if split not in SPLITS:
        raise UsageError(f'multi30k: there is no split {split!r}{nearest(split, SPLITS)}')
    columns = {language: _read(f'{SPLITS[split]}.{language}.gz') for language in LANGUAGES}
    return from_arrays(columns, name=f'multi30k {split}', card=card_of(SET))


def _read(file: str) -> list[str]:
    path = locate('multi30k', file)
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise JaxdlError(f'{path} is damaged: {error}') from error
    return [line.strip() for line in text.rstrip('\n').split('\n')]


HASHES = {
    'train.en.gz': 'd79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f',
    'train.de.gz': '726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6',
    'val.en.gz': '14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28',
    'val.de.gz': 'f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a',
    'test_2016_flickr.en.gz': '611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9',
    'test_2016_flickr.de.gz': '9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8',
}

SET = PublicSet(
    name='multi30k',
    about='descriptions of pictures, English and German (translation)',
    source='https://github.com/multi30k/dataset',
    licence='no licence file; of Flickr30K, for research and education that is not commercial',
    files={
        file: Download(
            'https://raw.githubusercontent.com/multi30k/dataset/'
            f'a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/{file}',
            sha256,
        )
        for file, sha256 in HASHES.items()
    },
    splits={'train': 29_000, 'valid': 1_014, 'test': 1_000},
    load=multi30k,
)
