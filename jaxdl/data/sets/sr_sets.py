"""Set5 and Set14: the pictures that super-resolution is measured on.

Set5 (Bevilacqua et al. 2012) and Set14 (Zeyde et al. 2010) as pairs of a picture, cut to a multiple
of the factor, and what MATLAB's imresize made of it. Set14's picture 6 is Set5's picture 4, so that
who trains on the one and tests on the other leaves it out: 'set14_train' does.
"""

from collections.abc import Iterator

import numpy as np

from jaxdl.data.card import Card
from jaxdl.data.folders import read_image
from jaxdl.data.public import Download, PublicSet, locate
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError, nearest

CARD = Card(
    'sr_set5_set14',
    'https://github.com/jbhuang0604/SelfExSR',
    licence='none stated for the images',
    citation='Bevilacqua et al. 2012 (Set5); Zeyde et al. 2010 (Set14); files of Huang et al. 2015',
    about='19 pictures and their small versions, for super-resolution.',
)
FACTOR = 4
SHARED = 6  # Set14's copy of a picture of Set5
PICTURES = {
    'set5': [('Set5', i) for i in range(1, 6)],
    'set14': [('Set14', i) for i in range(1, 15)],
    'set14_train': [('Set14', i) for i in range(1, 15) if i != SHARED],
}


def sr_pictures(split: str = 'set5') -> Table:
    """Whole pictures: `y` uint8 [H, W, 3], and `x` uint8 [H/4, W/4, 3], four times smaller.

    All are as large as the largest of the split: those that are not stand in the top left corner
    and are mirrored beyond their edges, as imresize does. sizes: int32 [2], the height and width
    that each has in `y`. Grey pictures have three equal channels.
    """
    pairs = list(_pairs(split))
    sizes = np.array([y.shape[:2] for _, y in pairs], np.int32)
    high, wide = (int(n) for n in sizes.max(0))
    columns = {
        'x': np.stack([_mirrored(x, high // FACTOR, wide // FACTOR) for x, _ in pairs]),
        'y': np.stack([_mirrored(y, high, wide) for _, y in pairs]),
        'sizes': sizes,
    }
    return from_arrays(columns, name=f'sr_set5_set14 {split}', card=CARD)


def sr_patches(split: str = 'set14_train', *, side: int = 16, step: int | None = None) -> Table:
    """Patches: `x` uint8 [side, side, 3], and `y` uint8 [4 side, 4 side, 3], what it was made of.

    Cut out of the pairs every `step` pixels of the small picture, None: half of `side`. So x has
    seen what lies around y, as it has in a picture.
    """
    step = step or max(1, side // 2)
    xs, ys = [], []
    for x, y in _pairs(split):
        high, wide = x.shape[:2]
        if min(high, wide) < side:
            raise UsageError(f'sr_patches: side={side} in a picture of {high}x{wide}')
        for i in range(0, high - side + 1, step):
            for j in range(0, wide - side + 1, step):
                xs.append(x[i : i + side, j : j + side])
                top, left, far = FACTOR * i, FACTOR * j, FACTOR * side
                ys.append(y[top : top + far, left : left + far])
    name = f'sr_set5_set14 {split}, patches'
    return from_arrays({'x': np.stack(xs), 'y': np.stack(ys)}, name=name, card=CARD)


def _pairs(split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(small, whole) of each picture."""
    if split not in PICTURES:
        raise UsageError(f'sr_set5_set14: there is no split {split!r}{nearest(split, PICTURES)}')
    for name, number in PICTURES[split]:
        x, y = (
            read_image(locate('sr_set5_set14', _file(name, number, kind)), size=None, mode='RGB')
            for kind in ('LR', 'HR')
        )
        yield x, y


def _file(name: str, number: int, kind: str) -> str:
    return f'{name}/image_SRF_{FACTOR}/img_{number:03}_SRF_{FACTOR}_{kind}.png'


def _mirrored(x: np.ndarray, high: int, wide: int) -> np.ndarray:
    more = ((0, high - x.shape[0]), (0, wide - x.shape[1]), (0, 0))
    return np.pad(x, more, mode='symmetric')


# Of the whole and the small one of each picture.
SET5 = """
ac41483d2caa808a58d1361f0172023913da3ac4a9514a135c92836eef1fbe99
55b1355cd7d7ac91180b3ddfc7c81b580e1d3e2a3dd5f77067ed228ab3af66cd
7ed486a42ce3fca8d9ed2ff328419a92a50fc64e479765552ee544eb45f187a2
ee4ddf5ad14578e61e4882f72d18c84a294f25982559c46b727afbeed385180d
a58f6334af41127d8de5ea64e36ad174623a689c1bd5c4100aee20738b93a944
4655f67e64a1249695825d8705f1e34ef627c57cef26054372971fe512f224c4
30bd282537e4660651d5f668252353a66723c301ccba541a699af053269e9eb3
a3cd8770e0f1fd3ae3a2acd2c82b2eb56f2672b1c111c724c9c3f74a7b122e38
653e3aa5cbc70487e38e31260ba2d42588d575e267e23951ea66157adc3285e6
4fedc415705fcd2d5106fb96bb191471680d48291f0602ef09ad1b12b4d370f4
"""
SET14 = """
457712bbc26ecc5cf27a05676bfa87ffc961072e1528bd91d5d682114d48da0d
443210ded3c07cacf06b5e146bc67dc1133e90bee3ff610ec05d233dbd33789a
40a708d97eaa92dc50c2f6f75f311be9e19ab929461326b09ab762932d55ff44
8cbedfcdddc1f74e51e0a55d1e1ba69d4f8330f5fbe6f043cf9ed9a4cba3b4fd
43c69e440a72615c1950247be2d328b61e3e26416e73279b74a93392c6e7c689
c1c3d0d55244256b5f6e6b22dde2c3f22f4bc1147cefc753f49d8dda4d95c7e9
4cfc2896b758d7003df528bd844791e2a65b97b21fa22609831b291e91d53986
f769ea1974eca6df9d8dbddfc25c313d0fb58e574cbabdb6fb1194df254d134e
5bf09299d1aa23249ae02e6537753f55185332c66f2fcbe93bcc0980de568c94
234e8535710f5b3f3ab28ceb4e2f1f87b69a11eb527b864953383d07cc42aed4
3e5dfb51996f2f40549c91250572c41534a7f2e1b6d7bd2c2f340ff217f7b8d6
6034ae7e797fdeef6df3d6f205ba8a3a4d3bb9790e64987b8ba5cfdde55eb13f
40860b285980c1496bc4d5895d31f6fdab3fe437978b241d4d00571e0222b5b4
fe3207f4376bbdf32c276a9ed525b24cccc8bcd3e59f93e6a728f04b488cf6bf
d5e2489c2f0255cb37c331da240b46e7bca03b4c1de26347e4d5c648a90f04bc
b07e5b0eff060cbf3887d27fb1d12946f5115e00a531ed3f60772a769ffbb863
3125a99a492f32b2463b2f13f70c59ebf471cba795985a3cf5758a14f8253f1e
9bcb3b3fb82d7b280f6b95fff8f1f233532a103ea30addf00958e9a7a840148f
d677c11654040dc29148d2b89ccb5d583e32a059ecd52e64d4c4d67ce81476ba
0af6f38b24c42f368780f91f9507af4cc586117900926896b5073560f54510ae
3bc8541d0ce9699f2770fe02702862959d62374d484d661aa4911c1c2a1a70ef
17f997a05453b562429ab081debfd1e9bef4aa9d1bde834d9bb218536ec39d04
c40805a5ba47d0da5f480858faa078eb8ba28c4e704ce9f6c3f32338a7fb5b63
a7bc5c41d8982eab729266de71244f528b7befc94b65add6e72d1421b13e4cf8
550a70ae67b871aabb9538ee832f2a2c59b5d39745670859556542ce62c8c042
82cd44aefdd05d6b82b9e57c2544fd5b958e86c2fa6fe45d8fce0aedec639db0
501f3e84fd699fc0fb47a425b19e7b5e0207107fe242d03627d4781cd8a26282
77046fe97858add23277b2b4b591c9d0d770da577028dd927c4937319396d4f0
"""

SET = PublicSet(
    name='sr_set5_set14',
    about='Set5 and Set14, pictures and their versions four times smaller (super-resolution)',
    source=CARD.source,
    licence=CARD.licence,
    files={
        file: Download(
            'https://raw.githubusercontent.com/jbhuang0604/SelfExSR/'
            f'8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/data/{file}',
            sha256,
        )
        for name, hashes in (('Set5', SET5), ('Set14', SET14))
        for file, sha256 in zip(
            [_file(name, i // 2 + 1, ('HR', 'LR')[i % 2]) for i in range(len(hashes.split()))],
            hashes.split(),
            strict=True,
        )
    },
    splits={name: len(pictures) for name, pictures in PICTURES.items()},
    load=sr_pictures,
)
