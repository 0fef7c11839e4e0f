"""The folder of a process that is not the first: a copy of what decisions are made of.

Configurations, records, results: small files. No checkpoints, whose content the first process
tells (see `jaxdl.checkpoint`), and nothing that is only looked at.
"""

from collections.abc import Mapping
from pathlib import Path

# Folders and files of a run of which nothing is decided.
LEFT_OUT = ('checkpoints', 'samples', 'tensorboard', 'figures')
SEEN_ONLY = ('.txt', '.html', '.md', '.png', '.wav', '.svg')
UNREAD = ('LOCK', 'checkpoints.json')


def read_folder(folder: Path) -> dict[str, bytes]:
    """What decides in a run's folder, by path; nothing where there is none."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if _decides(path.relative_to(folder)) and path.is_file()
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """The same files in another folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _decides(path: Path) -> bool:
    if any(part in LEFT_OUT for part in path.parts) or path.name in UNREAD:
        return False
    return path.suffix not in SEEN_ONLY
