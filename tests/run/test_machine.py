"""The machine: what is said of it, and its memory settings (in a process of their own)."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxdl.run import machine


def python(code, **environment):
    """The lines a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


KEEPS = """
from jaxdl.run import machine
import numpy as np
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
print(machine.tune_memory())
assert machine.tune_memory() is machine.tune_memory()
before = resident()
block = np.ones(64 * 2**20, np.uint8)
del block
print(resident() - before > 32 * 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not machine._glibc(), reason='mallopt is glibc')
@pytest.mark.parametrize(('switch', 'kept'), [('1', True), ('0', False)])
def test_freed_memory_stays_in_the_process(switch, kept):
    said, stays = python(KEEPS, JAXDL_MALLOPT=switch)
    assert stays == str(kept)
    assert (said != 'None') == kept and ('freed memory stays' in said) == kept


FAULTS = """
import resource, statistics
from jaxdl.run import machine
machine.tune_memory()
import jax, jax.numpy as jnp
@jax.jit
def step(x):  # two blocks of 80 MB, which are not the same at the same place
    a, b = jax.lax.optimization_barrier((x + 1, x * 2))
    return (a[::-1] * b).sum()
x = jnp.ones(20 * 2**20, jnp.float32)
counts = []
for _ in range(40):  # some fault, until the heap holds the blocks in any order
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(statistics.median(counts[10:])) * resource.getpagesize())
"""


@pytest.mark.slow
@pytest.mark.skipif(not machine._glibc(), reason='mallopt is glibc')
@pytest.mark.parametrize(('switch', 'kept'), [('1', True), ('0', False)])
def test_large_buffers_of_a_step_stay_in_the_process(switch, kept):
    """Above 64 MB: a thread's own arena would return them."""
    (faulted,) = python(FAULTS, JAXDL_MALLOPT=switch)
    assert (int(faulted) < 2**20) == kept


def test_no_tuning_off_cpu_or_off_glibc(monkeypatch):
    monkeypatch.delenv('JAXDL_MALLOPT', raising=False)
    tune = machine.tune_memory.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(jax, 'default_backend', lambda: 'gpu')
        assert tune() is None
    monkeypatch.setattr(machine.platform, 'libc_ver', lambda: ('musl', '1.2'))
    assert tune() is None


def test_versions_without_importing_anything():
    found = machine.versions()
    assert list(found)[0] == 'python'
    assert found['jax'] == jax.__version__ and found['numpy'] == np.__version__
    heavy = ('orbax', 'tensorflow_datasets', 'grain', 'matplotlib', 'sklearn', 'rich', 'optax')
    code = f"""
import sys
from jaxdl.run import machine
machine.versions()
print([name for name in {heavy} if name in sys.modules])
"""
    assert python(code) == ['[]']
    assert machine.installed('no-such-distribution') is None


def test_description_is_plain_and_anonymous():
    found = machine.describe()
    text = json.dumps(found)
    assert json.loads(text) == found
    assert set(found) == {'versions', 'devices', 'cpu', 'memory', 'os', 'git'}
    assert found['devices'] == {'platform': 'cpu', 'kind': 'cpu', 'count': 4, 'processes': 1}
    assert found['cpu']['cores'] >= 1 and 2**28 < found['memory'] < 2**50
    assert machine.platform.node() not in text and str(Path.home()) not in text


def git(folder, *words):
    return subprocess.run(
        ['git', '-c', 'user.name=t', '-c', 'user.email=t@t', *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_commit_of_the_working_tree(tmp_path, monkeypatch):
    package = tmp_path / 'jaxdl'
    package.mkdir()
    (package / '__init__.py').write_text('')
    monkeypatch.setattr(machine, '__file__', str(package / 'machine.py'))
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert machine.commit() is None
    git(tmp_path, 'init', '-q')
    assert machine.commit() is None  # in a working tree, but none of its files
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'one')
    head = git(tmp_path, 'rev-parse', 'HEAD')
    assert machine.commit() == {'commit': head, 'dirty': False}
    for recorded in ('experiments/README.md', 'experiments/results/digits.json'):
        (tmp_path / recorded).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / recorded).write_text('')
    assert machine.commit() == {'commit': head, 'dirty': False}
    (tmp_path / 'experiments' / 'digits.py').write_text('')
    assert machine.commit() == {'commit': head, 'dirty': True}
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'two')
    head = git(tmp_path, 'rev-parse', 'HEAD')
    (package / '__init__.py').write_text('changed = 1')
    assert machine.commit() == {'commit': head, 'dirty': True}
    monkeypatch.setenv('PATH', '')
    assert machine.commit() is None


def test_peak_is_plausible_quick_and_kept():
    begin = time.perf_counter()
    peak = machine.peak_flops()
    assert time.perf_counter() - begin < 10  # 3 s on a machine that does nothing else
    assert 1e8 < peak < 1e16
    begin = time.perf_counter()
    assert machine.peak_flops() == peak and time.perf_counter() - begin < 0.01


def test_peak_memory_follows_the_process():
    code = """
from jaxdl.run import machine
import numpy as np
before = machine.peak_memory()
block = np.ones(200 * 2**20, np.uint8)
print(150 * 2**20 < machine.peak_memory() - before < 300 * 2**20)
"""
    assert python(code) == ['True']


def test_peak_memory_of_devices_is_their_own(monkeypatch):
    class Device:
        def memory_stats(self):
            return {'peak_bytes_in_use': 5}

    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(jax, 'local_devices', lambda: [Device(), Device()])
    assert machine.peak_memory() == 10


def shown(renderable):
    console = Console(width=200, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_doctor_on_data_folders(tmp_path, monkeypatch):
    for name in ('mnist/3.0.1', 'scan/length/1.1.1'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'dataset_info.json').write_text('{}')
    (tmp_path / 'unfinished/1.0.0').mkdir(parents=True)
    assert machine.datasets(tmp_path) == ['mnist 3.0.1', 'scan/length 1.1.1']
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path / 'nowhere'))
    text = shown(machine.doctor())
    assert 'mnist 3.0.1, scan/length 1.1.1' in text and 'unfinished' not in text
    assert f'JAXDL_DATA_DIR is set to {tmp_path / "nowhere"}, which is no folder' in text
    assert jax.__version__ in text and '4 x cpu (cpu)' in text
    monkeypatch.delenv('JAXDL_DATA_DIR')
    text = shown(machine.doctor())
    assert 'not set' in text and 'warning' not in text and 'no problem found' in text


@pytest.mark.parametrize(
    ('name', 'version', 'line'),
    [
        ('jax', '0.9.2', 'jax 0.9.2 is outside <0.13,>=0.10'),
        ('jax', '0.13.0', 'jax 0.13.0 is outside <0.13,>=0.10'),
        ('grain', None, 'grain is not installed'),
    ],
)
def test_doctor_on_wrong_versions(monkeypatch, name, version, line):
    real = machine.installed
    monkeypatch.setattr(machine, 'installed', lambda n: version if n == name else real(n))
    assert [w for w in machine.warnings() if line in w]
    assert line in shown(machine.doctor())


def test_doctor_where_jaxdl_is_not_installed(monkeypatch):
    real = machine.installed
    monkeypatch.setattr(machine, 'installed', lambda n: None if n == 'jaxdl' else real(n))
    assert machine.extras() == {}
    assert 'jaxdl is not installed' in machine.warnings()[0]


def test_extras_name_what_they_lack(monkeypatch):
    """An extra of a dependency ('jax[cuda13]') is looked into."""
    lines = {
        'jaxdl': ['numpy>=2', 'jax[cuda]; extra == "gpu"', 'pytest; extra == "dev"'],
        'jax': ['jaxlib', 'a-plugin; extra == "cuda"', 'another; extra == "k8s"'],
    }
    monkeypatch.setattr(machine.importlib.metadata, 'requires', lines.get)
    have = {'jaxdl': '1', 'jax': '1', 'jaxlib': '1', 'numpy': '2', 'pytest': '8'}
    monkeypatch.setattr(machine, 'installed', have.get)
    metadata = type('Metadata', (), {'get_all': lambda self, name: ['gpu', 'dev']})
    monkeypatch.setattr(machine.importlib.metadata, 'metadata', lambda name: metadata())
    assert machine.extras() == {'gpu': ['a-plugin'], 'dev': []}
