"""Omniglot: characters of many alphabets, each drawn by twenty people (Lake et al. 2015).

The two small parts of its background set, 136 and 156 characters of five alphabets each. Greek and
Latin are in both: who learns on one part and is tested on the other leaves them out of one.
"""

import io
import zipfile

import numpy as np

from jaxdl.data.public import Download, PublicSet, card_of, locate
from jaxdl.data.rows import column_of
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import JaxdlError, UsageError, nearest

SPLITS = {'small1': 2720, 'small2': 3120}
SIDE = 28  # the drawings have 105x105 pixels


def omniglot(split: str = 'small1') -> Table:
    """Drawings: x uint8 [28, 28, 1], ink is 255; y, the character, numbered over the alphabets.

    alphabet: its name; drawer int32, 1..20: who drew it, another twenty for each alphabet.
    """
    if split not in SPLITS:
        raise UsageError(f'omniglot: there is no split {split!r}{nearest(split, SPLITS)}')
    path = locate('omniglot', f'images_background_{split}.zip')
    try:
        with zipfile.ZipFile(path) as archive:
            # .../images_background_small1/Balinese/character01/0108_01.png
            names = sorted(
                name
                for name in archive.namelist()
                if name.startswith(path.stem + '/') and name.endswith('.png')
            )
            x = np.stack([_ink(archive.read(name)) for name in names])
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise JaxdlError(f'{path} is damaged: {error}') from error
    parts = [name.split('/')[1:] for name in names]
    characters = [f'{alphabet} {character}' for alphabet, character, _ in parts]
    classes, y = np.unique(characters, return_inverse=True)
    drawer = [int(file.removesuffix('.png').split('_')[1]) for _, _, file in parts]
    columns = {
        'x': x[..., None],
        'y': y.astype(np.int32),
        'alphabet': column_of([alphabet for alphabet, _, _ in parts]),
        'drawer': np.array(drawer, np.int32),
    }
    named = {'y': tuple(map(str, classes))}
    return from_arrays(columns, name=f'omniglot {split}', classes=named, card=card_of(SET))


def _ink(content: bytes) -> np.ndarray:
    """A drawing, black on white, as how much of each pixel of a smaller one is ink."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        small = image.convert('L').resize((SIDE, SIDE), Image.Resampling.BOX)
    return 255 - np.asarray(small)


_ADDRESS = (
    'https://raw.githubusercontent.com/brendenlake/omniglot/'
    '057f034baf2ecb8530bc5710e5a23584d2a519cc/python/images_background_{}.zip'
)
_DIGESTS = {
    'small1': 'f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4',
    'small2': '3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f',
}
SET = PublicSet(
    name='omniglot',
    about='hand-drawn characters of ten alphabets, twenty drawings each (few labels, transfer)',
    source='https://github.com/brendenlake/omniglot',
    licence='MIT',
    files={
        f'images_background_{split}.zip': Download(_ADDRESS.format(split), digest)
        for split, digest in _DIGESTS.items()
    },
    splits=SPLITS,
    load=omniglot,
)
