"""The report as a person reads it: report.html in one file, report.md, and figures/."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from jaxdl.derived import is_training, twin
from jaxdl.errors import UsageError
from jaxdl.files import remove_temporaries, write_bytes
from jaxdl.judges import Counted, Judge
from jaxdl.report import figures, numerals
from jaxdl.report.described import described
from jaxdl.report.finished import Arm, directions, results_of
from jaxdl.report.rows import (
    Cell,
    answer_grid,
    answers,
    arm_grid,
    cost_grid,
    counted,
    remarks,
    still_moved,
    without_twins,
)
from jaxdl.report.trained import RULE
from jaxdl.report.tuned import candidate_grid
from jaxdl.run.config import as_json
from jaxdl.samples.plots import draw_spectrogram
from jaxdl.study import Claim


class Shown(NamedTuple):
    """A figure on the page: where its PNG is, its SVG for the HTML, and what it shows."""

    path: str
    svg: Markup
    alt: str


def write_page(
    folder: Path,
    result: Mapping[str, Any],
    *,
    arms: Sequence[Arm],
    claims: Sequence[Claim],
    defaults: Mapping[str, Any] | None,
) -> None:
    """Draw the figures and fill the templates."""
    context = {
        'result': result,
        'arms': [
            {
                'name': arm.name,
                'colour': figures.PAGE[figures.colour(i)],
                **result['arms'][arm.name],
            }
            for i, arm in enumerate(arms)
        ],
        'devices': _counted(result['devices']),
        'platforms': _each(arms, 'platform'),
        'layouts': _each(arms, 'layout'),
        **described(result['study'], arms),
        'counted': counted(result),
        'moved': still_moved(result),
        'moved_rule': RULE,
        'costs': cost_grid(result),
        'remarks': remarks(result),
        'verdicts': _verdicts(folder, result, arms=arms, claims=claims),
        'answers': answer_grid(result),
        'table': arm_grid(result, cost=False),  # which has a table of its own
        'kept': _kept(arms),
        'curves': _curves(folder, arms),
        'strips': _strips(folder, arms, result['shown']),
        'profiles': _profiles(folder, arms),
        'confusions': _confusions(folder, arms),
        'samples': _samples(folder, arms),
        'candidates': candidate_grid(result) if result['tuning'] else None,
        'params': _params(arms, defaults),
        'compared': 'the defaults' if defaults is not None else 'the other arms',
    }
    environment = Environment(
        loader=PackageLoader('jaxdl.report'),
        autoescape=lambda name: name is not None and '.html' in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        'duration': numerals.duration,
        'commit': numerals.commit,
    }
    environment.filters['cell'] = lambda text: str(text).replace('|', '\\|').replace('\n', ' ')
    for name in ('report.html', 'report.md'):
        text = environment.get_template(f'{name}.j2').render(context)
        write_bytes(folder / name, text.encode())
    # Of an arm or a claim that is no more. Only then: another report may be reading or writing.
    for old in (folder / 'figures').glob('*.png'):
        if not any(shown.path == f'figures/{old.name}' for shown in _all_shown(context)):
            old.unlink(missing_ok=True)
    remove_temporaries(folder, mine=False, leave='checkpoints')


def _all_shown(value: Any) -> Iterator[Shown]:
    """Every figure in the values of a page."""
    if isinstance(value, Shown):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _all_shown(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _all_shown(each)


def _verdicts(
    folder: Path, result: Mapping[str, Any], *, arms: Sequence[Arm], claims: Sequence[Claim]
) -> list[dict[str, Any]]:
    names = [arm.name for arm in arms]
    verdicts = []
    for index, (claim, answer) in enumerate(zip(claims, answers(result), strict=True), 1):
        shown = None
        if answer.verdict not in ('not run', 'not judged') and isinstance(claim.judge, Judge):
            own = [arm for arm in arms if arm.name in claim.arms]
            results, _ = results_of(own, judged=claim.metric)
            found = claim.judge.evidence(results, directions(own))
            if np.isfinite(found.values).any():
                figure = figures.evidence(
                    found,
                    colour=figures.colour(names.index(claim.arms[0])),
                    interval=not isinstance(claim.judge, Counted),
                )
                shown = _save(folder, f'claim-{index}', figure, alt=f'What claim {index} rests on')
        verdicts.append({**answer._asdict(), 'figure': shown})
    return verdicts


def _kept(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Of arms that keep a best state or stop early: steps and best step, seed by seed."""
    kept = []
    for index, arm in enumerate(arms):
        if arm.best_step is not None:
            best = ('none' if step is None else f'{step:,}' for step in arm.best_step)
            kept.append(
                {
                    'name': arm.name,
                    'colour': figures.PAGE[figures.colour(index)],
                    'planned': f'{sum(phase["steps"] for phase in arm.config["phases"]):,}',
                    'seeds': ' / '.join(map(str, arm.seeds)),
                    'steps': ' / '.join(f'{steps:,}' for steps in arm.steps_done),
                    'best': ' / '.join(best),
                }
            )
    return kept


def _curves(folder: Path, arms: Sequence[Arm]) -> list[Shown]:
    """Every metric, that of training in the figure of its twin; what was not trained on first."""
    order, ends = [arm.name for arm in arms], {arm.name: arm.ends for arm in arms}
    every = sorted(
        {name for arm in arms for name in arm.curves} - {'valid/steps', 'valid/best_step'}
    )
    every.sort(key=lambda name: (is_training(name), name.startswith('valid/'), name))
    twins = {name: other for name in every if (other := twin(name, every))}
    shown = []
    for metric in every:
        if metric in twins.values():
            continue
        found = {arm.name: arm.curves[metric] for arm in arms if metric in arm.curves}
        other = twins.get(metric, '')
        beside = {arm.name: arm.curves[other] for arm in arms if other in arm.curves}
        if max(len(curve.steps) for curve in found.values()) > 1:
            falls = any(arm.better.get(metric) == 'lower' for arm in arms)
            figure = figures.curves(
                metric, found, order=order, falls=falls, ends=ends, beside=beside, other=other
            )
            alt = f'{metric} over steps, mean and 95 % interval over seeds'
            alt += f'; dashed: {other}' if other else ''
            shown.append(_save(folder, f'curve-{_slug(metric)}', figure, alt=alt))
    return shown


def _strips(folder: Path, arms: Sequence[Arm], metrics: Sequence[str]) -> list[Shown]:
    order, shown = [arm.name for arm in arms], []
    for metric in without_twins(metrics):
        found = {arm.name: arm.metrics[metric] for arm in arms if metric in arm.metrics}
        figure = figures.strip(metric, found, order=order)
        alt = f'{metric} of every seed, with mean and 95 % interval'
        shown.append(_save(folder, f'seeds-{_slug(metric)}', figure, alt=alt))
    return shown


def _profiles(folder: Path, arms: Sequence[Arm]) -> list[Shown]:
    """Every array of which it is said what its entries stand for, of all arms that have it."""
    order, found = [arm.name for arm in arms], dict[str, dict[str, np.ndarray]]()
    entries: dict[str, Sequence[str]] = {}
    for arm in arms:
        for name, values in arm.arrays.items():
            labels = arm.labels.get(name, ())
            if values.ndim == 2 and len(labels) == values.shape[1]:
                if entries.setdefault(name, labels) == labels:
                    found.setdefault(name, {})[arm.name] = values
    shown = []
    for name, of in found.items():
        figure = figures.profile(name, of, order=order, entries=entries[name])
        alt = f'{name} over {entries[name][0]} to {entries[name][-1]}, mean and 95 % interval'
        shown.append(_save(folder, f'profile-{_slug(name)}', figure, alt=alt))
    return shown


def _confusions(folder: Path, arms: Sequence[Arm]) -> list[Shown]:
    shown = []
    for index, arm in enumerate(arms):
        for name, counts in arm.arrays.items():
            if name.endswith('confusion') and counts.ndim == 3:
                colour, title = figures.colour(index), f'{arm.name}, {name}'
                names = arm.labels.get(name, ())
                figure = figures.confusion(counts, title=title, colour=colour, classes=names)
                slug = f'{_slug(name)}-{_slug(arm.name)}'
                shown.append(_save(folder, slug, figure, alt=f'Confusion matrix of {arm.name}'))
    return shown


def _samples(folder: Path, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """The newest sample of each kind for each arm: images and sounds as data URIs, or text."""
    samples, kinds = [], list(dict.fromkeys(kind for arm in arms for kind in arm.samples))
    for arm in arms:
        for kind, file in arm.samples.items():
            step = int(file.stem.rsplit('_', 1)[1])
            sample = {'arm': arm.name, 'kind': kind, 'step': step}
            sample |= {'uri': None, 'text': None, 'sound': None}
            sample['path'] = file.relative_to(folder).as_posix()
            if file.suffix == '.txt':
                sample['text'] = file.read_text(encoding='utf-8')
            else:
                picture = file.read_bytes()
                if file.suffix == '.wav':
                    sample['sound'] = _data_uri('audio/wav', picture)
                    picture = draw_spectrogram(picture)
                sample['uri'] = _data_uri('image/png', picture)
            samples.append(sample)
    # The same kind of different arms side by side.
    return sorted(samples, key=lambda sample: kinds.index(sample['kind']))


def _data_uri(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _params(arms: Sequence[Arm], defaults: Mapping[str, Any] | None) -> dict[str, list[Cell]]:
    """Every parameter of every arm; what differs from the default, or else by arm, is marked."""
    rows: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(name for arm in arms for name in arm.config['params']):
        # A baseline has those alone that it takes.
        values = [arm.config['params'].get(name, numerals.DASH) for arm in arms]
        if defaults is not None:
            plain = (_plain(defaults.get(name)), numerals.DASH)
            differs = [value not in plain for value in values]
        else:
            there = [value for value in values if value != numerals.DASH]
            differs = [value in there and any(value != x for x in there) for value in values]
        rows[name] = [Cell(str(v), d) for v, d in zip(values, differs, strict=True)]
    # What makes the arms what they are comes first.
    return dict(sorted(rows.items(), key=lambda row: not any(cell.marked for cell in row[1])))


def _plain(default: Any) -> Any:
    """A default as the files of a run have it, a tuple as a list."""
    try:
        return as_json(default)
    except UsageError:  # without a text, which no arm takes then
        return default


def _save(folder: Path, name: str, figure: Figure, *, alt: str) -> Shown:
    path = f'figures/{name}.png'
    write_bytes(folder / path, figures.png(figure))
    # Markup: the only strings of ours in an SVG are escaped by matplotlib itself.
    return Shown(path, Markup(figures.svg(figure, name=name, alt=alt)), alt)


def _each(arms: Sequence[Arm], name: str) -> str:
    """A value of the environment, once where the arms agree, else arm by arm."""
    found: dict[str, Any] = {arm.name: arm.env[name] for arm in arms}
    if len(set(map(str, found.values()))) == 1:
        return str(next(iter(found.values())))
    return ', '.join(f'{arm}: {value}' for arm, value in found.items())


def _counted(devices: Sequence[str]) -> str:
    """Devices in words, ``4 x NVIDIA H100``."""
    kinds = {device: devices.count(device) for device in devices}
    times = '\N{MULTIPLICATION SIGN}'
    return ', '.join(f'{n} {times} {device}' if n > 1 else device for device, n in kinds.items())


def _slug(name: str) -> str:
    return ''.join(c if c.isalnum() else '-' for c in name)
