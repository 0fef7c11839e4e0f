"""Small networks of each family against goldens of other implementations (see tests/parity).

Their training is compared in `make parity`.
"""

import pytest
from cases import CASES
from cases.decoding import DECODINGS
from compare import check, check_decoding


@pytest.mark.slow
@pytest.mark.parametrize(
    'case', [case for case in CASES if not case.full], ids=lambda case: case.name
)
def test_network_equals_the_other_implementation(case):
    check(case, training=False)


@pytest.mark.parametrize(
    'it',
    [
        pytest.param(it, marks=() if it.width > 1 and it.penalty else pytest.mark.slow, id=it.name)
        for it in DECODINGS
    ],
)
def test_text_goes_on_with_the_tokens_of_the_other_implementation(it):
    check_decoding(it)
