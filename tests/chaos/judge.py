"""How the soak judges: the end of one start, and the end of a run against the undisturbed one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.checkpoint.manager import load_weights
from jaxdl.files import read_arrays, read_json
from jaxdl.run.record import ARRAYS, METRICS, read_done, read_metrics

REFUSED = (1, 2, 77)  # codes with which a start may refuse what was damaged
# What Python says that could not even start, and no command of jaxdl has said anything before.
_STILLBORN = re.compile(r'\s*(Traceback|Fatal Python error|Error processing line|Could not find)')
_COMMAND = re.compile(r'jaxdl/cli/main\.py", line \d+, in (?!<module>)')


def fault_of_end(
    code: int, output: str, *, allowed: Sequence[int], early: bool, damaged: bool
) -> str | None:
    """What is wrong with the way in which a start ended; None where nothing is.

    allowed: codes that what was done to the process explains. early: it was asked to stop before
    jaxdl's handlers stood, when Python's own are as good. damaged: files were, before this start.
    """
    if early and code in (-15, -1, -2, 1, 75, 130):
        return None
    if 'Traceback (most recent call last)' in output:
        stillborn = _STILLBORN.match(output) and not _COMMAND.search(output)
        return None if stillborn and code in allowed else 'a traceback'
    if code not in (0, *allowed, *(REFUSED if damaged else ())):
        return f'exit code {code}'
    lines = [line for line in output.splitlines() if line.strip()]
    if code > 0 and not (lines and lines[-1].startswith('jaxdl: ')):
        return f'exit code {code}, and the last line does not say why'
    return None


def difference(got: Path, want: Path, *, said: str) -> str | None:
    """What differs between two run folders of one arm, but for seconds; None where nothing does.

    said: all that the disturbed run said. Lines that metrics.jsonl lacks must have been said.
    """
    (arm,), (other,) = (sorted(path.parent for path in run.glob('*/DONE')) for run in (got, want))
    done, undisturbed = (_timeless(read_done(folder)) for folder in (arm, other))
    if done != undisturbed:
        return f'DONE holds {done}, undisturbed {undisturbed}'
    if (fault := _other_state(arm, other)) or (fault := _other_metrics(arm, other, said)):
        return fault
    mine, its = (read_arrays(folder / ARRAYS) for folder in (arm, other))
    if mine.keys() != its.keys() or not all(np.array_equal(mine[n], its[n]) for n in its):
        return 'arrays.npz is another'
    drawn, its_drawn = (
        {path.name: path.read_bytes() for path in folder.glob('samples/*')}
        for folder in (arm, other)
    )
    if drawn != its_drawn:
        return f'other samples: {sorted(dict(drawn.items() ^ its_drawn.items()))}'
    answer, its_answer = (_timeless(read_json(run / 'result.json')) for run in (got, want))
    for name in ('study', 'seeds', 'arms', 'claims'):
        if answer[name] != its_answer[name]:
            return f'result.json: {name} is {answer[name]}, undisturbed {its_answer[name]}'
    return None


def _other_state(arm: Path, other: Path) -> str | None:
    got, want = (
        load_weights(folder / 'checkpoints', say=lambda line: None) for folder in (arm, other)
    )
    if (got.step, got.phase) != (want.step, want.phase):
        return f'the last checkpoint is of step {got.step}, undisturbed {want.step}'
    if jax.tree.structure(got.state) != jax.tree.structure(want.state):
        return 'the last checkpoint has other leaves'

    def is_same(x: np.ndarray, y: np.ndarray) -> bool:
        return (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())

    same = jax.tree.map(is_same, got.state, want.state)
    return None if all(jax.tree.leaves(same)) else 'the last checkpoint holds other numbers'


def _other_metrics(arm: Path, other: Path, said: str) -> str | None:
    got, want = ([_timeless(line) for line in read_metrics(folder)] for folder in (arm, other))
    if got == want:
        return None
    rest = iter(want)
    if not all(line in rest for line in got):  # each one further on: a part, in order
        return f'{METRICS} holds other lines'
    if any(METRICS in line and 'without' in line for line in said.splitlines()):
        return None
    return f'{METRICS} lacks {len(want) - len(got)} of {len(want)} lines, and nothing said so'


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name != 'seconds'}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def seconds_of_training(arm: Path) -> float:
    """What the steps of a run took that count: the usual time between two lines, times lines.

    The time after a start, in which programs are compiled, and that of a standstill do not count.
    """
    seconds = [line['seconds'] for line in read_metrics(arm)]
    return float(np.median(np.diff(seconds))) * len(seconds) if len(seconds) > 1 else 0.0
