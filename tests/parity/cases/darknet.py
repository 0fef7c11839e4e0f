"""YOLO."""

from golden import Case

CASES: list[Case] = []
