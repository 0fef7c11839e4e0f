"""Checkpoints: orbax behind four functions, with proof that what is read is what was written.

orbax restores a flipped byte without a word, and believes any folder whose name is a number. So a
step counts as saved only once a digest of all its bytes stands beside it:

    STEP/                orbax's own folder, committed by a rename
    digests/STEP         sha256 over names and bytes of that folder, made after the rename
    digests/STEP.saving  made before the save, gone after the digest: a kill between leaves it
    removed/             steps on their way out
    quarantine/          steps that did not verify; nothing here is ever deleted

The state is stored flat, {'net.params.Dense_0.kernel': array}, so that the tree may hold anything
(named tuples, None, optax states) and a misfit can be named.
"""

import hashlib
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checkpoint.finite import refuse_nonfinite
from jaxdl.checkpoint.stored import (
    Spec,
    array,
    as_target,
    flatten,
    nest,
    refuse_misfit,
    restore_args,
    spec,
)
from jaxdl.errors import CheckpointError, JaxdlError, UsageError


class Saved(NamedTuple):
    """A state as it was after `step` steps, counted over all phases, in phase `phase`."""

    step: int
    phase: int
    state: Any


class Checkpoints:
    """The checkpoints of one run: saved in the background, verified before they are believed.

    One process writes a folder; the caller holds its lock. `keep` newest steps are kept, and the
    one with the best score. Errors of a save in the background are raised by the next call of
    `save`, `wait` or `close`; the steps before it stay.

    Raises:
        UsageError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, *, keep: int = 2, say: Callable[[str], None] = print) -> None:
        if keep < 1:
            raise ValueError(f'keep must be at least 1, not {keep}')
        if jax.process_count() > 1:
            raise UsageError('checkpoints are written by one process, and this run has several')
        self._folder = folder.absolute()
        self._keep = keep
        self._say = say
        self._manager: Any = None  # made by the first save: what restore finds may be damaged
        self._commit: tuple[int, Future[None]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='checkpoint')
        try:
            (self._folder / 'digests').mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
            self._sweep()
        except OSError as error:
            raise UsageError(f'cannot write in {folder}: {_reason(error)}') from error

    def save(self, state: Any, *, step: int, phase: int, score: float | None = None) -> None:
        """Save `state` as `step`; on return it is copied from the device and may be donated.

        score: larger is better. The step of the best one is kept; None or NaN is never the best.

        Raises:
            DivergedError: the state holds NaN, or infinity in an array of two or more axes. (A
                number, or one number a seed, may honestly be infinite: the best score so far.)
            JaxdlError: this or an earlier save failed, e.g. the disk is full.
            ValueError: `step` is not larger than every step saved.
        """
        self.wait()
        newest = max(_steps(self._folder), default=-1)
        if step <= newest:
            raise ValueError(f'step {step} is not newer than step {newest} in {self._folder}')
        given = flatten(state)
        leaves = {name: array(name, leaf) for name, leaf in given.items()}
        specs = {name: spec(leaf) for name, leaf in given.items()}
        refuse_nonfinite(leaves, step)
        # orbax refuses arrays without elements; their specs are all there is to know.
        stored = {name: leaf for name, leaf in leaves.items() if leaf.size}
        try:
            manager = self._open()
            (self._folder / 'digests' / f'{step}.saving').touch()
            accepted = manager.save(
                step,
                args=_ocp().args.Composite(state=_ocp().args.PyTreeSave({'leaves': stored})),
                metrics=None if score is None or math.isnan(score) else {'score': float(score)},
                custom_metadata={'phase': phase, 'leaves': specs},
            )
            if not accepted:
                raise RuntimeError('orbax did not accept it')
        except Exception as error:
            self._drop()
            raise self._failure(step, error) from error
        self._commit = step, self._thread.submit(self._finish, manager, step)

    def restore(self, like: Callable[[int], Any]) -> Saved | None:
        """The newest step that verifies, or None where nothing was ever saved.

        like(phase): the tree of that phase's state; leaves are arrays or ShapeDtypeStructs, whose
        sharding the restored arrays take. Steps that do not verify are moved to quarantine and
        said, so that their numbers can be saved again.

        Raises:
            CheckpointError: there are steps and none is valid.
            UsageError: the valid step has other leaves, shapes or dtypes than `like`.
        """
        self.wait()
        self._drop()
        self._sweep()
        saved = None
        # Every step is verified: an old one may be the best, and orbax reads its score when opened.
        for step in sorted(_steps(self._folder), reverse=True):
            try:
                _verify(self._folder, step)
                saved = saved or _restore(self._folder, step, like)
            except _NotValidError as fault:
                self._quarantine(step, fault)
        quarantine = self._folder / 'quarantine'
        if saved is None and quarantine.exists():
            raise CheckpointError(
                f'no valid checkpoint is left in {self._folder}, the damaged ones are in '
                f'{quarantine}: remove {self._folder} to start from zero'
            )
        return saved

    def steps(self) -> list[int]:
        """The steps that count as saved: committed, with a digest; increasing."""
        return [step for step in sorted(_steps(self._folder)) if _sum(self._folder, step).exists()]

    def wait(self) -> None:
        """Block until every save is on disk and has its digest.

        Raises:
            JaxdlError: a save failed; says where and why.
        """
        if self._commit is None:
            return
        step, commit = self._commit
        try:
            commit.result()
        except Exception as error:
            self._commit = None
            raise self._failure(step, error) from error
        self._commit = None

    def close(self) -> None:
        """Wait and release threads. Raises like `wait`."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except JaxdlError as failure:
            if kind is None:
                raise
            self._say(str(failure))  # and let what ended the block through

    def _open(self) -> Any:
        if self._manager is None:
            self._sweep()
            ocp = _ocp()
            policies = ocp.checkpoint_managers
            newest = policies.LatestN(self._keep)
            best = policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
            options = ocp.CheckpointManagerOptions(
                create=False,
                best_fn=_score,
                preservation_policy=policies.AnyPreservationPolicy([newest, best]),
                # A rename: a kill in the middle of deleting must not look like damage.
                todelete_subdir='removed',
            )
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        return self._manager

    def _drop(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()

    def _finish(self, manager: Any, step: int) -> None:
        """In the background: wait for orbax's commit, then make the digest."""
        try:
            manager.wait_until_finished()
            digest = _digest(self._folder / str(step))
            new = self._folder / 'digests' / f'{step}.new'
            with new.open('w') as file:
                file.write(digest)
                file.flush()
                os.fsync(file.fileno())
            new.replace(_sum(self._folder, step))
        except BaseException:
            # orbax raises an error once in each thread that waits, so it is closed in this one.
            self._drop()
            raise
        (self._folder / 'digests' / f'{step}.saving').unlink()
        self._forget_removed()

    def _forget_removed(self) -> None:
        kept = _steps(self._folder)
        for path in (self._folder / 'digests').iterdir():
            if path.name.isdigit() and int(path.name) not in kept:
                path.unlink()
        _remove(self._folder / 'removed')

    def _sweep(self) -> None:
        """Take away what a kill or a failed save left, and nothing else."""
        tmp = _ocp().path.atomicity_types.TMP_DIR_SUFFIX
        for path in self._folder.glob(f'*{tmp}*'):
            _remove(path)
        for path in (self._folder / 'digests').glob('*.new'):
            path.unlink()
        for path in (self._folder / 'digests').glob('*.saving'):
            if not path.with_suffix('').exists():
                _remove(self._folder / path.stem)
            path.unlink()
        removed = self._folder / 'removed'
        for path in removed.iterdir() if removed.exists() else ():
            # Its digest is there: the step that was to replace it never got its own.
            if path.name.isdigit() and _sum(self._folder, int(path.name)).exists():
                path.rename(self._folder / path.name)
        self._forget_removed()

    def _quarantine(self, step: int, fault: Exception) -> None:
        target = self._folder / 'quarantine' / str(step)
        target.parent.mkdir(exist_ok=True)
        copy = 1
        while target.exists():
            copy += 1
            target = target.with_name(f'{step}.{copy}')
        (self._folder / str(step)).rename(target)
        if _sum(self._folder, step).exists():
            _sum(self._folder, step).rename(target.with_name(f'{target.name}.sha256'))
        self._say(f'checkpoint {step} is not valid ({fault}): moved to {target}')

    def _failure(self, step: int, error: Exception) -> JaxdlError:
        return JaxdlError(
            f'cannot save step {step} in {self._folder}: {_reason(error)}; earlier steps are kept'
        )


def load_weights(folder: Path, *, say: Callable[[str], None] = print) -> Saved:
    """The newest valid step in a folder of checkpoints, as nested dicts of numpy arrays.

    Fields of named tuples and indices of sequences become keys: ``state['net']['net']['params']``;
    None and empty containers are left out, and typed keys come as their uint32 data. Only reads,
    so the run that writes the folder may be alive.

    Raises:
        UsageError: nothing was saved there.
        CheckpointError: no step is valid.
    """
    folder = folder.absolute()
    steps = _steps(folder) if folder.is_dir() else set()
    for step in sorted(steps, reverse=True):
        try:
            _verify(folder, step)
            return _restore(folder, step, None)
        except _NotValidError as fault:
            say(f'checkpoint {folder / str(step)} is not valid ({fault})')
    if steps:
        raise CheckpointError(f'no checkpoint in {folder} is valid')
    raise UsageError(f'there are no checkpoints in {folder}')


def newest_digest(folder: Path) -> str | None:
    """The digest of the newest step in a folder of checkpoints, None where nothing was saved."""
    steps = (
        [step for step in _steps(folder) if _sum(folder, step).exists()] if folder.is_dir() else []
    )
    return _sum(folder, max(steps)).read_text() if steps else None


class _NotValidError(Exception):
    """A step that does not verify, or that orbax cannot restore; says why."""


def _ocp() -> Any:
    # Imported on first use (0.2 s). orbax logs tracebacks of errors that it also raises.
    import orbax.checkpoint as ocp
    from absl import logging as absl_logging

    absl_logging.get_absl_logger().addFilter(_not_from_orbax)
    return ocp


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return f'{os.sep}orbax{os.sep}' not in record.pathname


def _score(metrics: Mapping[str, float]) -> float:
    return metrics['score']


def _steps(folder: Path) -> set[int]:
    """Every step that is there, valid or not, but the one a live run is still saving."""
    steps = {int(path.name) for path in folder.iterdir() if path.name.isdigit()}
    saving = {int(path.stem) for path in folder.glob('digests/*.saving')}
    return {step for step in steps if step not in saving or _sum(folder, step).exists()}


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sum(folder: Path, step: int) -> Path:
    return folder / 'digests' / str(step)


def _digest(folder: Path) -> str:
    """The sha256 over names, sizes and bytes of all files under `folder`."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob('*') if path.is_file()):
        total.update(f'{path.relative_to(folder)}\0{path.stat().st_size}\0'.encode())
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _verify(folder: Path, step: int) -> None:
    if not _sum(folder, step).exists():
        raise _NotValidError('it has no digest')
    with _blaming_the_checkpoint():
        same = _digest(folder / str(step)) == _sum(folder, step).read_text()
    if not same:
        raise _NotValidError('its bytes have changed since it was saved')


@contextmanager
def _blaming_the_checkpoint() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UsageError(f'cannot read {error.filename}: {error.strerror}') from error
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # of the machine, not of the bytes: a good step must not be put away
    except Exception as error:
        raise _NotValidError(_reason(error)) from error


def _restore(folder: Path, step: int, like: Callable[[int], Any] | None) -> Saved:
    ocp = _ocp()
    path = folder / str(step)
    handler = ocp.CompositeCheckpointHandler(state=ocp.PyTreeCheckpointHandler())
    with ocp.Checkpointer(handler) as reader:
        with _blaming_the_checkpoint():
            about = reader.metadata(path).custom_metadata
            phase = about['phase']
            specs: dict[str, Spec] = {n: (d, tuple(s)) for n, (d, s) in about['leaves'].items()}
        tree = like(phase) if like else {name: np.zeros(0) for name in specs}
        targets = flatten(tree)
        if like:
            refuse_misfit(specs, targets, path)
        stored = {n: restore_args(x) for n, x in targets.items() if 0 not in specs[n][1]}
        args = ocp.args.PyTreeRestore(restore_args={'leaves': stored})
        with _blaming_the_checkpoint():
            leaves = reader.restore(path, args=ocp.args.Composite(state=args)).state['leaves']
    if like is None:
        empty = {n: np.zeros(s, jnp.dtype(d)) for n, (d, s) in specs.items() if n not in stored}
        return Saved(step, phase, nest({**leaves, **empty}))
    filled = [as_target(leaves.get(name), target) for name, target in targets.items()]
    return Saved(step, phase, jax.tree.unflatten(jax.tree.structure(tree), filled))


def _reason(error: BaseException | None) -> str:
    """One line for an error of orbax or of the system: the system's words where there are any."""
    first = error
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if code := re.search(r"os_error_code='(\d+)'", str(error)):
            return os.strerror(int(code[1]))
        error = error.__cause__ or error.__context__
    return f'{type(first).__name__}: {" ".join(str(first).split())[:200]}'
