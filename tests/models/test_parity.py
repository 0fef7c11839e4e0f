"""Small networks of each family against goldens of other implementations (see tests/parity).

Their training is compared in `make parity`.
"""

import pytest
from cases import CASES
from compare import check


@pytest.mark.slow
@pytest.mark.parametrize(
    'case', [case for case in CASES if not case.full], ids=lambda case: case.name
)
def test_network_equals_the_other_implementation(case):
    check(case, training=False)
