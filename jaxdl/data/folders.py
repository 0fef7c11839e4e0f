"""Folders of images: one folder a class, read when asked."""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.data.rows import Columns, Rows, UnreadableRowError
from jaxdl.errors import DataMissingError, UsageError, nearest
from jaxdl.files import unread

if TYPE_CHECKING:
    from PIL import Image

IMAGES = frozenset(
    {'.bmp', '.gif', '.jfif', '.jpe', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff'}
    | {'.webp'}
)
ARCHIVES = frozenset({'__MACOSX'})  # what unpacking leaves beside the files
# Folders that lie beside each other as the splits of one dataset.
SPLITS = frozenset(
    {'train', 'training', 'valid', 'val', 'validation', 'dev', 'eval', 'test', 'testing'}
)
log = logging.getLogger(__name__)


class ImageFiles(Rows):
    """Images read from files when asked: x uint8 [k, height, width, channels], y int32 [k]."""

    names = ('x', 'y')

    def __init__(
        self, paths: Sequence[Path], labels: np.ndarray, *, size: tuple[int, int] | None, mode: str
    ):
        self._paths, self._labels, self._size, self._mode = list(paths), labels, size, mode

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        """Images are decoded only if 'x' is wanted."""
        readers: dict[str, Callable[[], np.ndarray]] = {
            'x': lambda: self._images(indices),
            'y': lambda: self._labels[indices],
        }
        return {name: readers[name]() for name in names}

    def _images(self, indices: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(indices), *self._shape), np.uint8)
        for place, index in enumerate(indices):
            image = read_image(self._paths[index], size=self._size, mode=self._mode)
            if image.shape != self._shape:
                raise UnreadableRowError(
                    f'{self._paths[index]}: {image.shape[1]}x{image.shape[0]} pixels, the first '
                    f'has {self._shape[1]}x{self._shape[0]}; give size=(height, width) to resize'
                )
            pixels[place] = image
        return pixels

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        """Height, width, channels of every image: given, or of the first that opens."""
        from PIL import Image

        channels = len(Image.new(self._mode, (1, 1)).getbands())
        if self._size is not None:
            return (*self._size, channels)
        why = None
        for path in self._paths:
            try:
                return read_image(path, size=None, mode=self._mode).shape
            except UnreadableRowError as error:
                why = why or error  # it is reported when its row is read
        raise UnreadableRowError(f'{why}; nor can any other be read')


def read_image(path: Path, *, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """An image file as uint8 [height, width, channels], upright, of several frames the first.

    Raises UnreadableRowError for what is no image, is damaged, or whose numbers have no known
    range; JaxdlError where the machine cannot read it now.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            # Cameras store what they saw lying, and how it is to be turned.
            picture = _eight_bits(ImageOps.exif_transpose(image), image.format, path)
            if picture.mode == 'P' and 'transparency' in picture.info:
                picture = picture.convert('RGBA')
            picture = picture.convert(mode)
    except (UnreadableRowError, MemoryError):
        raise
    except Exception as error:  # whatever decoders raise of bytes that are no image
        if isinstance(error, OSError) and error.errno is not None:
            raise unread(path, error) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableRowError(f'{path}: no readable image: {reason}') from error
    if size is not None:
        height, width = size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _eight_bits(image: 'Image.Image', kind: str | None, path: Path) -> 'Image.Image':
    """The image with values 0..255. Pillow's own conversion cuts off what is larger."""
    from PIL import Image

    if image.mode.startswith('I;16') or (image.mode == 'I' and kind in ('PNG', 'PPM')):
        values = np.asarray(image).astype(np.float64) / 257
    elif image.mode == 'F':
        values = np.asarray(image).astype(np.float64) * 255
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
            raise UnreadableRowError(
                f'{path}: floats from {values.min() / 255:.6g} to {values.max() / 255:.6g}; those '
                'of an image are 0..1: scale them, or make the image 8 or 16 bits'
            )
    elif image.mode == 'I':
        raise UnreadableRowError(
            f'{path}: whole numbers of 32 bits, of which nothing says what white is: make the '
            'image 8 or 16 bits'
        )
    else:
        return image
    return Image.fromarray(np.round(values).astype(np.uint8))


def find_images(
    path: Path, classes: Sequence[str] | None = None
) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """The image files of `path`/CLASS/..., their class numbers, and the class names.

    classes: the names in the order of their numbers; None: those of the folders, sorted.
    Raises UsageError for a folder that is no class, and without `classes` where a split beside
    this one has more of them.
    """
    if not path.is_dir():
        raise DataMissingError(f'{path}: there is no such folder')
    there = _class_folders(path)
    if not there:
        raise UsageError(f'{path}: one sub-folder for each class is needed, there is none')
    if classes is None:
        _check_neighbours(path, there)
    names = tuple(there if classes is None else classes)
    if len(set(names)) < len(names):
        raise UsageError(f'{path}: classes={list(names)}: a name stands there twice')
    for name in there:
        if name not in names:
            raise UsageError(
                f'{path / name}: {name!r} is none of the classes{nearest(name, names)}'
            )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(_images(path / name)) if name in there else []
        if not found and classes is None:
            raise UsageError(f'{path / name}: no images here ({", ".join(sorted(IMAGES))})')
        if not found:
            log.warning('%s: there are no images of the class %r', path, name)
        files += found
        labels += [label] * len(found)
    if not files:
        raise UsageError(f'{path}: no images of any class ({", ".join(names)})')
    return files, np.array(labels, np.int32), names


def _class_folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(path) if entry.is_dir())


def _entries(folder: Path) -> Iterator[Path]:
    """What counts in a folder, wherever it is: nothing hidden or left by an archive, but links.

    Raises UsageError for a link that leads nowhere.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise unread(folder, error) from error
    for entry in entries:
        if entry.name.startswith('.') or entry.name in ARCHIVES:
            continue
        if entry.is_symlink() and not entry.exists():
            raise UsageError(f'{entry}: a link to {os.readlink(entry)}, which is not there')
        yield entry


def _images(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The image files in a folder and those below, by their suffix."""
    real = folder.resolve()
    if real in above:
        raise UsageError(f'{folder}: a link to a folder that it lies in')
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _images(entry, (*above, real))
        elif entry.suffix.lower() in IMAGES:
            yield entry


def _check_neighbours(path: Path, classes: Sequence[str]) -> None:
    """Raise UsageError where a split beside this one has more of the same classes."""
    here = path.absolute()
    if here.name.lower() not in SPLITS:
        return
    for beside in sorted(here.parent.iterdir()):
        if beside == here or beside.name.lower() not in SPLITS or not beside.is_dir():
            continue
        others = _class_folders(beside)
        lacking = [name for name in others if name not in classes]
        if lacking and set(others) & set(classes):
            raise UsageError(
                f'{path}: there is no class {", ".join(lacking)}, which {beside.name} beside it '
                f'has: say what the classes are, classes={sorted({*others, *classes})}'
            )
