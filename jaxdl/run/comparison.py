"""Whether the run in a folder still is what would be computed now.

identity.json says what the run computes (`jaxdl.engine.identity`) and where that is written
(`jaxdl.run.origin`). The second is cheap to compare, and where it is unchanged so is the first.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxdl.blame import at, blaming
from jaxdl.checkpoint.manager import newest_digest
from jaxdl.engine.checks import refuse_another_state
from jaxdl.engine.identity import differences, in_words, program
from jaxdl.errors import UsageError
from jaxdl.files import read_json, write_json
from jaxdl.run.config import Config, as_json, groups_of
from jaxdl.run.origin import is_unchanged, keep_source, layers, look
from jaxdl.run.stage import Stage


class Comparison(NamedTuple):
    """What a folder's identity.json says against what would be computed now.

    changed: what is computed differently, each in words; empty where nothing is, or nothing was
        there. accepted: the same of earlier starts, which were told to go on all the same.
    redraw: whether pictures would be others. stored: the content of the file, None without one.
    """

    folder: Path
    identity: dict[str, Any]
    changed: list[str]
    accepted: list[list[str]]
    redraw: bool
    stored: Any = None

    def write(self, experiment: Path | None) -> None:
        """Take what is computed now as what the folder holds, and keep the experiment's text."""
        accepted = [*self.accepted, *([self.changed] if self.changed else [])]
        content = as_json({**self.identity, 'accepted': accepted})
        if content != self.stored:
            write_json(self.folder / 'identity.json', content)
            if experiment is not None:
                keep_source(self.folder, experiment)


def is_believed(folder: Path, experiment: Path) -> bool:
    """Whether a folder's run is done, and all that it was made from is as it was."""
    return (folder / 'DONE').exists() and is_same_origin(folder, experiment)


def is_same_origin(folder: Path, experiment: Path) -> bool:
    """Whether all that a folder's run was made from is as it was."""
    path = folder / 'identity.json'
    if not path.exists():
        return False
    origin = read_json(path)['origin']
    return origin is not None and is_unchanged(origin, experiment)


def compare(
    folder: Path,
    phases: Sequence[Mapping[str, Any]],
    *,
    trained: bool,
    experiment: Path | None,
    weights: str | None,
) -> Comparison:
    """The standing of a folder's run. phases: what each would compute now.

    trained: whether there is anything to lose. weights: a digest of those that the run starts from,
    None where it starts from none, or where they are no longer to be had.
    """
    origin = look(experiment) if experiment else None
    now = {'origin': origin, 'weights': weights, 'phases': list(phases)}
    path = folder / 'identity.json'
    if not trained or not path.exists():
        gone = ['nothing says what it computed: identity.json is gone'] if trained else []
        return Comparison(folder, now, gone, [], redraw=False)
    old = read_json(path)
    was: Mapping[str, Any] = old['origin'] or {}
    one_kind = not (was and origin) or was['platform'] == origin['platform']
    changed = differences(old['phases'], phases, programs=one_kind)
    if changed and was and origin:
        changed = [*_settings(was, origin), *changed]
    if weights is None:
        now['weights'] = old['weights']
    elif weights != old['weights']:
        changed.append('the weights it starts from: others')
    pictures = [[it['pictures'] for it in each] for each in (old['phases'], phases)]
    redraw = pictures[0] != pictures[1]
    return Comparison(folder, now, changed, old['accepted'], redraw, stored=old)


def stand(
    folder: Path,
    stages: Sequence[Stage],
    config: Config,
    *,
    experiment: Path | None,
    trained: bool = True,
) -> Comparison:
    """How the run in `folder` stands to what its stages compute now; nothing is compiled."""
    weights = _digest_of(config.init_from)
    phases = identities(stages)
    return compare(folder, phases, trained=trained, experiment=experiment, weights=weights)


def identities(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What the phases of a run compute, how each takes from the one before included."""
    found = []
    before: Any = None
    for stage in stages:
        it, state = dict(stage.engine.identity), stage.engine.shapes[0]
        if stage.phase.start is not None and before is not None:
            where = at(f'phase {stage.index}, start', stage.phase.start)
            with blaming(where):
                start = jax.jit(stage.phase.start).trace(before, state)
            refuse_another_state(where, start.out_info, state)
            it['programs'] = {**it['programs'], 'start': program(start)}
        found.append(it)
        before = state
    return found


def _digest_of(init_from: str | None) -> str | None:
    """A digest of the weights that a run starts from; None where there are none to be had."""
    if init_from is None:
        return None
    source = Path(init_from)
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    found = [newest_digest(group / 'checkpoints') for group in groups_of(source)]
    return ' '.join(each for each in found if each) or None


def refuse_changes(standing: Comparison, *, accept: bool) -> None:
    """Raise UsageError where something else would be computed, unless that was accepted."""
    if standing.changed and not accept:
        raise UsageError(
            f'{standing.folder} holds a run that computes something else: '
            f'{in_words(standing.changed)}; take another --workdir, or --accept-changes to go on '
            'with it and have that said in the report'
        )


def digests(identity: Mapping[str, Any]) -> dict[str, str]:
    """What an identity.json says in short: of the experiment's text, of programs and of data."""
    origin, phases = identity['origin'], identity['phases']
    programs = [{name: it['digest'] for name, it in each['programs'].items()} for each in phases]
    # Which rows each seed draws is left out: lots of other seeds have the same data.
    data = [
        {split: {k: x for k, x in it.items() if k != 'drawn'} for split, it in each['data'].items()}
        for each in phases
    ]
    return {
        'experiment': origin['experiment'][:12] if origin else '',
        'backend': _backend(origin) if origin else '',
        'programs': _short(programs),
        'data': _short(data),
    }


def backend() -> str:
    """Where programs are made: those of one backend are not those of another."""
    return _backend({'platform': jax.default_backend(), 'layers': layers()})


def _backend(origin: Mapping[str, Any]) -> str:
    return f'{origin["platform"]}, {origin["layers"]}'


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _settings(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the setting may be why something else is computed."""
    found = [
        f'{name}: {was[name]} there, {now[name]} now'
        for name in ('x64', 'layers')
        if was[name] != now[name]
    ]
    old, new = was['versions'], now['versions']
    return found + [
        f'{name}: {old.get(name, "none")} there, {new.get(name, "none")} now'
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
