"""FCN and U-Net."""

from golden import Case

CASES: list[Case] = []
