"""Networks of full size, and training, against their goldens: `make parity`, minutes."""

import pytest
from cases import CASES
from compare import check


@pytest.mark.parametrize('case', [case for case in CASES if case.full], ids=lambda case: case.name)
def test_full_size_network_equals_the_other_implementation(case):
    check(case)


@pytest.mark.parametrize(
    'case', [case for case in CASES if case.train and not case.full], ids=lambda case: case.name
)
def test_training_equals_the_other_implementation(case):
    check(case)
