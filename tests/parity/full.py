"""Networks of full size against their goldens: `pytest tests/parity/full.py`, minutes."""

import pytest
from cases import CASES
from compare import check


@pytest.mark.parametrize('case', [case for case in CASES if case.full], ids=lambda case: case.name)
def test_full_size_network_equals_the_other_implementation(case):
    check(case)
