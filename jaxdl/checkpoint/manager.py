"""Checkpoints: orbax behind four functions, with proof that what is read is what was written.

orbax restores a flipped byte without a word, and believes any folder whose name is a number. So a
step counts as saved only once a digest of its number and all its bytes stands beside it:

    checkpoints.json     beside the folder, written last: the newest step that was saved
    STEP/                orbax's own folder, committed by a rename
    digests/STEP         sha256 over the run's config, the step, and names and bytes of that folder
    digests/STEP.saving  made before the save, gone after the digest: a kill between leaves it
    removed/             steps on their way out
    quarantine/          steps that did not verify; nothing here is ever deleted

The state is stored flat, {'net.params.Dense_0.kernel': array}, so that the tree may hold anything
(named tuples, None, optax states) and a misfit can be named.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import jax

from jaxdl.checkpoint.finite import refuse_nonfinite
from jaxdl.checkpoint.reading import (
    NotValidError,
    Saved,
    alone,
    digest_file,
    digest_of,
    orbax,
    read_step,
    reason,
    step_of,
    steps_in,
    verify_step,
)
from jaxdl.checkpoint.shared import on_host, told_by_first
from jaxdl.checkpoint.stored import array, flatten, spec
from jaxdl.errors import CheckpointError, JaxdlError, UsageError
from jaxdl.faults import machine_fault
from jaxdl.files import read_json, remove_temporaries, write_bytes, write_json
from jaxdl.processes.telling import from_first


class Checkpoints:
    """The checkpoints of one run: saved in the background, verified before they are believed.

    One process writes a folder; the caller holds its lock. Of many processes that is the first:
    every one calls every method, with states that it has whole, and what is read the first one
    reads and tells; so n processes restore what m have written. `keep` newest steps are kept, and
    the one with the best score. Errors of a save in the background are raised by the next call of
    `save`, `wait` or `close`; the steps before it stay.

    Raises:
        UsageError: the folder cannot be made or written.
        JaxdlError: the machine fails: no handles, no space.
    """

    def __init__(self, folder: Path, *, keep: int = 2, say: Callable[[str], None] = print) -> None:
        if keep < 1:
            raise ValueError(f'keep must be at least 1, not {keep}')
        self._writes = jax.process_index() == 0
        self._folder = folder.absolute()
        # Outside: a folder that is gone cannot say that it was there.
        self._memory = self._folder.with_name(f'{self._folder.name}.json')
        self._keep = keep
        self._say = say
        self._manager: Any = None  # made by the first save: what restore finds may be damaged
        self._commit: tuple[int, Future[None]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='checkpoint')
        from_first(lambda: self._prepare(folder))

    def _prepare(self, folder: Path) -> None:
        try:
            (self._folder / 'digests').mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
            self._sweep()
        except OSError as error:
            kind = JaxdlError if machine_fault(error) else UsageError
            raise kind(f'cannot write in {folder}: {reason(error)}') from error

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
        given = flatten(state)
        leaves = {name: array(name, leaf) for name, leaf in given.items()}
        if not self._writes:
            refuse_nonfinite(leaves, step)  # all have the same, and refuse the same
            return
        newest = max(steps_in(self._folder), default=-1)
        if step <= newest:
            raise ValueError(f'step {step} is not newer than step {newest} in {self._folder}')
        specs = {name: spec(leaf) for name, leaf in given.items()}
        refuse_nonfinite(leaves, step)
        # orbax refuses arrays without elements; their specs are all there is to know.
        stored = {name: leaf for name, leaf in leaves.items() if leaf.size}
        try:
            manager = self._open()
            (self._folder / 'digests' / f'{step}.saving').touch()
            accepted = manager.save(
                step,
                args=orbax().args.Composite(state=orbax().args.PyTreeSave({'leaves': stored})),
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

        Steps that are gone are known by their digests, and by what stands beside the folder.

        like(phase): the tree of that phase's state; leaves are arrays or ShapeDtypeStructs, whose
        sharding the restored arrays take. Steps that do not verify are moved to quarantine and
        said, so that their numbers can be saved again.

        Raises:
            CheckpointError: steps were saved and none is valid.
            JaxdlError: the machine fails; nothing is put in quarantine for that.
            UsageError: the valid step has other leaves, shapes or dtypes than `like`.
        """
        if jax.process_count() > 1:
            return told_by_first(lambda: self._restore(on_host(like)), like)
        return self._restore(like)

    def _restore(self, like: Callable[[int], Any]) -> Saved | None:
        self.wait()
        self._drop()
        self._sweep()
        saved, bad = None, False
        # Every step is verified: an old one may be the best, and orbax reads its score when opened.
        for step in sorted(steps_in(self._folder), reverse=True):
            try:
                verify_step(self._folder, step)
                saved = saved or read_step(self._folder, step, like)
            except NotValidError as fault:
                self._quarantine(step, fault)
                bad = True
        quarantine, newest = self._folder / 'quarantine', self._newest()
        if saved is None and quarantine.exists():
            raise CheckpointError(
                f'no valid checkpoint is left in {self._folder}, the damaged ones are in '
                f'{quarantine}: put a copy back, or start from zero in another --workdir'
            )
        if saved is None and newest is not None:
            raise CheckpointError(
                f'{self._folder} has no checkpoint left, and step {newest} was saved: put a copy '
                'back, or start from zero in another --workdir'
            )
        if saved and newest is not None and newest > saved.step and not bad:
            self._say(f'checkpoint {newest} is gone: {self._folder} has step {saved.step}')
        return saved

    def steps(self) -> list[int]:
        """The steps that count as saved: committed, with a digest; increasing."""
        return from_first(
            lambda: [
                step
                for step in sorted(steps_in(self._folder))
                if digest_file(self._folder, step).exists()
            ]
        )

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
            ocp = orbax()
            policies = ocp.checkpoint_managers
            newest = policies.LatestN(self._keep)
            best = policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
            options = ocp.CheckpointManagerOptions(
                create=False,
                best_fn=_score,
                preservation_policy=policies.AnyPreservationPolicy([newest, best]),
                multiprocessing_options=alone(),
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
            digest = digest_of(self._folder, step)
            write_bytes(digest_file(self._folder, step), digest.encode())
            write_json(self._memory, {'newest': step})
        except BaseException:
            # orbax raises an error once in each thread that waits, so it is closed in this one.
            self._drop()
            raise
        (self._folder / 'digests' / f'{step}.saving').unlink()
        self._forget_removed()

    def _forget_removed(self) -> None:
        """Forget the steps that orbax has put away for newer ones."""
        kept = steps_in(self._folder)
        for path in (self._folder / 'digests').iterdir():
            step = step_of(path.name)
            if step is not None and step not in kept:
                path.unlink()
        _remove(self._folder / 'removed')

    def _newest(self) -> int | None:
        """The newest step that was ever saved, as far as is known; None if nothing was."""
        digests = {step_of(path.name) for path in (self._folder / 'digests').iterdir()}
        known = {step for step in digests if step is not None}
        if self._memory.exists():
            try:
                known.add(read_json(self._memory)['newest'])
            except JaxdlError as fault:
                self._say(str(fault))
                known.add(0)  # something was
        return max(known, default=None)

    def _sweep(self) -> None:
        """Take away what a kill or a failed save left, and nothing else."""
        tmp = orbax().path.atomicity_types.TMP_DIR_SUFFIX
        for path in self._folder.glob(f'*{tmp}*'):
            _remove(path)
        digests, removed = self._folder / 'digests', self._folder / 'removed'
        remove_temporaries(digests, mine=True)
        for path in digests.glob('*.saving'):
            if step_of(path.stem) is not None and not path.with_suffix('').exists():
                _remove(self._folder / path.stem)
            path.unlink()
        for path in removed.iterdir() if removed.exists() else ():
            # Its digest is there: the step that was to replace it never got its own.
            step = step_of(path.name)
            if step is not None and digest_file(self._folder, step).exists():
                path.rename(self._folder / path.name)
        _remove(removed)

    def _quarantine(self, step: int, fault: Exception) -> None:
        target = self._folder / 'quarantine' / str(step)
        target.parent.mkdir(exist_ok=True)
        copy = 1
        while target.exists():
            copy += 1
            target = target.with_name(f'{step}.{copy}')
        (self._folder / str(step)).rename(target)
        if digest_file(self._folder, step).exists():
            digest_file(self._folder, step).rename(target.with_name(f'{target.name}.sha256'))
        self._say(f'checkpoint {step} is not valid ({fault}): moved to {target}')

    def _failure(self, step: int, error: Exception) -> JaxdlError:
        return JaxdlError(
            f'cannot save step {step} in {self._folder}: {reason(error)}; earlier steps are kept'
        )


def load_weights(folder: Path, *, say: Callable[[str], None] = print) -> Saved:
    """The newest valid step in a folder of checkpoints, as nested dicts of numpy arrays.

    Fields of named tuples and indices of sequences become keys: ``state['net']['net']['params']``;
    None and empty containers are left out, and typed keys come as their uint32 data. Only reads,
    so the run that writes the folder may be alive.

    Raises:
        UsageError: nothing was saved there.
        CheckpointError: no step is valid.
        JaxdlError: the machine fails.
    """
    folder = folder.absolute()
    steps = steps_in(folder) if folder.is_dir() else set()
    for step in sorted(steps, reverse=True):
        try:
            verify_step(folder, step)
            return read_step(folder, step, None)
        except NotValidError as fault:
            say(f'checkpoint {folder / str(step)} is not valid ({fault})')
    if steps:
        raise CheckpointError(f'no checkpoint in {folder} is valid')
    raise UsageError(f'there are no checkpoints in {folder}')


def newest_digest(folder: Path) -> str | None:
    """The digest of the newest step in a folder of checkpoints, None where nothing was saved."""
    steps = steps_in(folder) if folder.is_dir() else set()
    saved = [step for step in steps if digest_file(folder, step).exists()]
    return digest_file(folder, max(saved)).read_text() if saved else None


def _score(metrics: Mapping[str, float]) -> float:
    return metrics['score']


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
