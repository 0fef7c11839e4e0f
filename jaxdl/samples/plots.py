"""Samples drawn by matplotlib: forecasts, and the spectrogram of a sound."""

import io
import math
from typing import Any

import numpy as np

from jaxdl.audio.fourier import hann
from jaxdl.audio.wav import decode_wav
from jaxdl.samples import Forecasts
from jaxdl.samples.drawing import BLUE, EDGE, GREY, INK

MOST = 9  # forecasts drawn of one sample
WINDOW, HOP = 0.032, 0.008  # seconds of a spectrogram's frames, and from one to the next
DEEP = 70  # dB below the loudest that are drawn
COLOURS = 64  # of a file


def draw_forecasts(sample: Forecasts) -> bytes:
    """A PNG with a plot for each row: the past, what came, and what was forecast."""
    from matplotlib.figure import Figure

    past, truth, predicted = (
        np.nan_to_num(np.asarray(x, np.float64))[:MOST]
        for x in (sample.past, sample.truth, sample.predicted)
    )
    n, before = past.shape
    columns = min(n, 3)
    rows = math.ceil(n / columns)
    figure = Figure(figsize=(3.2 * columns, 1.9 * rows + 0.3), dpi=110, layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    known, ahead = np.arange(-before, 0), np.arange(truth.shape[1])
    for i, axes in enumerate(grid.flat):
        if i >= n:
            axes.set_axis_off()
            continue
        # Both futures begin where the past ends, or they would hang in the air.
        after = np.concatenate([[-1], ahead])
        axes.plot(known, past[i], color=GREY, linewidth=1)
        for line, colour, label in ((truth, INK, 'true'), (predicted, BLUE, 'forecast')):
            joined = np.concatenate([past[i, -1:], line[i]])
            axes.plot(after, joined, color=colour, linewidth=1.2, label=label)
        axes.tick_params(labelsize=7, color=GREY)
        axes.spines[:].set_color(EDGE)
    grid.flat[0].legend(loc='upper left', frameon=False, fontsize=7)
    return _png(figure)


def draw_spectrogram(wav: bytes) -> bytes:
    """A PNG of the power of a WAV file over time and frequency, in dB below the loudest."""
    from matplotlib.figure import Figure

    wave, rate = decode_wav(wav)
    size, hop = 2 * round(WINDOW * rate / 2), max(1, round(HOP * rate))
    padded = np.pad(wave, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * hann(size), axis=-1)) ** 2
    level = 10 * np.log10(np.maximum(power, 1e-10))
    level = np.maximum(level - level.max(initial=-100.0), -DEEP)
    seconds = len(wave) / rate
    figure = Figure(figsize=(min(9.0, 2.5 + 1.2 * seconds), 2.2), dpi=110, layout='constrained')
    axes = figure.add_subplot()
    extent = (0.0, max(seconds, 1 / rate), 0.0, rate / 2000)
    axes.imshow(level.T, origin='lower', aspect='auto', extent=extent, cmap='magma', vmin=-DEEP)
    axes.set_xlabel('seconds', fontsize=8, color=INK)
    axes.set_ylabel('kHz', fontsize=8, color=INK)
    axes.tick_params(labelsize=8, color=GREY)
    axes.spines[:].set_color(EDGE)
    return _png(figure)


def _png(figure: Any) -> bytes:
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format='png')
    # A third of the bytes, and for the eye the same.
    few = Image.open(drawn).convert('RGB').quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(packed, 'png', optimize=True)
    return packed.getvalue()
