"""A step as it is read: which there are, whether they verify, and whose fault it is if they do not.

A step is not valid where its bytes are others than those whose digest stands beside it, where a
file is missing, or where what verifies has a format that cannot be read. Everything else that
fails is of the machine: it is tried again, and a step is never condemned for it.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checkpoint.echoes import leave_out_echoes
from jaxdl.checkpoint.stored import Spec, as_target, flatten, nest, refuse_misfit, restore_args
from jaxdl.errors import JaxdlError, UsageError
from jaxdl.faults import chain, machine_fault

T = TypeVar('T')
WAITS = (0.1, 0.5, 2.0)  # seconds before each further attempt
_STEP = re.compile('0|[1-9][0-9]*')


class Saved(NamedTuple):
    """A state as it was after `step` steps, counted over all phases, in phase `phase`."""

    step: int
    phase: int
    state: Any


class NotValidError(Exception):
    """A step that does not verify, or that orbax cannot restore; says why."""


def orbax() -> Any:
    """orbax.checkpoint, imported on first use (0.2 s)."""
    import orbax.checkpoint as ocp

    leave_out_echoes()
    return ocp


def alone() -> Any:
    """For orbax, which counts processes: this one writes and reads without the others."""
    ocp, rank = orbax(), jax.process_index()
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        primary_host=rank, active_processes={rank}, barrier_sync_key_prefix=f'rank{rank}'
    )


def step_of(name: str) -> int | None:
    """The step whose folder has this name; None for a name that no step has."""
    return int(name) if _STEP.fullmatch(name) else None  # \N{SUPERSCRIPT TWO} is a digit too


def steps_in(folder: Path) -> set[int]:
    """Every step that is there, valid or not, but the one a live run is still saving."""
    steps = {step for path in folder.iterdir() if (step := step_of(path.name)) is not None}
    saving = {step_of(path.stem) for path in folder.glob('digests/*.saving')}
    return {step for step in steps if step not in saving or digest_file(folder, step).exists()}


def digest_file(folder: Path, step: int) -> Path:
    """Where the digest of a step stands."""
    return folder / 'digests' / str(step)


def digest_of(folder: Path, step: int) -> str:
    """The sha256 over a step's number, and names, sizes and bytes of all files under its folder.

    Over the configuration beside the checkpoints too, where there is one: those of another run,
    whose shapes may be the same, are not this run's.
    """
    total = hashlib.sha256(f'step {step}\0'.encode())
    run = folder.parent / 'config.json'
    if run.exists():
        total.update(run.read_bytes() + b'\0')
    root = folder / str(step)
    for path in sorted(path for path in root.rglob('*') if path.is_file()):
        total.update(f'{path.relative_to(root)}\0{path.stat().st_size}\0'.encode())
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def verify_step(folder: Path, step: int) -> None:
    """Raise NotValidError for a step that is not what was saved; JaxdlError, UsageError: unread."""
    if not digest_file(folder, step).exists():
        raise NotValidError('it has no digest')

    def same() -> bool:
        return digest_of(folder, step).encode() == digest_file(folder, step).read_bytes()

    if not _patiently(same, folder, step):
        raise NotValidError('it is not what was saved as this step of this run')


def read_step(folder: Path, step: int, like: Callable[[int], Any] | None) -> Saved:
    """A step that has verified, as the tree `like(phase)`, or as nested dicts of numpy arrays.

    Raises:
        NotValidError: its format cannot be read.
        UsageError: it has other leaves, shapes or dtypes than `like`; it may not be read.
        JaxdlError: the machine fails, again and again.
    """
    path = folder / str(step)

    def about() -> tuple[int, dict[str, Spec]]:
        with _reader() as reader:
            found = reader.metadata(path).custom_metadata
        return found['phase'], {n: (d, tuple(s)) for n, (d, s) in found['leaves'].items()}

    phase, specs = _patiently(about, folder, step)
    tree = like(phase) if like else {name: np.zeros(0) for name in specs}
    targets = flatten(tree)
    if like:
        refuse_misfit(specs, targets, path)
    stored = {n: restore_args(x) for n, x in targets.items() if 0 not in specs[n][1]}

    def restored() -> dict[str, Any]:
        ocp = orbax()
        args = ocp.args.PyTreeRestore(restore_args={'leaves': stored})
        with _reader() as reader:
            return reader.restore(path, args=ocp.args.Composite(state=args)).state['leaves']

    leaves = _patiently(restored, folder, step)
    if like is None:
        empty = {n: np.zeros(s, jnp.dtype(d)) for n, (d, s) in specs.items() if n not in stored}
        return Saved(step, phase, nest({**leaves, **empty}))
    filled = [as_target(leaves.get(name), target) for name, target in targets.items()]
    return Saved(step, phase, jax.tree.unflatten(jax.tree.structure(tree), filled))


def _reader() -> Any:
    ocp = orbax()
    options = alone()
    handler = ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(multiprocessing_options=options),
        composite_options=ocp.CompositeOptions(multiprocessing_options=options),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _patiently(read: Callable[[], T], folder: Path, step: int) -> T:
    """What `read` returns; a failure is tried again, and only then is it somebody's fault."""
    for wait in (*WAITS, None):
        try:
            return read()
        except PermissionError as error:
            raise UsageError(f'cannot read {error.filename}: {error.strerror}') from error
        except Exception as error:
            fault, why = _fault(error, folder, step), reason(error)
        if wait is not None:
            time.sleep(wait)
    if fault is None:
        raise NotValidError(why)
    raise JaxdlError(
        f'cannot read checkpoint {folder / str(step)}: {fault}; nothing was moved, start the same '
        'command again when the machine is well'
    )


def _fault(error: Exception, folder: Path, step: int) -> str | None:
    """The machine's part in an error. orbax hides some errors of the system and goes on."""
    if fault := machine_fault(error):
        return fault
    if isinstance(error, jax.errors.JaxRuntimeError):
        raise error  # of a device, not of the bytes: a good step must not be put away
    try:
        digest_of(folder, step)
    except OSError as hidden:
        return machine_fault(hidden)
    return None


def reason(error: BaseException | None) -> str:
    """One line for an error of orbax or of the system: the system's words where there are any."""
    if fault := machine_fault(error):
        return fault
    for each in chain(error):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        if code := re.search(r"os_error_code='(\d+)'", str(each)):
            return os.strerror(int(code[1]))
    return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
