"""Whether a study, and each phase of its trial, is what it must be: seen before anything is traced.

A mistake here is often a word in the wrong place, and would surface as an error deep inside, or
after the first arm was trained for a night.
"""

import functools
import inspect
import operator
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdl.cli.grid import check_grid
from jaxdl.cli.options import check
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Claim, Count, Equal, Eval, Phase, Study, evaluations, phase_names

REMEDY = 'shuffled(table, batch=...) makes one of a table, and synthetic(fn) of a function'
REMEDY_OF_TESTS = 'in_order(table, batch=...) makes one of a table'


def check_study(study: Study) -> Study:
    """The same study, its trial a function and its seeds an int.

    Raises UsageError where a field is of the wrong kind, where an arm or a parameter has a name
    that cannot be, where a claim names an arm that there is not, and where a baseline or the grid
    asks for a parameter that there is not.
    """
    if not isinstance(study.question, str) or not study.question.strip():
        raise UsageError(f'question: {study.question!r} is not allowed; it must be a sentence')
    arms = _arms(study)
    seeds = _whole(study.seeds)
    if seeds is None or seeds < 1:
        raise UsageError(
            f'seeds: {study.seeds!r} is not allowed; it must be how many, a whole number, '
            'at least 1 (--first-seed says which)'
        )
    trial = _function(study.trial)
    for name, baseline in study.baselines.items():
        _check_baseline(f'baseline {name!r}', baseline, trial)
    claims = _claims(study, arms)
    return check_grid(study._replace(trial=trial, seeds=seeds, claims=claims))


def _arms(study: Study) -> list[str]:
    """The names of all arms."""
    if not isinstance(study.arms, Mapping):
        raise UsageError(
            f'arms: {study.arms!r:.80} is not allowed; it must be a mapping from names to what '
            "each changes of the trial's parameters: arms={'base': {}, 'fast': {'lr': 0.1}}"
        )
    if not isinstance(study.baselines, Mapping):
        raise UsageError(
            f'baselines: {study.baselines!r:.80} is not allowed; it must be a mapping from names '
            "to functions: baselines={'nearest': nearest}"
        )
    if not study.arms:
        only = ' but baselines, and one must be trained' if study.baselines else ''
        raise UsageError(f"the study has no arms{only}; one is enough: arms={{'base': {{}}}}")
    if 'tiny' in [*study.arms, *study.baselines]:
        raise UsageError("the arm 'tiny' is a field of its own: tiny={...}")
    folded: dict[str, str] = {}
    for arm in [*study.arms, *study.baselines]:
        if not isinstance(arm, str):
            raise UsageError(f'an arm cannot be called {arm!r}: its name is a text')
        if not re.fullmatch(r'\w[\w.+-]*', arm) or arm in ('figures', 'tuning'):
            raise UsageError(f'an arm cannot be called {arm!r}: its name is a folder')
        if arm in study.arms and arm in study.baselines:
            raise UsageError(
                f'{arm!r} is an arm that is trained, and a baseline; call one otherwise'
            )
        other = folded.setdefault(arm.casefold(), arm)
        if other != arm:
            raise UsageError(f'arms {other!r} and {arm!r}: some disks take them for one folder')
    tiny = {} if study.tiny is None else {'tiny': study.tiny}
    for arm, changes in {**study.arms, **tiny}.items():
        what = arm if arm == 'tiny' else f'arm {arm!r}'
        if not isinstance(changes, Mapping):
            raise UsageError(
                f'{what}: {changes!r:.80} is not allowed; it must be a mapping from parameters of '
                "the trial to values: {'lr': 0.1}, or {} for an arm that changes none"
            )
        for name in changes:
            if not isinstance(name, str):
                raise UsageError(f'{what}: {name!r} is no name of a parameter')
    return list(study.named())


def baseline_parameters(baseline: Callable[..., Any]) -> list[str]:
    """The parameters that a baseline takes from the trial: all but `seed`, and but those set."""
    fixed = baseline.keywords if isinstance(baseline, functools.partial) else {}
    return [name for name in inspect.signature(baseline).parameters if name not in ('seed', *fixed)]


def _check_baseline(what: str, baseline: Any, trial: Callable[..., Any]) -> None:
    """Raise UsageError where it is no function of a seed and of parameters of the trial."""
    told = "it must be a function of a seed that returns numbers by name: {'test/accuracy': 0.9}"
    if isinstance(baseline, type) or not callable(baseline):
        raise UsageError(f'{what}: {baseline!r:.80} is not allowed; {told}')
    if inspect.iscoroutinefunction(baseline) or inspect.isgeneratorfunction(baseline):
        raise UsageError(f'{what}: it is async or yields; {told}')
    parameters = inspect.signature(baseline).parameters
    for p in parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            star = '*' if p.kind == p.VAR_POSITIONAL else '**'
            raise UsageError(f'{what}: {star}{p.name} is no parameter of the trial; name each')
        if p.kind == p.POSITIONAL_ONLY:
            raise UsageError(f'{what}: {p.name!r} is positional-only; take the / out')
    if 'seed' not in parameters:
        raise UsageError(f'{what}: it takes no `seed`; {told}')
    known = inspect.signature(trial).parameters
    for name in baseline_parameters(baseline):
        if name not in known:
            raise UsageError(
                f'{what}: its parameter {name!r} is none of the trial{nearest(name, known)}'
            )


def _whole(value: Any) -> int | None:
    """A whole number as an int, numpy's too; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _claims(study: Study, arms: Sequence[str]) -> tuple[Claim, ...]:
    told = 'it must be a list of claims, such as better(...) and reaches(...) make them'
    claims: Any = study.claims  # whatever was given
    if not isinstance(claims, Sequence) or isinstance(claims, str | Claim):
        raise UsageError(f'claims: {claims!r:.80} is not allowed; {told}')
    for claim in claims:
        if not isinstance(claim, Claim):
            raise UsageError(f'claims: {claim!r:.80} is no claim; {told}')
        what = f'the claim {claim.text!r:.80}'
        named: Any = claim.arms
        if isinstance(named, str) or not isinstance(named, Sequence):
            raise UsageError(f'{what}: its arms are {named!r:.80}, and must be a tuple')
        for arm in named:
            if arm not in arms:
                raise UsageError(f'{what} names the arm {arm!r}{nearest(str(arm), arms)}')
        if not isinstance(claim.metric, str):
            raise UsageError(f"{what}: {claim.metric!r} is no name of a number: 'test/accuracy'")
        if not callable(claim.judge):
            raise UsageError(f'{what}: its judge is no function')
        if claim.equal is not None and claim.equal not in typing.get_args(Equal):
            close = nearest(str(claim.equal), typing.get_args(Equal))
            raise UsageError(f'{what}: equal is {claim.equal!r}{close}')
    return tuple(claims)


def _function(trial: Any) -> Callable[..., Any]:
    """The trial as a function with a name and a file; what stands for one is wrapped.

    A partial has the parameters that it leaves open, and those that it sets by name as defaults.
    """
    if isinstance(trial, type) or not callable(trial):
        raise UsageError(
            f'trial: {trial!r:.80} is not allowed; it must be a function that returns a Phase '
            '(def trial(lr: float = 0.1) -> Phase)'
        )
    inner = trial
    while isinstance(inner, functools.partial):
        inner = inner.func
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    code = inspect.unwrap(getattr(called, '__func__', called))
    if not inspect.isfunction(code):
        raise UsageError(f'trial: {trial!r:.80} is not allowed; it must be a function')
    if inspect.iscoroutinefunction(code) or inspect.isgeneratorfunction(code):
        raise UsageError(
            f'trial: {code.__name__!r} is async or yields; it must return a Phase, or several'
        )
    if inspect.isfunction(trial):
        return _named_options(trial)

    @functools.wraps(code)
    def function(*args: Any, **kwargs: Any) -> Any:
        return trial(*args, **kwargs)

    function.__signature__ = inspect.signature(trial)  # type: ignore[attr-defined]
    return _named_options(function)


def _named_options(trial: Callable[..., Any]) -> Callable[..., Any]:
    """The same function. Raises UsageError for parameters that cannot be options."""
    name = getattr(trial, '__name__', 'trial')
    try:
        hints = typing.get_type_hints(trial, include_extras=True)
    except Exception as error:  # whatever an annotation that is a text evaluates to
        raise UsageError(f'{name}: the types of its parameters cannot be read: {error}') from error
    for p in inspect.signature(trial).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            star = '*' if p.kind == p.VAR_POSITIONAL else '**'
            raise UsageError(f'{name}: {star}{p.name} cannot be an option; name each')
        if p.kind == p.POSITIONAL_ONLY:
            raise UsageError(f'{name}: {p.name!r} is positional-only; take the / out')
        if p.name not in hints:
            raise UsageError(f'{name}: {p.name!r} needs a type, as in {p.name}: int')
        if p.default is not p.empty and p.default is not None:
            check(f'{name}, the default of {p.name}', p.default, hints[p.name])
    return trial


def check_phases(phases: Sequence[Phase]) -> None:
    """Raise UsageError where a field of a phase is of the wrong kind, or would never be used."""
    for index, phase in enumerate(phases):
        _check_phase(f'phase {index}', phase)
        if index == 0 and phase.start is not None:
            raise UsageError(
                'phase 0: start is given, and there is no phase before it to take anything from; '
                'weights from elsewhere come by --init-from'
            )
    phase_names(phases)


def _check_phase(where: str, phase: Phase) -> None:
    from jaxdl.data.source import Source  # as late as this: names and help do without jax
    from jaxdl.task import Task

    def source(what: str, value: Any, remedy: str) -> None:
        if not isinstance(value, Source):
            raise UsageError(f'{where}, {what}: {kind_of(value)} is no source of batches; {remedy}')

    if not isinstance(phase.task, Task):
        raise UsageError(
            f'{where}, task: {kind_of(phase.task)} is no Task, such as classifier(...), '
            'supervised(...) and game(...) make them'
        )
    for name in ('init', 'step', 'measure', 'nets', 'review', 'outcome', 'stopped', 'standing'):
        if not callable(getattr(phase.task, name)):
            raise UsageError(
                f'{where}, task, {name}: {getattr(phase.task, name)!r:.80} is no function'
            )
    source('train', phase.train, REMEDY)
    check(f'{where}, steps', phase.steps, Count)
    check(f'{where}, every', phase.every, Count | None)
    if not isinstance(phase.tests, Mapping):
        raise UsageError(
            f'{where}, tests: {kind_of(phase.tests)} is not allowed; it must be a mapping from '
            "names to sources: {'test': in_order(table, batch=...)}, or {}"
        )
    for what in ('name', 'best'):
        value = getattr(phase, what)
        if value is not None and not isinstance(value, str):
            raise UsageError(f'{where}, {what}: {value!r:.80} is not allowed; it must be a text')
    if phase.start is not None and not callable(phase.start):
        raise UsageError(
            f'{where}, start: {phase.start!r:.80} is no function of (before, fresh), such as '
            'graft(...) makes one'
        )
    tests = {str(name): test for name, test in phase.tests.items()}
    for name, test in {**tests, **({} if phase.valid is None else {'valid': phase.valid})}.items():
        source(name, test.source if isinstance(test, Eval) else test, REMEDY_OF_TESTS)
        for what in ('measure', 'show') if isinstance(test, Eval) else ():
            fn = getattr(test, what)
            if fn is not None and not callable(fn):
                raise UsageError(
                    f'{where}, {name}, {what}: {fn!r:.80} is no function of (nets, batch, key)'
                )
        if isinstance(test, Eval):
            check(f'{where}, {name}, every', test.every, Count | None)
    evaluations(phase)


def kind_of(value: Any) -> str:
    """A value as it is told what it is not."""
    if type(value) in (tuple, list) and value:
        return f'a {type(value).__name__} of {", ".join(map(kind_of, value))}'
    if isinstance(value, type):
        return f'the class {value.__name__}'
    kind = type(value).__name__
    return f'a {kind}' if len(repr(value)) > 40 or '\n' in repr(value) else f'{value!r}'
