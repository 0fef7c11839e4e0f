"""Where processes meet: what the environment may say, and what it may not."""

import pytest

from jaxdl.cli.main import main
from jaxdl.errors import UsageError
from jaxdl.processes.address import Address, read_address

ALL = {'JAXDL_COORDINATOR': '10.0.0.1:7777', 'JAXDL_PROCESSES': '8', 'JAXDL_PROCESS': '3'}


def test_alone_where_nothing_is_said():
    assert read_address({}, detect=False) is None
    assert read_address({'JAXDL_HEARTBEAT': '5', 'JAXDL_PROCESS': ''}, detect=False) is None


def test_all_three_are_an_address():
    assert read_address(ALL, detect=False) == Address('10.0.0.1:7777', 8, 3, 30, 300)
    found = read_address({**ALL, 'JAXDL_HEARTBEAT': '5', 'JAXDL_PATIENCE': '60'}, detect=False)
    assert found[3:] == (5, 60)
    brackets = read_address({**ALL, 'JAXDL_COORDINATOR': '[::1]:80'}, detect=False)
    assert brackets.coordinator == '[::1]:80'


def test_detection_is_left_to_jax():
    assert read_address({}, detect=True) == Address(None, None, None, 30, 300)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'JAXDL_PROCESS': ''}, 'JAXDL_COORDINATOR and JAXDL_PROCESSES without JAXDL_PROCESS;'),
        ({'JAXDL_PROCESS': '8'}, "JAXDL_PROCESS: '8' is not allowed; .* from 0 to 7"),
        ({'JAXDL_PROCESS': '-1'}, "JAXDL_PROCESS: '-1' is not allowed"),
        ({'JAXDL_PROCESSES': '0'}, "JAXDL_PROCESSES: '0' is not allowed; .* at least 1"),
        ({'JAXDL_PROCESSES': 'two'}, "JAXDL_PROCESSES: 'two' is not allowed"),
        ({'JAXDL_COORDINATOR': '10.0.0.1'}, "JAXDL_COORDINATOR: '10.0.0.1' is no host:port"),
        ({'JAXDL_COORDINATOR': 'host:99999'}, "'host:99999' is no host:port"),
        ({'JAXDL_HEARTBEAT': '0'}, "JAXDL_HEARTBEAT: '0' is not allowed"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(change, said):
    with pytest.raises(UsageError, match=said):
        read_address({**ALL, **change}, detect=False)


def test_two_ways_are_one_too_many():
    with pytest.raises(UsageError, match='--distributed has jax find .* take one of the two'):
        read_address(ALL, detect=True)


def test_a_run_refuses_a_part_of_an_address_before_anything(monkeypatch, capsys):
    monkeypatch.setenv('JAXDL_PROCESSES', '2')
    assert main(['run', 'digits']) == 2
    assert capsys.readouterr().err.startswith('jaxdl: JAXDL_PROCESSES without JAXDL_COORDINATOR')
