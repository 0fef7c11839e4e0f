"""AlexNet, VGG and Inception."""

from collections.abc import Callable
from typing import Any

ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {}
