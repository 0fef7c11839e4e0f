"""The run of an arm that is not trained: a function of a seed, called on the host.

Its folder holds the files of an arm, so that whatever reads one reads the other. It is cheap:
where it may have changed it is simply computed again, and its numbers are what is compared.
"""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.blame import at, blaming
from jaxdl.derived import derived
from jaxdl.engine.identity import digest_of_numbers
from jaxdl.errors import UsageError
from jaxdl.metrics import About
from jaxdl.run.comparison import Comparison, compare, refuse_changes
from jaxdl.run.config import Config, agree, note_start
from jaxdl.run.interruption import note_signals, stopped_by
from jaxdl.run.lock import locked
from jaxdl.run.origin import reading
from jaxdl.run.record import Record, read_done, read_metrics
from jaxdl.run.stage import BEST_STEP, STEPS, refuse_unmeasured
from jaxdl.study import Baseline

EACH = '/each'  # ends the name of an array with one value an example
NAME = r'\w[\w .+-]*(/[^/]+)+'
LAYOUT = 'host'  # in env.json, for the engine's layout of an arm that is trained

Columns = dict[str, np.ndarray]  # numbers by name, [seeds] or [seeds, examples]


def run_baseline(
    folder: Path,
    baseline: Baseline,
    config: Config,
    *,
    env: Mapping[str, Any],
    experiment: Path | None = None,
    accept: bool = False,
    judged: Sequence[str] = (),
) -> dict[str, Any]:
    """Compute a baseline for the seeds of `config`, or return its numbers if that is done.

    See `jaxdl.run.arm.run_arm`, whose arguments and files these are, and `numbers_of_baseline`.
    Returns what DONE holds, of no parameters and no steps. Raises UsageError as `run_arm` does, and
    for what is no number; PreemptedError and InterruptedRunError after a signal.
    """
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        stop = stack.enter_context(note_signals())
        done = (folder / 'DONE').exists()
        trained = done or bool(read_metrics(folder))
        agree(folder, config, trained=trained)
        began = time.perf_counter()
        numbers = numbers_of_baseline(baseline, config, stop=stop)
        seconds = round(time.perf_counter() - began, 2)
        about = {name: About(values.shape[1:]) for name, values in numbers.items()}
        refuse_unmeasured(config.arm, about, judged=judged, compared=())
        _refuse_curves(config.arm, judged)
        standing = stand_baseline(folder, numbers, config, experiment=experiment, trained=trained)
        refuse_changes(standing, accept=accept)
        if not done or standing.changed:
            note_start(folder, env, layout=LAYOUT, step=0, accepted=standing.changed)
        standing.write(experiment)
        if done:
            return read_done(folder)
        scalars = {name: x.tolist() for name, x in numbers.items() if x.ndim == 1}
        arrays = {name: x for name, x in numbers.items() if x.ndim > 1}
        record = stack.enter_context(
            Record(
                folder,
                title=f'{config.study} {config.arm}',
                seeds=config.seeds,
                steps=0,
                tensorboard=False,
            )
        )
        record.say(f'{config.arm}: {len(config.seeds)} seeds, nothing is trained')
        record.describe(about)
        if arrays:
            record.arrays(arrays)
        record.metrics(0, phase=0, seconds=seconds, values=scalars, ends=True)
        payload = {'parameters': 0, 'steps': 0, 'seconds': round(seconds, 1), 'metrics': scalars}
        record.done(payload)
    if stop:
        raise stopped_by(stop[0], f'{folder} is done')
    return payload


def _refuse_curves(arm: str, judged: Sequence[str]) -> None:
    """Raise UsageError where a claim needs a curve of a baseline, which takes no step."""
    for name in judged:
        if (made := derived(name)) and made.kind != 'gap':
            raise UsageError(
                f'a claim judges {name!r} of {arm!r}: a baseline takes no step, and has no curve'
            )


def stand_baseline(
    folder: Path,
    numbers: Columns,
    config: Config,
    *,
    experiment: Path | None,
    trained: bool = True,
) -> Comparison:
    """How the numbers in `folder` stand to those that are computed now."""
    computed = {f'numbers of {config.arm}': digest_of_numbers(numbers)}
    phase = {'state': {}, 'programs': computed, 'pictures': {}, 'data': {}}
    return compare(folder, [phase], trained=trained, experiment=experiment, weights=None)


def numbers_of_baseline(
    baseline: Baseline, config: Config, *, stop: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """What a baseline returns for each seed of `config`: scalars [seeds], arrays [seeds, examples].

    Where seeds have different numbers of examples the shorter rows end in NaN. stop: the signals
    received so far. Raises UsageError, naming the baseline, for what is not finite numbers by name;
    what the function raises is blamed on its line.
    """
    what, found = at(f'baseline {config.arm!r}', baseline), []
    for seed in config.seeds:
        if stop:
            raise stopped_by(stop[0], f'stopped before seed {seed} of baseline {config.arm}')
        with blaming(what), reading():
            returned = baseline(seed=seed, **config.params)
        found.append(_checked(f'{what}, seed {seed}', returned))
        if found[-1].keys() != found[0].keys():
            other = sorted(found[-1].keys() ^ found[0].keys())[0]
            raise UsageError(f'{what}: seeds {config.seeds[0]} and {seed}: only one has {other!r}')
    return {name: _stacked([each[name] for each in found]) for name in sorted(found[0])}


def _checked(what: str, returned: Any) -> dict[str, np.ndarray]:
    """The numbers of one seed. Raises UsageError for what is none."""
    if not isinstance(returned, Mapping) or not returned:
        raise UsageError(
            f'{what}: it returned {returned!r:.80}; it must return numbers by name: '
            "{'test/accuracy': 0.9}"
        )
    numbers = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in (STEPS, BEST_STEP):
            raise UsageError(
                f"{what}: {name!r} is no name of a number, such as 'test/accuracy', or an array of "
                f"one value an example, 'test/accuracy{EACH}'"
            )
        try:
            number = np.asarray(value)
        except ValueError:  # of rows of different lengths
            number = np.asarray(None)
        if number.dtype.kind not in 'biuf':
            raise UsageError(f'{what}: {name!r} is {value!r:.80}, and no number')
        shape = 'one value an example' if name.endswith(EACH) else 'one number'
        if number.ndim != name.endswith(EACH) or not number.size:
            raise UsageError(f'{what}: {name!r} has the shape {number.shape}; it must be {shape}')
        if not np.isfinite(number).all():
            raise UsageError(f'{what}: {name!r} is {value!r:.80}, and must be finite')
        numbers[name] = number.astype(np.float64)
    for name in numbers:
        if name.endswith(EACH) and name.removesuffix(EACH) not in numbers:
            raise UsageError(f'{what}: {name!r} is there without {name.removesuffix(EACH)!r}')
    return numbers


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[...] of each seed as [seeds, ...], rows that are shorter than others ended by NaN."""
    if rows[0].ndim == 0:
        return np.stack(rows)
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])
