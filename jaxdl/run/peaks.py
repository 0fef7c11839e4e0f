"""Model FLOPs utilisation: which share of a device's published peak training makes use of.

The peak is that of dense products in bfloat16 with sums in float32, whatever is trained in, so that
numbers compare (Chowdhery et al. 2022, appendix B).
"""

import re
from typing import NamedTuple

from jaxdl.run.chips import CHIPS


class Peak(NamedTuple):
    """What was published of a kind of device.

    kind: a pattern of the whole name that jax has for it. flops: FLOP/s of one device. source: see
        `jaxdl.run.chips`.
    """

    kind: str
    flops: float
    source: str


PEAKS = tuple(Peak(chip.kind, chip.flops / chip.devices, chip.source) for chip in CHIPS)


def published_peak(kind: str) -> float | None:
    """FLOP/s of a device by its `device_kind`; None where none is known here."""
    return next((peak.flops for peak in PEAKS if re.fullmatch(peak.kind, kind)), None)


def utilisation(flops: float, seconds: float, kind: str, *, devices: int = 1) -> float | None:
    """flops / (seconds peak devices); None where the device's peak is not known.

    flops: that the model needed in that time (`Traced.flops`): what `remat` computes again is no
    part of the MFU (Chowdhery et al. 2022, appendix B).
    """
    peak = published_peak(kind)
    return None if peak is None else flops / (seconds * peak * devices)


def unknown(kind: str) -> str:
    """Why there is no number for a device; '' where there is one."""
    return '' if published_peak(kind) else f'no MFU: no published peak of {kind} is known here'
