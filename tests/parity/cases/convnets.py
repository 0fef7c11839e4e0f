"""AlexNet, VGG and Inception."""

from golden import Case

CASES: list[Case] = []
