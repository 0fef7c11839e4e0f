"""WAV files: there and back, and what a standard library reads of them."""

import io
import wave

import numpy as np
import pytest

from jaxdl.audio.wav import decode_wav, encode_wav
from jaxdl.errors import UsageError


def test_there_and_back():
    x = np.linspace(-1, 1, 101, dtype=np.float32)
    found, rate = decode_wav(encode_wav(x, rate=8000))
    assert rate == 8000
    np.testing.assert_allclose(found, x, atol=0.5 / 32767 + 1e-7)
    with wave.open(io.BytesIO(encode_wav(x, rate=8000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.getnframes() == 101


def test_what_is_too_loud_is_cut_off_and_what_is_no_number_is_silent():
    found, _ = decode_wav(encode_wav(np.float32([2, -3, np.nan, np.inf, 0.5]), rate=100))
    np.testing.assert_allclose(found, [1, -1, 0, 0, 0.5], atol=1e-4)


def test_two_channels_are_refused():
    with pytest.raises(UsageError, match=r'a wave of shape \[2, 3\]; \[samples\] is needed'):
        encode_wav(np.zeros((2, 3)), rate=100)
