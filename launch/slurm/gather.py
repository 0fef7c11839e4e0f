"""The run folders of a job array's tasks put together into one, as if one command had trained all.

    python -m launch.slurm.gather runs/NAME

Each task has a run folder of its own, runs/NAME/parts/ARM.FIRST-LAST, for two may not write in one.
An arm's first seeds become runs/NAME/ARM, further ones runs/NAME/ARM/seeds/FIRST-LAST, where
`jaxdl run` itself puts seeds that are added.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from jaxdl.errors import UsageError
from launch.words import Parser, run_as_command

PARTS = 'parts'
_NAME = re.compile(r'(?P<arm>.+)\.(?P<first>\d+)-(?P<last>\d+)')


def part_of(arm: str, seeds: Iterable[int]) -> str:
    """The name of the folder of one task: 'lenet.0-4'."""
    seeds = list(seeds)
    return f'{arm}.{seeds[0]}-{seeds[-1]}'


def seeds_done(arm: Path) -> set[int]:
    """The seeds of an arm that are done in its folder, and in those of seeds added later."""
    done = [lot for lot in (arm, *arm.glob('seeds/*')) if (lot / 'DONE').is_file()]
    return {seed for lot in done for seed in json.loads((lot / 'config.json').read_text())['seeds']}


def gather(parts: Path, folder: Path) -> list[Path]:
    """Move what is done in `parts` to `folder`; returns what is not done and stays.

    Can be called again and again: what was moved before is not in the way.
    Raises UsageError where `folder` has the same seeds of an arm already.
    """
    left, done = [], []
    for part in sorted(parts.iterdir()) if parts.is_dir() else []:
        if named := _NAME.fullmatch(part.name):
            arm, first, last = named['arm'], int(named['first']), int(named['last'])
            if (part / arm / 'DONE').is_file():
                done.append((arm, first, last, part))
            elif not {first, last} <= seeds_done(folder / arm):
                left.append(part)
    for arm, first, last, part in sorted(done):
        to = folder / arm
        if (to / 'DONE').is_file():
            to = to / 'seeds' / f'{first}-{last}'
        if to.exists():
            raise UsageError(f'{to} is there already; {part} is not moved')
        to.parent.mkdir(parents=True, exist_ok=True)
        tuned = part / 'tuning' / arm
        if tuned.is_dir() and not (folder / 'tuning' / arm).exists():
            (folder / 'tuning').mkdir(exist_ok=True)
            tuned.rename(folder / 'tuning' / arm)
        (part / arm).rename(to)
    return left


def main(words: list[str]) -> int:
    """The command line; returns 0 where everything is done, else 1."""
    parser = Parser(
        prog='python -m launch.slurm.gather', description='Put the folders of tasks together.'
    )
    parser.add_argument('folder', type=Path, help='runs/NAME, which has a folder `parts`')
    folder = parser.parse_args(words).folder
    if not (folder / PARTS).is_dir():
        raise UsageError(f'{folder}: no folder {PARTS!r} in it, which launch.slurm.submit makes')
    left = gather(folder / PARTS, folder)
    for part in left:
        print(f'not done: {part}', file=sys.stderr)
    return 1 if left else 0


if __name__ == '__main__':
    run_as_command('launch.slurm.gather', main)
