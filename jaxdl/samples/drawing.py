"""Samples drawn as files: pictures as PNG, texts as text, sounds as WAV."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.audio.wav import encode_wav
from jaxdl.samples import (
    Animation,
    Audio,
    Boxes,
    Decode,
    Forecasts,
    Images,
    Masks,
    Molecules,
    Points,
    Sample,
    Texts,
)

INK, GREY, RED, BLUE, EDGE = '#1f2328', '#8a8f98', '#c4320a', '#0072b2', '#d0d3d8'
GAP = 3  # pixels between images
MOST = 64  # images drawn of one sample
MOST_FILMS = 8  # films of an animation
LAST = 1000  # milliseconds for which an animation shows its last frame
PAUSE = 0.25  # seconds between two sounds
MOST_ROOM = 150  # pixels across that a label may take
# Okabe and Ito's colours, which most colour-blind people tell apart; class k has colour k modulo 7.
CLASSES = ('#e69f00', '#56b4e9', '#f0e442', '#009e73', '#d55e00', '#cc79a7', '#0072b2')

FEW_REFERENCES = 64  # centres of modes, rather than a sample of the true distribution


def draw(sample: Sample) -> tuple[str, bytes]:
    """The file extension and content of a sample of host arrays, 'png', 'txt' or 'wav'."""
    match sample:
        case Images():
            return 'png', _images(sample)
        case Animation():
            return 'png', _animation(sample)
        case Boxes():
            return 'png', _boxes(sample)
        case Masks():
            return 'png', _masks(sample)
        case Points():
            return 'png', _points(sample)
        case Forecasts():
            # Here, not at the top: plots have their colours from this file.
            from jaxdl.samples.plots import draw_forecasts

            return 'png', draw_forecasts(sample)
        case Molecules():
            from jaxdl.samples.molecules import draw_molecules

            return 'png', draw_molecules(sample)
        case Audio():
            return 'wav', _audio(sample)
        case Texts():
            return 'txt', '\n'.join(read_texts(sample)).encode() + b'\n'
    raise TypeError(f'no drawing for a sample of type {type(sample).__name__}')


def _audio(sample: Audio) -> bytes:
    """All sounds in one file, a moment of silence between two."""
    waves = np.asarray(sample.waves, np.float32)[:MOST]
    lengths = np.full(len(waves), waves.shape[1]) if sample.lengths is None else sample.lengths
    silence = np.zeros(round(PAUSE * sample.rate), np.float32)
    parts = [x for wave, n in zip(waves, lengths, strict=False) for x in (wave[: int(n)], silence)]
    return encode_wav(np.concatenate(parts[:-1] or [silence]), rate=sample.rate)


def read_texts(sample: Texts) -> list[str]:
    """The lines of a text sample, each with what is predicted and true of it, if anything is.

    A code point that does not exist is shown as U+FFFD.
    """
    lines = _lines(sample.codes, sample.decode)
    said = list(lines)
    for i in range(len(lines)) if sample.labels is not None else ():
        label, truth = (_class(sample, x, i) for x in (sample.labels, sample.truth))
        right = '' if truth is None else ' (right)' if truth == label else f' (wrong: {truth})'
        said[i] += f'  [{label}]{right}'
    if sample.target is not None:
        for i, target in enumerate(_lines(sample.target, sample.decode_target)):
            said[i] += '  (right)' if lines[i] == target else f'\n    truth: {target}'
    if sample.source is not None:
        sources = _lines(sample.source, sample.decode_source)
        said = [f'{source}\n    said: {line}' for source, line in zip(sources, said, strict=True)]
    return said


def _lines(codes: Any, decode: Decode | None) -> list[str]:
    codes = np.asarray(codes)
    if decode is not None:
        return [decode(row) for row in codes.tolist()]
    valid = (codes >= 0) & (codes < 0x110000) & ~((codes >= 0xD800) & (codes < 0xE000))
    codes = np.where(valid, codes, 0xFFFD)
    return [''.join(chr(code) for code in line if code) for line in codes]


def _class(sample: Sample, labels: Any, i: int) -> str | None:
    """The class of row i by its name, or its number where it has none."""
    if labels is None:
        return None
    label = int(labels[i])
    return sample.names[label] if 0 <= label < len(sample.names) else str(label)


def _images(sample: Images) -> bytes:
    """A grid of images, each with its label below; a wrong one is red, the truth in brackets."""
    from PIL import ImageDraw, ImageFont

    shown, _ = _enlarged(sample.pixels, to=56)
    n, height, width, _ = shown.shape
    font = ImageFont.load_default(11)
    labels = [] if sample.labels is None else [_label(sample, i) for i in range(n)]
    # A name may be wider than its image: it gets the room that it needs, up to a limit.
    room = max((math.ceil(font.getlength(text)) for text, _ in labels), default=0) + 4
    wide = max(width, min(room, MOST_ROOM))
    columns = sample.columns or (math.ceil(math.sqrt(n * 1.6)) if n > 8 else n)
    text = 16 if labels else 0
    canvas, corners = _sheet(shown, columns=columns, below=text, wide=wide, gap=sample.gap)
    pen = ImageDraw.Draw(canvas)
    for left, top in corners if sample.gap else ():
        # An edge, so that images on white paper end somewhere.
        pen.rectangle([left - 1, top - 1, left + width, top + height], outline=EDGE)
    for (said, colour), (left, top) in zip(labels, corners, strict=False):
        at = (left + width / 2, top + height + text / 2)
        pen.text(at, _fitted(said, font, wide), fill=colour, font=font, anchor='mm')
    return _png(canvas)


def _animation(sample: Animation) -> bytes:
    """An animated PNG, which whoever cannot play it sees as its first frame."""
    films = np.asarray(sample.frames)[:MOST_FILMS]
    n, most = films.shape[:2]
    lengths = [most] * n if sample.lengths is None else np.asarray(sample.lengths)[:n]
    last = np.clip(np.asarray(lengths) - 1, 0, most - 1)
    sheets = []
    for at in range(int(last.max()) + 1):
        shown, _ = _enlarged(films[np.arange(n), np.minimum(at, last)], to=160)
        # Grey where there is no colour: a third of the bytes of what is in every report.
        sheet = _sheet(shown, columns=n)[0]
        sheets.append(sheet.convert('L') if films.shape[-1] == 1 else sheet)
    buffer = io.BytesIO()
    pause = round(1000 / sample.rate)
    durations = [pause] * (len(sheets) - 1) + [max(pause, LAST)]
    sheets[0].save(
        buffer, 'png', save_all=True, append_images=sheets[1:], duration=durations, loop=0
    )
    return buffer.getvalue()


def _fitted(text: str, font: Any, room: int) -> str:
    """The text, cut where it is wider than the room that it has."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + '...') > room:
        text = text[:-1]
    return text + '...'


def _boxes(sample: Boxes) -> bytes:
    """A grid of images with frames: predictions in the colours of their classes, truth dashed."""
    from PIL import ImageDraw, ImageFont

    shown, zoom = _enlarged(sample.pixels, to=240)
    canvas, corners = _sheet(shown, columns=math.ceil(math.sqrt(len(shown))))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(10)
    for i, corner in enumerate(corners):
        at = np.array([*corner, *corner])
        if sample.truth is not None:
            for box in np.asarray(sample.truth[i])[np.asarray(sample.truth_mask[i])]:
                _dashed(pen, at + _frame(box, zoom, shown.shape))
        for j in np.flatnonzero(np.asarray(sample.mask[i])):
            frame = at + _frame(sample.boxes[i][j], zoom, shown.shape)
            colour = CLASSES[int(sample.classes[i][j]) % len(CLASSES)]
            pen.rectangle([*frame], outline=colour)
            name = _class(sample, sample.classes[i], int(j)) if sample.names else None
            score = None if sample.scores is None else f'{float(sample.scores[i][j]):.2f}'
            if said := ' '.join(filter(None, (name, score))):
                pen.text((frame[0] + 2, frame[1]), said, fill=colour, font=font)
    return _png(canvas)


def _frame(box: Any, zoom: int, shape: tuple[int, ...]) -> np.ndarray:
    """The outermost pixels of a box in its image as drawn: x1, y1, x2, y2, all of them inside."""
    _, height, width, _ = shape
    # Boxes of a diverged detector are at the edge, not an undefined cast.
    x1, y1, x2, y2 = np.nan_to_num(np.asarray(box, np.float64)) * zoom
    x1, x2 = np.clip(np.round([x1, max(x2 - 1, x1)]), 0, width - 1)
    y1, y2 = np.clip(np.round([y1, max(y2 - 1, y1)]), 0, height - 1)
    return np.array([x1, y1, x2, y2], int)


def _dashed(pen: Any, frame: np.ndarray, dash: int = 3) -> None:
    x1, y1, x2, y2 = (int(v) for v in frame)
    for x in range(x1, x2 + 1, 2 * dash):
        for y in (y1, y2):
            pen.line([x, y, min(x + dash - 1, x2), y], fill='white')
    for y in range(y1, y2 + 1, 2 * dash):
        for x in (x1, x2):
            pen.line([x, y, x, min(y + dash - 1, y2)], fill='white')


def _masks(sample: Masks) -> bytes:
    """Rows of image, truth and prediction; class 0 is black, 1 of two white, others in colours.

    The names of the classes stand below, where they are known.
    """
    from PIL import ImageColor

    shown, zoom = _enlarged(sample.pixels, to=192)
    both = np.stack([np.asarray(x)[: len(shown)] for x in (sample.truth, sample.predicted)], 1)
    known = (both >= 0) & (both < 255)
    most = both[known].max(initial=0)
    names = ('black', 'white') if most <= 1 else ('black', *CLASSES)
    colours = np.array([ImageColor.getrgb(name) for name in names], np.uint8)
    # Class 0 keeps its colour for itself: the others take turns.
    index = np.where(both > 0, (both - 1) % (len(names) - 1) + 1, 0)
    maps = np.where(known[..., None], colours[index], np.array(ImageColor.getrgb(GREY), np.uint8))
    maps = maps.repeat(zoom, 2).repeat(zoom, 3)
    triplets = np.concatenate([shown[:, None], maps], 1)
    sheet, _ = _sheet(triplets.reshape(-1, *shown.shape[1:]), columns=3)
    return _png(_with_legend(sheet, sample.names[: most + 1], colours))


def _with_legend(sheet: Any, classes: Sequence[str], colours: np.ndarray) -> Any:
    """The sheet over the colours of the classes with their names, in as many lines as it takes."""
    from PIL import Image, ImageDraw, ImageFont

    if not classes:
        return sheet
    font, side, line = ImageFont.load_default(11), 10, 18
    places, x, y = [], GAP, sheet.height
    for name in classes:
        wide = side + 4 + math.ceil(font.getlength(name)) + 14
        if x > GAP and x + wide > sheet.width:
            x, y = GAP, y + line
        places.append((x, y + line // 2))
        x += wide
    canvas = Image.new('RGB', (sheet.width, y + line), 'white')
    canvas.paste(sheet)
    pen = ImageDraw.Draw(canvas)
    for k, (name, (x, y)) in enumerate(zip(classes, places, strict=True)):
        colour = tuple(colours[(k - 1) % (len(colours) - 1) + 1 if k else 0].tolist())
        pen.rectangle([x, y - side // 2, x + side, y + side // 2], fill=colour, outline=EDGE)
        pen.text((x + side + 4, y), name, fill=INK, font=font, anchor='lm')
    return canvas


def _enlarged(pixels: Any, *, to: int) -> tuple[np.ndarray, int]:
    """Images as RGB, uint8, enlarged by a whole factor (pixels stay squares) to about `to`."""
    pixels = np.asarray(pixels, np.float32)[:MOST]
    _, height, width, channels = pixels.shape
    if channels not in (1, 3):
        raise ValueError(f'images of {channels} channels cannot be drawn; 1 or 3 can')
    zoom = max(1, round(to / max(height, width)))
    # nan_to_num: what a diverged generator shows is black, not an undefined cast.
    shown = np.round(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    return shown.repeat(3 // channels, -1).repeat(zoom, 1).repeat(zoom, 2), zoom


def _sheet(
    images: np.ndarray, *, columns: int, below: int = 0, wide: int = 0, gap: int = GAP
) -> tuple[Any, list[tuple[int, int]]]:
    """Images in rows, with `below` pixels free under each; and the left top corner of each.

    Each stands in the middle of a place `wide` pixels across, or as wide as it is.
    """
    from PIL import Image

    n, height, width, _ = images.shape
    columns, wide = min(columns, n), max(wide, width)
    across, down, left = wide + gap, height + below + gap, gap + (wide - width) // 2
    size = columns * across + gap, math.ceil(n / columns) * down + gap
    canvas = Image.new('RGB', size, 'white')
    corners = [(left + i % columns * across, gap + i // columns * down) for i in range(n)]
    for image, corner in zip(images, corners, strict=True):
        canvas.paste(Image.fromarray(image), corner)
    return canvas, corners


def _png(canvas: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, 'png', optimize=True)
    return buffer.getvalue()


def _label(sample: Images, i: int) -> tuple[str, str]:
    label, truth = (_class(sample, labels, i) for labels in (sample.labels, sample.truth))
    if truth is None or truth == label:
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
