"""The copy of a run's folder in which a process works that is not the first."""

from jaxdl.processes.mirror import read_folder, write_folder


def test_what_decides_is_copied_and_nothing_else(tmp_path):
    there, here = tmp_path / 'there', tmp_path / 'here'
    decide = [
        'arm/config.json',
        'arm/DONE',
        'arm/metrics.jsonl',
        'arm/arrays.npz',
        'arm/source/x.py',
    ]
    seen = ['arm/log.txt', 'report.html', 'arm/checkpoints/4/state', 'arm/samples/a_00000001.txt']
    for name in [*decide, *seen, 'arm/LOCK', 'arm/checkpoints.json', 'figures/a.png']:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(name.encode())
    write_folder(here, read_folder(there))
    copied = {str(path.relative_to(here)): path for path in here.rglob('*') if path.is_file()}
    assert sorted(copied) == sorted(decide)
    assert all(path.read_bytes() == name.encode() for name, path in copied.items())


def test_a_run_that_is_not_there_yet_is_empty(tmp_path):
    assert read_folder(tmp_path / 'none') == {}
