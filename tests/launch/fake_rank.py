"""A rank of a run that saves steps and leaves as jaxdl does, in a tenth of a second, without jax.

    python fake_rank.py FOLDER CODE ...

Every start does one step more and saves it, and leaves with the next CODE, the last one again and
again; `-9` kills itself, `75+` waits for a signal first, `0` is done. `=` before a code: no step.
Codes of one rank alone: `1:2`, and the others then leave with 76. Words from --workdir on are for
who looks for the run folder.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main(folder: Path, codes: list[str]) -> int:
    rank = int(os.environ.get('JAXDL_PROCESS', os.environ.get('SLURM_PROCID', 0)))
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: told.append(number))
    starts = folder / f'starts-{rank}'
    at = int(starts.read_text()) if starts.exists() else 0
    starts.write_text(str(at + 1))
    code = codes[min(at, len(codes) - 1)]
    who, colon, rest = code.partition(':')
    if colon:
        code = rest if int(who) == rank else '76'
    steps = folder / 'arm' / 'checkpoints' / 'digests'
    steps.mkdir(parents=True, exist_ok=True)
    if rank == 0 and not code.startswith('='):
        (steps / str(10 * (at + 1))).touch()
    code = code.removeprefix('=')
    names = ('JAXDL_COORDINATOR', 'JAXDL_PROCESSES', 'JAXDL_PROCESS', 'XLA_FLAGS')
    print(f'start {at}', *(f'{name}={os.environ.get(name)}' for name in names), flush=True)
    print('half a line', end='', flush=True)
    deadline = time.monotonic() + 100
    while code.endswith('+') and not told and time.monotonic() < deadline:
        time.sleep(0.02)
    if code.startswith('-'):
        os.kill(os.getpid(), -int(code))
    if told:
        time.sleep(0.3)  # whether it comes once only
        (folder / f'told-{rank}').write_text(' '.join(signal.Signals(each).name for each in told))
    return int(code.removesuffix('+'))


if __name__ == '__main__':
    words = [*sys.argv[1:], '--workdir']
    sys.exit(main(Path(words[0]), words[1 : words.index('--workdir')]))
