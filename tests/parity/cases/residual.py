"""ResNet and ViT."""

from golden import Case

CASES: list[Case] = []
