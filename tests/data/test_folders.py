"""Image folders: the pixels, the classes, and what is left out, refused or named."""

import errno
import io
import random

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.folders import read_image
from jaxdl.data.rows import UnreadableRowError
from jaxdl.data.table import image_folder
from jaxdl.errors import DataMissingError, JaxdlError, UsageError


def pictures(tmp_path, sizes=((4, 6), (4, 6), (4, 6))):
    root = tmp_path / 'animals'
    for index, (height, width) in enumerate(sizes):
        folder = root / ('dog' if index % 2 else 'cat')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width, 3), [10 * index, 1, 2], np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
    (root / 'cat' / 'notes.txt').write_text('not an image')
    return root


def test_image_folder(tmp_path):
    table = image_folder(pictures(tmp_path))
    assert table.classes == {'y': ('cat', 'dog')}
    assert not table.in_memory and len(table) == 3
    assert table[:]['x'].shape == (3, 4, 6, 3) and table[:]['x'].dtype == np.uint8
    assert table[:]['x'][:, 0, 0, 0].tolist() == [0, 20, 10]
    assert table.column('y').tolist() == [0, 0, 1] and table.column('y').dtype == np.int32


def test_image_folder_resizes_and_greys(tmp_path):
    table = image_folder(pictures(tmp_path, [(4, 6), (8, 3)]), size=(5, 7), mode='L')
    assert table[:]['x'].shape == (2, 5, 7, 1)
    # ITU-R 601-2 luma of (10, 1, 2): 0.299 * 10 + 0.587 * 1 + 0.114 * 2 = 3.8
    assert set(table[:]['x'][1].ravel().tolist()) <= {3, 4}


def test_image_of_another_size_is_an_error(tmp_path):
    table = image_folder(pictures(tmp_path, [(4, 6), (8, 3)]))
    with pytest.raises(UnreadableRowError, match=r'1\.png: 3x8 pixels, the first has 6x4; give'):
        table.load()


@pytest.mark.parametrize('damage', [b'', b'\x89PNG no', None])
def test_damaged_image_is_named_and_can_be_cleaned_away(tmp_path, damage):
    root = pictures(tmp_path)
    path = root / 'cat' / '0.png'
    path.write_bytes(path.read_bytes()[:50] if damage is None else damage)
    table = image_folder(root)
    with pytest.raises(UnreadableRowError, match=r'cat/0\.png: no readable image'):
        table.load()
    kept, report = table.clean()
    assert str(report) == '3 rows: 0 missing, 0 duplicate, 1 invalid; 2 kept'
    assert '0.png' in report.unreadable[0]
    assert kept.load()[:]['y'].tolist() == [0, 1]


def test_image_folder_errors(tmp_path):
    with pytest.raises(DataMissingError, match='there is no such folder'):
        image_folder(tmp_path / 'gone')
    with pytest.raises(UsageError, match='one sub-folder for each class is needed'):
        image_folder(tmp_path)
    (tmp_path / 'cat').mkdir()
    with pytest.raises(UsageError, match='cat: no images here'):
        image_folder(tmp_path)
    with pytest.raises(UsageError, match=r"mode 'RGBB'; did you mean 'RGBA'|'RGB'"):
        image_folder(tmp_path, mode='RGBB')


# What a file becomes

RAMP = np.linspace(0, 65535, 64).round().reshape(8, 8)
GREY = np.round(RAMP / 257).astype(np.uint8)[..., None]


def stored(path, image, **options):
    """An image in a file of the format that its name says."""
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ('name', 'image'),
    [
        ('x.png', Image.fromarray(RAMP.astype(np.uint16))),
        ('x.tif', Image.fromarray(RAMP.astype(np.uint16))),
        ('x.tif', Image.fromarray(RAMP.astype('>u2'))),
        ('x.pgm', b'P5 8 8 65535\n' + RAMP.astype('>u2').tobytes()),
        ('x.tif', Image.fromarray((RAMP / 65535).astype(np.float32))),
    ],
)
def test_deeper_images_are_scaled(tmp_path, name, image):
    path = stored(tmp_path / name, image)
    np.testing.assert_array_equal(read_image(path, size=None, mode='L'), GREY)
    colour = read_image(path, size=None, mode='RGB')
    np.testing.assert_array_equal(colour, GREY.repeat(3, 2))
    assert read_image(path, size=(4, 4), mode='L').max() > 200


@pytest.mark.parametrize(
    ('pixels', 'line'),
    [
        (RAMP.astype(np.int32), 'whole numbers of 32 bits, of which nothing says what white is'),
        (RAMP.astype(np.float32), 'floats from 0 to 65535; those of an image are 0..1'),
        ((RAMP / 32768 - 1).astype(np.float32), 'floats from -1 to 0.99'),
        (np.full((2, 2), np.nan, np.float32), 'floats from nan to nan'),
    ],
)
def test_numbers_without_a_range_are_refused(tmp_path, pixels, line):
    path = stored(tmp_path / 'x.tif', Image.fromarray(pixels))
    with pytest.raises(UnreadableRowError, match=rf'x\.tif: {line}'):
        read_image(path, size=None, mode='L')


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('size', [None, (4, 2)])
def test_images_are_turned_upright(tmp_path, orientation, size):
    upright = np.zeros((8, 4), np.uint8)
    upright[:4, :2] = 255  # white above on the left
    lying = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x112] = orientation
    path = stored(tmp_path / 'x.png', Image.fromarray(lying.copy()), exif=exif)
    got = read_image(path, size=size, mode='L')[..., 0]
    want = upright if size is None else upright[::2, ::2]
    np.testing.assert_array_equal(got > 127, want > 127)


def test_palettes_are_looked_up_and_transparency_is_left_out(tmp_path):
    palette = Image.new('P', (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 255, 7] + [0] * 762)
    palette = stored(tmp_path / 'p.png', palette, transparency=bytes([255, 40]))
    clear = stored(tmp_path / 'c.png', Image.new('RGBA', (2, 2), (255, 3, 1, 0)))
    bits = stored(tmp_path / 'b.png', Image.new('1', (2, 2), 1))
    for path, mode, want in (
        (palette, 'RGB', [9, 255, 7]),
        (palette, 'RGBA', [9, 255, 7, 40]),
        (clear, 'RGB', [255, 3, 1]),
        (clear, 'RGBA', [255, 3, 1, 0]),
        (bits, 'L', [255]),
    ):
        assert read_image(path, size=None, mode=mode)[0, 0].tolist() == want


@pytest.mark.parametrize('kind', ['png', 'jpg', 'gif', 'bmp', 'tif', 'webp', 'ppm'])
def test_every_damage_of_an_image_is_one_line_that_names_it(tmp_path, kind):
    file, rng, path = io.BytesIO(), random.Random(0), tmp_path / f'x.{kind}'
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    kinds = {'jpg': 'jpeg', 'tif': 'tiff'}
    options = {} if kind in ('gif', 'bmp', 'ppm') else {'exif': exif}
    Image.fromarray(pixels).save(file, kinds.get(kind, kind), **options)
    whole = file.getvalue()
    for _ in range(60):
        cut = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.4 else whole)
        if cut and rng.random() < 0.7:
            at = rng.randrange(min(len(cut), 200))
            cut[at : at + 4] = rng.randbytes(4)
        path.write_bytes(bytes(cut))
        try:
            read_image(path, size=None, mode='RGB')
        except UnreadableRowError as error:
            assert str(error).startswith(f'{path}: ') and '\n' not in str(error)


@pytest.mark.parametrize('code', [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_machine_that_cannot_read_drops_no_row(tmp_path, code, monkeypatch):
    root = pictures(tmp_path)

    def opening(path):
        raise OSError(code, 'so it is')

    monkeypatch.setattr(Image, 'open', opening)
    with pytest.raises(JaxdlError, match=r'cat/0\.png cannot be read: so it is') as error:
        image_folder(root, size=(4, 4)).clean()
    assert error.value.code == 1 and not isinstance(error.value, UnreadableRowError)


# Which files, and which classes


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4), (9, 9, 9)).save(path)


@pytest.mark.parametrize('depth', ['.', 'cat', 'cat/deep'])
@pytest.mark.parametrize('rubbish', ['.hidden/1.png', '._0.png', '__MACOSX/cat/1.png', 'a.zip'])
def test_what_is_hidden_or_of_an_archive_is_left_out_at_every_depth(tmp_path, depth, rubbish):
    put(tmp_path / 'cat' / 'deep' / '0.png')
    path = tmp_path / depth / rubbish
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'\0\5\x16\7')
    table = image_folder(tmp_path)
    assert len(table.load()) == 1 and table.classes == {'y': ('cat',)}


def test_links_are_followed_at_every_depth(tmp_path):
    for name in ('one.png', 'two/2.png', 'three/deep/3.png', 'four/4.png'):
        put(tmp_path / 'else' / name)
    root = tmp_path / 'root'
    put(root / 'cat' / 'deep' / '0.png')
    (root / 'cat' / '1.png').symlink_to(tmp_path / 'else' / 'one.png')
    (root / 'cat' / 'two').symlink_to(tmp_path / 'else' / 'two')
    (root / 'cat' / 'deep' / 'three').symlink_to(tmp_path / 'else' / 'three')
    (root / 'dog').symlink_to(tmp_path / 'else' / 'four')
    table = image_folder(root)
    assert table.column('y').tolist() == [0, 0, 0, 0, 1] and len(table.load()) == 5


@pytest.mark.parametrize('place', ['dog', 'cat/1.png', 'cat/deep/more'])
def test_links_that_lead_nowhere_or_around_are_named(tmp_path, place):
    put(tmp_path / 'cat' / 'deep' / '0.png')
    link = tmp_path / place
    link.symlink_to('/nowhere/at/all')
    with pytest.raises(UsageError, match=rf'{place}: a link to /nowhere/at/all, which is not'):
        image_folder(tmp_path)
    link.unlink()
    link.symlink_to(tmp_path / 'cat' if place != 'dog' else tmp_path)
    with pytest.raises(UsageError, match='a link to a folder that it lies in'):
        image_folder(tmp_path)


def splits(root, **classes):
    for part, names in classes.items():
        for name in names:
            put(root / part / name / '0.png')
    return root


def test_classes_are_one_vocabulary_for_all_splits(tmp_path, caplog):
    root = splits(tmp_path, train=('bird', 'cat', 'dog'), test=('bird', 'dog'))
    names = ('dog', 'cat', 'bird')
    train, test = (image_folder(root / part, classes=names) for part in ('train', 'test'))
    assert train.classes == test.classes == {'y': names}
    assert (train.column('y').tolist(), test.column('y').tolist()) == ([0, 1, 2], [0, 2])
    assert caplog.messages == [f"{root / 'test'}: there are no images of the class 'cat'"]
    with pytest.raises(
        UsageError, match=r"train/dog: 'dog' is none of the classes; did you mean 'd"
    ):
        image_folder(root / 'train', classes=('bird', 'cat', 'dogs'))
    with pytest.raises(UsageError, match='a name stands there twice'):
        image_folder(root / 'train', classes=('bird', 'cat', 'cat', 'dog'))


def test_classes_are_not_numbered_by_folder(tmp_path):
    root = splits(tmp_path, train=('bird', 'cat', 'dog'), Test=('bird', 'dog'))
    line = 'Test: there is no class cat, which train beside it has: say what the classes are, clas'
    with pytest.raises(UsageError, match=line):
        image_folder(root / 'Test')
    names = image_folder(root / 'train').classes['y']
    assert image_folder(root / 'Test', classes=names).column('y').tolist() == [0, 2]
    put(root / 'Test' / 'cat' / '0.png')
    assert image_folder(root / 'Test').classes == {'y': ('bird', 'cat', 'dog')}
    # Of another dataset beside it nothing follows.
    splits(root, other=('cat', 'cow'), val=('apple', 'pear'))
    assert len(image_folder(root / 'Test')) == 3


def test_why_no_image_can_be_read_is_said(tmp_path):
    (tmp_path / 'cat').mkdir()
    for name in 'ab':
        stored(tmp_path / 'cat' / f'{name}.tif', Image.fromarray(RAMP.astype(np.int32)))
    with pytest.raises(UnreadableRowError, match=r'a\.tif: whole numbers of 32 bits.*nor can any'):
        image_folder(tmp_path).load()


def test_every_class_may_not_be_missing(tmp_path):
    (tmp_path / 'cat').mkdir()
    with pytest.raises(UsageError, match=r'no images of any class \(cat, dog\)'):
        image_folder(tmp_path, classes=('cat', 'dog'))
