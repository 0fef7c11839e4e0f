"""The tables of scaling: what is predicted by hand, and that it is told from what was measured."""

import json

import pytest

from experiments import _scaling_tables, scaling
from experiments.scaling import (
    BEGIN,
    COMPILED,
    END,
    FORMULA,
    SMALL,
    Found,
    by_formula,
    kept,
    main,
    measured,
    sent_by,
    shape_of,
)
from jaxdl.cli.ahead import simulated
from jaxdl.errors import UsageError
from jaxdl.run.chips import CHIPS, Topology


def test_what_a_ring_sends_of_parameters():
    # Gradients in float32, summed; parameters in bfloat16 gathered twice, and their sums cut.
    assert sent_by('data', 100, 4) == 2 * 400 * 3 / 4
    assert sent_by('fsdp', 100, 4) == 2 * 200 * 3 / 4 + 400 * 3 / 4
    assert sent_by('data', 100, 1) == sent_by('fsdp', 100, 1) == 0


def chip_called(name):
    return next(each for each in CHIPS if each.name == name)


def test_rows_by_formula(monkeypatch):
    monkeypatch.setattr(scaling, 'WORKLOADS', SMALL)
    chip = chip_called('v5e')
    one, *_, most = by_formula('gpt2', Topology('v5e', chip, 1))
    assert (one.chips, most.chips, one.how) == (1, 1024, FORMULA)
    assert one.sent == 0 and most.state == one.state / 1024
    parameters = 256 * 64 + 32 * 64 + 2 * (12 * 64 * 64 + 13 * 64) + 2 * 64
    # Parameters with Adam's two moments, and two counts.
    assert one.state == pytest.approx(12 * parameters, abs=16)
    assert most.sent == pytest.approx(8 * parameters * 1023 / 1024)
    assert one.times.compute == most.times.compute


@pytest.mark.slow
def test_training_gives_the_same_numbers_on_four_devices():
    one, four = measured('gpt2', 1), measured('gpt2', 4)
    assert four.losses == pytest.approx(one.losses, rel=1e-3)
    assert not one.sent and four.sent


def test_tables_of_their_own(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, 'WORKLOADS', SMALL)
    parts = []

    def apart(part, env):
        parts.append((part[1:], env['JAX_NUM_CPU_DEVICES']))
        if part[0] == COMPILED:
            return ['gpt2', 8, COMPILED, 1e6, 2e6, [0.003, 0.002, 0.001], '4 GB left']
        return ['gpt2', int(part[2]), [2.5, 2.25, 2.0], {'all-gather': 1500.0}, 1250.0]

    monkeypatch.setattr(scaling, 'apart', apart)
    monkeypatch.setattr(scaling, 'environment', lambda topology: simulated(topology.devices))
    main(['--only', 'gpt2', '--measure', '--workdir', str(tmp_path)])
    assert parts == [(['gpt2', str(n)], str(n)) for n in (1, 2, 4, 8)]
    predicted, told = capsys.readouterr().out.split('MEASURED on simulated CPU devices')
    assert 'PREDICTED, not measured' in predicted and '2.500000' not in predicted
    assert 'all-gather 1.50 kB' in told and 'efficiency' not in told
    found = json.loads((tmp_path / 'scaling.json').read_text())
    assert len(found['predicted']) == 11 and len(found['measured']) == 4
    # What takes long is made one by one, and recorded together.
    (tmp_path / 'README.md').write_text(f'before\n{BEGIN}\n{END}\nafter\n')
    monkeypatch.setattr(scaling, 'FOLDER', tmp_path)
    main(['--only', 'gpt2', '--compiled', '8', '--record', '--workdir', str(tmp_path)])
    text = (tmp_path / 'README.md').read_text()
    assert text.startswith('before\n') and text.endswith('after\n')
    predicted, told = text.split('MEASURED on simulated CPU devices')
    assert 'PREDICTED, not measured' in predicted and '2.500000' not in predicted
    assert '| gpt2 | 8 | compiled | 1.00 MB | 2.00 MB | 3 ms | 2 ms | 1 ms | 3 ms | 100% |' in text
    assert predicted.count('by formula') == 5 and told.count('| gpt2 |') == 4
    assert (tmp_path / 'results' / 'scaling.png').stat().st_size < 200_000
    # Numbers of another chip, or of other versions, are none of this one's.
    monkeypatch.setattr(_scaling_tables, 'versions', lambda: {'jax': '0.0.0'})
    assert kept(tmp_path, chip_called('v5e')) == Found()


@pytest.mark.parametrize(
    'words,says',
    [
        (['--only', 'gpt3'], "--only: unknown network 'gpt3'; did you mean 'gpt2'"),
        (['--chip', 'v5'], "--chip: unknown 'v5'; did you mean 'v5"),
        (['--compiled', '7'], '--compiled 7: no topology of v5e has so many devices'),
    ],
)
def test_mistakes(words, says):
    with pytest.raises(UsageError, match=says):
        main(words)


def test_topologies_by_their_size():
    assert [shape_of('v5e', n) for n in (8, 64, 256)] == ['v5e:2x4', 'v5e:8x8', 'v5e:16x16']
