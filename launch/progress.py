"""How far a run is, as its folder shows it to who does not know what is trained."""

import os
from collections.abc import Sequence
from pathlib import Path

from launch.policy import Progress


def progress_of(folder: Path) -> Progress:
    """The progress of a run folder: how many DONE files it has, and the sum of saved steps.

    The steps are the newest checkpoint's of each arm, each lot of seeds and each candidate of a
    tuning. metrics.jsonl does not count: what it tells of and no checkpoint holds is done again.
    A folder that is not there has made none.
    """
    done = saved = 0
    for place, folders, files in os.walk(folder):  # where a folder goes meanwhile it goes on
        done += 'DONE' in files
        if 'checkpoints' in folders:
            folders.remove('checkpoints')  # there is much in them, and nothing to be found
            saved += _newest(Path(place) / 'checkpoints')
    return Progress(done, saved)


def watched_folder(command: Sequence[str]) -> Path | None:
    """The run folder of a `jaxdl run` command: its --workdir, else runs/NAME; None of any other."""
    words = list(command)
    for word, following in zip(words, [*words[1:], ''], strict=True):
        if word == '--workdir' and following:
            return Path(following)
        if word.startswith('--workdir='):
            return Path(word.partition('=')[2])
    at = words.index('run') if 'run' in words else -1
    if at < 1 or at + 1 == len(words) or words[at + 1].startswith('-'):
        return None
    name = Path(words[at + 1]).stem
    return Path('runs') / (f'{name}-smoke' if '--smoke' in words else name)


def _newest(checkpoints: Path) -> int:
    """The newest step of a folder of checkpoints that has a digest, which is written last."""
    try:
        names = os.listdir(checkpoints / 'digests')
    except OSError:  # none yet, or none any more
        return 0
    return max((int(name) for name in names if name.isdigit()), default=0)
