"""WAV files of 16 bits: the bytes of one from waves, and waves from one."""

import io
from typing import Any

import numpy as np

from jaxdl.errors import UsageError


def encode_wav(wave: Any, *, rate: int) -> bytes:
    """The file of a wave [N] with values -1..1 at `rate` Hz; what is louder is cut off.

    What is not a number is silence.
    """
    from scipy.io import wavfile

    wave = np.nan_to_num(np.asarray(wave, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if wave.ndim != 1:
        raise UsageError(f'encode_wav: a wave of shape {list(wave.shape)}; [samples] is needed')
    buffer = io.BytesIO()
    samples = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    wavfile.write(buffer, rate, samples)
    return buffer.getvalue()


def decode_wav(content: bytes) -> tuple[np.ndarray, int]:
    """The wave float32 [N] of a file of 16 bits and one channel, and its rate in Hz."""
    from scipy.io import wavfile

    rate, samples = wavfile.read(io.BytesIO(content))
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise UsageError(
            f'decode_wav: {samples.dtype} {list(samples.shape)}; int16 [samples] is needed'
        )
    return samples.astype(np.float32) / 32767, int(rate)
