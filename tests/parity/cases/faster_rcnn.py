"""Faster R-CNN."""

from golden import Case

CASES: list[Case] = []
