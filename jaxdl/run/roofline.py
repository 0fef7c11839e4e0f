"""How long a step takes at least: the longest of what it computes, moves and sends (a roofline).

Williams, Waterman and Patterson 2009, with the links as a third roof. It is a bound and no
measurement: it has the three overlap wholly, kernels at their peak, and all links of a chip busy.
"""

from typing import NamedTuple

from jaxdl.run.chips import Chip


class Prediction(NamedTuple):
    """Seconds of a step on one device: of its products, its memory and its links, each alone."""

    compute: float
    memory: float
    links: float

    @property
    def step(self) -> float:
        """The longest of them."""
        return max(self)

    @property
    def bound(self) -> str:
        """Which it is."""
        return max(self._fields, key=lambda name: float(getattr(self, name)))

    @property
    def efficiency(self) -> float:
        """The share of the step in which products are computed: a bound of the MFU.

        Those that `remat` computes again are among them, and no part of the MFU.
        """
        return self.compute / self.step if self.step else 0.0


def predict(chip: Chip, *, flops: float, traffic: float, sent: float) -> Prediction:
    """Of one device: FLOP of products, bytes to and from its memory, bytes it sends."""
    return Prediction(flops / chip.flops, traffic / chip.bandwidth, sent / chip.links)
