"""Samples drawn as files: images and points as PNG, texts as text."""

import io
import math
from typing import Any

import numpy as np

from jaxdl.samples import Images, Points, Sample, Texts

INK, GREY, RED, BLUE = '#1f2328', '#8a8f98', '#c4320a', '#0072b2'
GAP = 3  # pixels between images
MOST = 64  # images drawn of one sample


FEW_REFERENCES = 64  # centres of modes, rather than a sample of the true distribution


def draw(sample: Sample) -> tuple[str, bytes]:
    """The file extension and content of a sample of host arrays, 'png' or 'txt'."""
    match sample:
        case Images():
            return 'png', _images(sample)
        case Points():
            return 'png', _points(sample)
        case Texts():
            return 'txt', '\n'.join(read_texts(sample)).encode() + b'\n'
    raise TypeError(f'no drawing for a sample of type {type(sample).__name__}')


def read_texts(sample: Texts) -> list[str]:
    """The lines of a text sample. A code point that does not exist is shown as U+FFFD."""
    codes = np.asarray(sample.codes)
    valid = (codes >= 0) & (codes < 0x110000) & ~((codes >= 0xD800) & (codes < 0xE000))
    codes = np.where(valid, codes, 0xFFFD)
    return [''.join(chr(code) for code in line if code) for line in codes]


def _images(sample: Images) -> bytes:
    """A grid of images, each with its label below; a wrong one is red, the truth in brackets."""
    from PIL import Image, ImageDraw, ImageFont

    pixels = np.asarray(sample.pixels, np.float32)[:MOST]
    n, height, width, channels = pixels.shape
    if channels not in (1, 3):
        raise ValueError(f'images of {channels} channels cannot be drawn; 1 or 3 can')
    # Small images are enlarged by whole factors, so that pixels stay squares.
    zoom = max(1, round(56 / max(height, width)))
    # nan_to_num: what a diverged generator shows is black, not an undefined cast.
    shown = np.round(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    shown = shown.repeat(3 // channels, -1).repeat(zoom, 1).repeat(zoom, 2)

    columns = math.ceil(math.sqrt(n * 1.6)) if n > 8 else n
    rows = math.ceil(n / columns)
    text = 16 if sample.labels is not None else 0
    across, down = width * zoom + GAP, height * zoom + text + GAP
    canvas = Image.new('RGB', (columns * across + GAP, rows * down + GAP), 'white')
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for i, image in enumerate(shown):
        left, top = GAP + i % columns * across, GAP + i // columns * down
        canvas.paste(Image.fromarray(image), (left, top))
        if sample.labels is not None:
            said, colour = _label(sample, i)
            middle = (left + width * zoom / 2, top + height * zoom + text / 2)
            pen.text(middle, said, fill=colour, font=font, anchor='mm')
    buffer = io.BytesIO()
    canvas.save(buffer, 'png', optimize=True)
    return buffer.getvalue()


def _label(sample: Images, i: int) -> tuple[str, str]:
    label = int(sample.labels[i])
    if sample.truth is None or label == (truth := int(sample.truth[i])):
        return str(label), INK
    return f'{label} ({truth})', RED


def _points(sample: Points) -> bytes:
    """The points over the reference points, on equal axes that show every reference point."""
    from matplotlib.figure import Figure

    points, reference = np.asarray(sample.points), np.asarray(sample.reference)
    figure = Figure(figsize=(4, 4), dpi=110, layout='constrained')
    axes = figure.add_subplot(aspect='equal')
    if len(reference) <= FEW_REFERENCES:  # rings that the points may lie in
        look: dict[str, Any] = {'s': 90, 'facecolors': 'none', 'edgecolors': GREY, 'linewidths': 1}
    else:
        look = {'s': 5, 'color': GREY, 'alpha': 0.35, 'linewidths': 0}
    axes.scatter(reference[:, 0], reference[:, 1], label='true', **look)
    axes.scatter(
        points[:, 0], points[:, 1], s=5, color=BLUE, alpha=0.6, linewidths=0, label='generated'
    )
    centre, reach = reference.mean(0), 1.35 * np.ptp(reference, axis=0).max() / 2
    axes.set(
        xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach)
    )
    outside = int(np.sum(~(np.abs(points - centre) <= reach).all(1)))
    if outside:
        axes.set_xlabel(f'{outside} of {len(points)} points lie outside', color=RED)
    axes.legend(loc='upper right', frameon=False, fontsize=8)
    axes.tick_params(labelsize=8, color=GREY)
    axes.spines[:].set_color('#d0d3d8')
    buffer = io.BytesIO()
    # Without Software the file would change with the version of matplotlib.
    figure.savefig(buffer, format='png', metadata={'Software': None})
    return buffer.getvalue()
