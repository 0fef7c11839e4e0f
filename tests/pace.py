"""Which cases of a test `make test` runs, and which `make laws` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], keep: int = 1) -> list[Any]:
    """The cases of a parametrised test, all but the first `keep` marked as slow."""
    return [case if i < keep else _slow(case) for i, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
