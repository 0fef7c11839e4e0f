"""The README's tutorial runs as printed."""

import json
import re
from pathlib import Path

from jaxdl.cli.main import main

README = Path(__file__).parent.parent / 'README.md'


def test_the_tutorial_runs_as_printed_and_answers_its_question(tmp_path, monkeypatch):
    text = README.read_text()
    code, _, _ = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    command = re.search(r'^    jaxdl (run spirals\.py)$', text, re.MULTILINE)[1]
    monkeypatch.chdir(tmp_path)
    Path('spirals.py').write_text(code)
    assert main(command.split()) == 0
    result = json.loads(Path('runs/spirals/result.json').read_text())
    assert result['claims'][0]['verdict'] == 'supported'
    assert result['arms']['sines']['metrics']['test/accuracy']['mean'] > 0.95


def test_the_loop_of_ones_own_learns_the_digits(capsys):
    _, _, code = re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)
    exec(compile(code, 'README.md', 'exec'), {})
    assert float(capsys.readouterr().out) > 0.9


def test_every_network_is_in_the_table():
    table = README.read_text().partition('## Networks')[2].partition('## Weights')[0]
    models = {path.stem for path in (README.parent / 'jaxdl' / 'models').glob('*.py')}
    assert models - {'__init__'} == models & set(re.findall(r'`(\w+)`', table))


def test_every_file_the_readme_names_is_there():
    for link in re.findall(r'\]\(([\w/.]+)\)', README.read_text()):
        assert (README.parent / link).exists(), link
