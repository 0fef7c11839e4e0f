"""Images with boxes, as a detector takes them."""

import functools

import numpy as np

from jaxdl.boxes import pad_boxes
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.tfds import tfds

BLOCK = 32  # images decoded at once: they are larger than what is kept of them


@functools.lru_cache(maxsize=8)
def boxed(
    name: str,
    split: str,
    *,
    size: tuple[int, int],
    image: str = 'image',
    boxes: str = 'objects/bbox',
    classes: str = 'objects/label',
) -> Table:
    """A TFDS split of images with boxes, resized once and kept in memory.

    x uint8 [*size, C]; boxes float32 [N, 4], (x1, y1, x2, y2) in pixels of x, N the most that an
    image has; boxes_mask bool [N], without the boxes that have no area; classes int32 [N].

    size: (height, width). image, boxes, classes: features, the boxes as TFDS has them.
    """
    columns = {'x': image, 'boxes': boxes, 'classes': classes}
    source = tfds(name, split, columns=columns, decode=False)
    height, width = size
    images: list[np.ndarray] = []
    places: list[np.ndarray] = []
    kinds: list[np.ndarray] = []
    for first in range(0, len(source), BLOCK):
        block = source[first : first + BLOCK]
        images += [_resized(pixels, size) for pixels in block['x']]
        # TFDS: (ymin, xmin, ymax, xmax) as parts of the image.
        parts = [np.asarray(rows, np.float32).reshape(-1, 4) for rows in block['boxes']]
        places += [p[:, [1, 0, 3, 2]] * np.array([[width, height] * 2], np.float32) for p in parts]
        kinds += [np.asarray(rows, np.int32).reshape(-1) for rows in block['classes']]
    padded, mask = pad_boxes(places)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.concatenate(kinds)
    mask &= (padded[..., 2:] > padded[..., :2]).all(-1)
    arrays = {'x': np.stack(images), 'boxes': padded, 'boxes_mask': mask, 'classes': labels}
    names = {'classes': source.classes['classes']}
    return from_arrays(arrays, name=source.name, classes=names, card=source.card)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image of `size`, antialiased."""
    from PIL import Image

    height, width = size
    small = Image.fromarray(pixels.squeeze()).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(height, width, pixels.shape[2])
