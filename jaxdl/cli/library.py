"""The experiments that are here: finding them by name, loading them, resolving their arms."""

import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxdl
from jaxdl.blame import blamed, shown
from jaxdl.cli.options import Option, check, flag, signature_options
from jaxdl.cli.soundness import baseline_parameters, check_phases, check_study, kind_of
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Count, Phase, Study

if TYPE_CHECKING:
    from jaxdl.task import Task

# Parameters of every trial that has none of that name.
LENT = (
    Option(
        'precision',
        str,
        'float32',
        'what networks compute in: float32, or bf16; the rest stays float32',
    ),
    Option(
        'accumulate',
        Count,
        1,
        'micro-batches that a batch is cut into, one after another, for one optimizer step',
    ),
)
_SCRIPT = re.compile(rb'^ *run_script\(', re.MULTILINE)
_STUDY = re.compile(rb'^study\b', re.MULTILINE)


def folders() -> list[Path]:
    """Where experiments are looked for: the working directory's, then the checkout's."""
    checkout = Path(jaxdl.__file__).resolve().parent.parent / 'experiments'
    here = Path.cwd() / 'experiments'
    return [f for f in dict.fromkeys((here.resolve(), checkout)) if f.is_dir()]


def names() -> dict[str, Path]:
    """Experiments by name. A file with `run_script` and no `study` is only a command."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob('*.py')):
            if path.name.startswith('_'):
                continue
            text = path.read_bytes()
            if _STUDY.search(text) or not _SCRIPT.search(text):
                found.setdefault(path.stem, path)
    return found


def find(name: str) -> Path:
    """The file of the experiment called `name`, or `name` itself if it is a file's.

    Raises UsageError where there is none, with the nearest name.
    """
    path = Path(name)
    if path.suffix == '.py':
        if not path.is_file():
            raise UsageError(f'no file {name!r}')
        return path
    known = names()
    if name in known:
        return known[name]
    file = path.with_suffix('.py')
    if file.is_file():
        raise UsageError(f'unknown experiment {name!r}; there is a file: {file}')
    raise UsageError(f'unknown experiment {name!r}{nearest(name, known)}; or a file: FILE.py')


def find_of(arm: Path) -> Path:
    """The experiment of the run in an arm's folder: as it was named, or its text kept there.

    A file is looked for from where `runs` lies, which is where the command was given, and then from
    here. Raises UsageError where none is found.
    """
    from jaxdl.run.config import read_starts

    word = read_starts(arm)[-1]['experiment']
    kept = arm / 'source' / f'{Path(word).stem}.py'
    runs = next((path for path in arm.absolute().parents if path.name == 'runs'), None)
    if Path(word).suffix == '.py' and runs is not None and (runs.parent / word).is_file():
        return shown(runs.parent / word)
    try:
        return find(word)
    except UsageError:
        if not kept.is_file():
            raise
        return kept


def load(name: str | Path) -> tuple[str, Study]:
    """The study called `name`, or in the file `name`, with its name.

    Raises UsageError where there is none, with the nearest name, and where the file is broken,
    with the line and what happened there.
    """
    path = name if isinstance(name, Path) else find(name)
    study = getattr(_module(path), 'study', None)
    if not isinstance(study, Study):
        raise UsageError(f'{path} defines no Study called `study`')
    try:
        study = check_study(study)
        for arm, settings in study.named().items():
            _settings(study, arm, settings)
    except UsageError as error:
        raise UsageError(f'{path}: {error}') from error
    return path.stem, study


def _module(path: Path) -> Any:
    """The module in a file. What its folder and the working directory hold can be imported."""
    from jaxdl.run.origin import reading  # as late as this: names and help do without jax

    for folder in (str(path.absolute().parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)
    name = f'experiments.{path.stem}'
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with reading():
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        _blame(error, path)
        raise
    return module


def _blame(error: BaseException, path: Path) -> None:
    """Raise the line for an exception that a user's file raised, if it is the file's."""
    found = blamed(error, where=str(shown(path)))
    if found is not error:
        raise found from error


def options_of(study: Study) -> list[Option]:
    """The options of a study: the parameters of its trial, and those that every trial is lent."""
    return [*signature_options(study.trial, group='trial'), *_lent(study)]


def _lent(study: Study) -> list[Option]:
    own = inspect.signature(study.trial).parameters
    return [option for option in LENT if option.name not in own]


def defaults(study: Study) -> dict[str, Any]:
    """The trial's parameters where no arm says otherwise; `Parameter.empty` has no default."""
    parameters = inspect.signature(study.trial).parameters
    return {name: p.default for name, p in parameters.items()}


def chosen(study: Study, asked: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The arms asked for, once each; if there are none, all but 'tiny'.

    Raises UsageError for an unknown arm.
    """
    for arm in asked:
        if arm not in study.named():
            raise UsageError(f'--arm: unknown arm {arm!r}{nearest(arm, study.named())}')
    return tuple(dict.fromkeys(asked)) or (*study.arms, *study.baselines)


def trained(study: Study, asked: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The arms asked for that are trained, see `chosen`. Raises UsageError for a baseline."""
    for arm in asked:
        if arm in study.baselines:
            raise UsageError(f'--arm: {arm!r} is a baseline: nothing of it is trained')
    return tuple(arm for arm in chosen(study, asked) if arm not in study.baselines)


def resolve(study: Study, arm: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an arm: the trial's defaults, then the arm's, then the overrides.

    Of a baseline those that it takes. Raises UsageError for an unknown arm, or an arm that sets an
    unknown parameter or sets one to what its type does not allow.
    """
    chosen(study, (arm,))
    params = {**defaults(study), **_settings(study, arm, study.named()[arm], overrides)}
    lent = {option.name for option in _lent(study)}
    for name, value in overrides.items():
        if name not in params and name not in lent:
            raise UsageError(f'arm {arm!r} sets {name!r}{nearest(name, params)}')
        params[name] = value
    if arm in study.baselines:
        params = {name: params[name] for name in baseline_parameters(study.baselines[arm])}
    missing = [name for name, value in params.items() if value is inspect.Parameter.empty]
    if missing:
        raise UsageError(f'arm {arm!r} leaves {missing[0]!r} without a value')
    return params


def _settings(
    study: Study, arm: str, settings: Mapping[str, Any], instead: Collection[str] = ()
) -> Mapping[str, Any]:
    """What an arm sets, held against the trial's parameters; but for what is set `instead`."""
    params = defaults(study)
    kinds = typing.get_type_hints(study.trial, include_extras=True)
    for name, value in settings.items():
        if name not in params:
            raise UsageError(f'arm {arm!r} sets {name!r}{nearest(name, params)}')
        if name not in instead:
            check(f'arm {arm!r}, {name}', value, kinds.get(name, Any))
    return settings


def own_parameters(study: Study, arm: str) -> dict[str, Any]:
    """The parameters of an arm as the study stands; those that it leaves open are not there."""
    known = {**defaults(study), **study.named()[arm]}
    if arm in study.baselines:
        known = {name: known[name] for name in baseline_parameters(study.baselines[arm])}
    return {name: x for name, x in known.items() if x is not inspect.Parameter.empty}


def refuse_sameness(study: Study, arms: tuple[str, ...], overrides: Mapping[str, Any]) -> None:
    """Raise UsageError where an override would make arms equal in what they are compared in.

    And where it is for none of them: baselines take few of the trial's parameters.
    """
    compared = [arm for arm in arms if arm not in study.baselines]
    for name in overrides:
        taken = [baseline_parameters(fn) for arm, fn in study.baselines.items() if arm in arms]
        if not compared and not any(name in names for names in taken):
            raise UsageError(f'{flag(name)}: {", ".join(arms)} takes no {name}')
        values = {arm: {**defaults(study), **study.named()[arm]}.get(name) for arm in compared}
        if any(value != values[compared[0]] for value in values.values()):
            said = ', '.join(f'{arm} with {value}' for arm, value in values.items())
            raise UsageError(
                f'{flag(name)}: the arms are compared in it ({said}) and cannot all have the same; '
                'name one arm with --arm'
            )


def phases_of(study: Study, params: Mapping[str, Any]) -> tuple[Phase, ...]:
    """The phases of a trial with these parameters.

    Raises UsageError where the trial does, with the line and what happened there, and where it
    returns no phases, or phases without steps.
    """
    path = Path(inspect.getsourcefile(inspect.unwrap(study.trial)) or '')
    lent = {option.name for option in _lent(study)}
    try:
        trial = study.trial(**{name: x for name, x in params.items() if name not in lent})
    except BaseException as error:
        _blame(error, path)
        raise
    phases = (trial,) if isinstance(trial, Phase) else trial
    kinds = {type(each) for each in phases} if isinstance(phases, tuple) else set()
    if kinds != {Phase}:
        raise UsageError(
            f'{shown(path)}: the trial must return a Phase, or a tuple of them, '
            f'not {kind_of(trial)}'
        )
    check_phases(phases)
    asked = {name: x for name, x in params.items() if name in lent}
    return tuple(each._replace(task=_learning(each.task, **asked)) for each in phases)


def _learning(task: 'Task', *, precision: Any = 'float32', accumulate: int = 1) -> 'Task':
    """The same task as the options that every study is lent have it."""
    from jaxdl.accumulation import accumulating
    from jaxdl.precision import computing_in

    return accumulating(computing_in(task, precision), accumulate)
