"""Outlines of studies against the studies themselves, and commands that do not wait for jax."""

import subprocess
import sys

import pytest

from jaxdl.cli.library import load, names
from jaxdl.cli.outline import Outline, outline, read_outline
from jaxdl.errors import UsageError

HEAVY = ('jax', 'flax', 'optax', 'orbax', 'numpy', 'scipy', 'matplotlib')


@pytest.mark.parametrize('name', sorted(names()))
def test_an_outline_is_what_the_study_says(name):
    found, (_, study) = outline(names()[name]), load(name)
    assert (found.question, found.seeds) == (study.question, study.seeds)
    assert found.arms is None or found.arms == tuple(study.named())


@pytest.mark.parametrize(
    ('text', 'want'),
    [
        ("study = Study('Q?', trial, {'a': {}, 'b': {}})", ('Q?', ('a', 'b'), 5)),
        ("study = Study('Q?', trial, arms={'a': {}}, seeds=2, tiny={})", ('Q?', ('a', 'tiny'), 2)),
        (
            "Q, N = 'Q?', 3\nstudy = Study('Q?', trial, arms=each(n=[1, 2], m='ab'))",
            ('Q?', None, 5),
        ),
        (
            "N = {'a': 1}\nstudy = Study('Q?', trial, each(n=N, m=(1, 2)))",
            ('Q?', ('a_1', 'a_2'), 5),
        ),
        ("Q = 'Q?'\nstudy = Study(Q, trial, {**MORE, 'b': {}})", ('Q?', None, 5)),
    ],
)
def test_what_is_written_out_is_read(text, want, tmp_path):
    (tmp_path / 'mine.py').write_text(text)
    assert read_outline(tmp_path / 'mine.py') == Outline(*want)


def test_what_is_computed_is_loaded_and_what_is_broken_is_said(tmp_path):
    file = tmp_path / 'mine.py'
    start = 'from jaxdl.study import Study\n'
    file.write_text(start + "study = Study('Q' + '?', lambda: None, {'a': {}}, tiny={})\n")
    assert read_outline(file) is None
    assert outline(file) == Outline('Q?', ('a', 'tiny'), 5)
    for text in ('study = Study(', "study = 'none'"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r'mine\.py'):
            outline(file)


@pytest.mark.parametrize('words', [['list'], ['run', '--help'], ['--help'], ['run', 'nothing']])
def test_what_needs_no_jax_loads_none(words):
    code = f"""
import sys
from jaxdl.cli.main import main
try:
    main({words!r})
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith('[]\n'), done.stderr
