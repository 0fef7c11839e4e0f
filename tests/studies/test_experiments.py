"""Every experiment as its user runs it: its tiny arm, from the command line to the report."""

import json
import math

import pytest
from pace import mostly_slow

from jaxdl.cli.library import load, names, phases_of, resolve
from jaxdl.cli.main import main
from jaxdl.errors import DataMissingError

# Images, series, two players; the others are run by `make laws`.
FIRST = ('digits', 'forecast', 'ring_gan')
# What is judged of tasks that the tiny arm has not: that of gates adds, and reads no pixels.
ANOTHER_TASK = {
    'bert': {'sst2_100/test/accuracy', 'wnut17/test/entity/f1', 'xquad/test/f1'},
    'gates': {'test/accuracy'},
}


@pytest.mark.parametrize(
    'name',
    mostly_slow([*FIRST, *sorted({*names()} - {*FIRST})], keep=len(FIRST)),
)
def test_the_tiny_arm_runs_to_its_report(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('JAXDL_MALLOPT', '0')  # this process has other tests to run
    _, study = load(name)
    try:
        phases_of(study, resolve(study, 'tiny', {}))
    except DataMissingError as missing:
        pytest.skip(str(missing))
    command = ['run', name, '--arm', 'tiny', '--seeds', '1', '--no-tensorboard']
    assert main([*command, '--workdir', str(tmp_path)]) == 0
    assert study.question in ' '.join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / 'result.json').read_text())
    numbers = result['arms']['tiny']['metrics']
    judged = {claim.metric for claim in study.claims} - ANOTHER_TASK.get(name, set())
    assert judged <= numbers.keys() and judged <= set(result['shown'])
    # A ranking of nothing may have no value; whatever else is measured has one.
    assert all(math.isfinite(number['mean'] or 0) for number in numbers.values())
    assert (tmp_path / 'report.html').stat().st_size > 10_000
