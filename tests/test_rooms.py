"""Where things are: imports point one way, from what runs experiments to what they are made of."""

import ast
from pathlib import Path

import jaxdl

PACKAGE = Path(jaxdl.__file__).parent

# From the ground up. A module may import what stands in its own line or in one before it. What an
# experiment names comes first; from `checkpoint` on it is what an experiment never names.
ROOMS = [
    ['', 'errors', 'faults', 'blame', 'keys', 'paths', 'files', 'lengths', 'micro_batches'],
    ['audio', 'metrics', 'samples', 'losses', 'optim', 'net', 'baselines', 'blocks'],
    ['decoding', 'decoding_ctc', 'diffusion'],
    ['task'],
    ['game', 'precision', 'accumulation', 'transfer', 'boxes', 'metrics.detection'],
    ['nn'],
    ['models'],
    ['data'],
    ['objectives', 'rl', 'interop'],
    ['study'],
    ['phases'],
    ['derived', 'statistics'],
    ['judges'],
    ['claims'],
    ['processes'],
    ['checkpoint'],
    ['engine'],
    ['run'],
    ['report'],
    ['cli'],
    ['trained'],
    [f'cli.{name}' for name in ('sampling', 'exchange', 'training', 'commands', 'main', 'ranks')],
]


def modules():
    """Every module of the package by its name without 'jaxdl.', and its file."""
    found = {}
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        found['.'.join(part for part in parts if part != '__init__')] = path
    return found


def imported(path, names):
    """The modules of the package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'jaxdl':
            package = node.module.removeprefix('jaxdl').lstrip('.')
            for alias in node.names:
                inner = f'{package}.{alias.name}'.lstrip('.')
                yield inner if inner in names else package
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] == 'jaxdl':
                    yield alias.name.removeprefix('jaxdl').lstrip('.')


def floor(module):
    """The line of ROOMS in which a module or the nearest package around it stands."""
    parts = module.split('.')
    for end in range(len(parts), 0, -1):
        for i, room in enumerate(ROOMS):
            if '.'.join(parts[:end]) in room:
                return i
    raise AssertionError(f'jaxdl.{module} stands in no room')


def test_imports_point_one_way():
    names = modules()
    wrong = [
        f'{module} imports {other}'
        for module, path in names.items()
        for other in imported(path, names)
        if floor(other) > floor(module)
    ]
    assert not wrong, wrong


def test_every_room_is_there_and_nothing_else_at_the_top():
    top = {module.split('.')[0] for module in modules()}
    assert top == {name.split('.')[0] for room in ROOMS for name in room}
