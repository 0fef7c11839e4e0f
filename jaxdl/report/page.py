"""The report as a person reads it: report.html in one file, report.md, and figures/."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from jaxdl.claims import Counted, Judge, Lead, Paired, Reached, holm
from jaxdl.files import remove_temporaries, write_bytes
from jaxdl.report import figures, numerals
from jaxdl.report.finished import Arm, results_of, unfinished_arms
from jaxdl.study import Claim

# What the effect of each kind of claim is.
EFFECTS = {
    Paired: 'mean difference',
    Lead: 'difference of mean differences',
    Reached: 'mean',
    Counted: 'share of seeds',
}


class Shown(NamedTuple):
    """A figure on the page: where its PNG is, its SVG for the HTML, and what it shows."""

    path: str
    svg: Markup
    alt: str


class Cell(NamedTuple):
    """A cell of a table; `marked` ones stand out."""

    text: str
    marked: bool = False


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
        'unfinished': unfinished_arms(folder),
        'verdicts': _verdicts(folder, result, arms=arms, claims=claims),
        'metrics': result['shown'],
        'table': _table(result),
        'curves': _curves(folder, arms),
        'strips': _strips(folder, arms, result['shown']),
        'confusions': _confusions(folder, arms),
        'samples': _samples(folder, arms),
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
        'estimate': numerals.estimate,
        'interval': numerals.interval,
        'p_value': numerals.p_value,
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


def best(result: Mapping[str, Any], metric: str) -> list[str]:
    """The arms whose mean is the best of several that differ, where it is said what is better."""
    means = {
        name: arm['metrics'][metric]['mean']
        for name, arm in result['arms'].items()
        if metric in arm['metrics'] and arm['metrics'][metric]['mean'] is not None
    }
    if metric not in result['better'] or len(set(means.values())) < 2:
        return []
    top = (min if result['better'][metric] == 'lower' else max)(means.values())
    return [name for name, mean in means.items() if mean == top]


def holm_adjusted(result: Mapping[str, Any]) -> list[float | None]:
    """The p-value of each claim adjusted for their number; None where one stands alone."""
    ps = [np.nan if claim['p'] is None else claim['p'] for claim in result['claims']]
    if np.isfinite(ps).sum() < 2:
        return [None] * len(ps)
    return [None if np.isnan(p) else p for p in holm(ps)]


def _verdicts(
    folder: Path, result: Mapping[str, Any], *, arms: Sequence[Arm], claims: Sequence[Claim]
) -> list[dict[str, Any]]:
    names = [arm.name for arm in arms]
    verdicts = []
    for index, (claim, found, adjusted) in enumerate(
        zip(claims, result['claims'], holm_adjusted(result), strict=True), 1
    ):
        shown = None
        if found['verdict'] != 'not run' and isinstance(claim.judge, Judge):
            results, _ = results_of([arm for arm in arms if arm.name in claim.arms])
            figure = figures.evidence(
                claim.judge.evidence(results, result['better']),
                colour=figures.colour(names.index(claim.arms[0])),
                interval=not isinstance(claim.judge, Counted),
            )
            shown = _save(folder, f'claim-{index}', figure, alt=f'What claim {index} rests on')
        effect = EFFECTS.get(type(claim.judge), 'effect')
        verdicts.append({**found, 'holm': adjusted, 'kind': effect, 'figure': shown})
    return verdicts


def _table(result: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """A row of metrics for each arm, the best marked."""
    rows = {}
    for name, arm in result['arms'].items():
        found = [(metric, arm['metrics'].get(metric)) for metric in result['shown']]
        rows[name] = [
            Cell(numerals.plus_minus(v['mean'], v['ci95']), name in best(result, metric))
            if v
            else Cell(numerals.DASH)
            for metric, v in found
        ]
    return rows


def _curves(folder: Path, arms: Sequence[Arm]) -> list[Shown]:
    """Every metric but the training ones, and the training losses."""
    order, ends = [arm.name for arm in arms], {arm.name: arm.ends for arm in arms}
    every = sorted({name for arm in arms for name in arm.curves})
    every = [name for name in every if not name.startswith('train/') or name.endswith('loss')]
    # What was measured on data the network has not seen comes first.
    every.sort(key=lambda name: (name.startswith('train/'), name.startswith('valid/'), name))
    shown = []
    for metric in every:
        found = {arm.name: arm.curves[metric] for arm in arms if metric in arm.curves}
        if max(len(curve.steps) for curve in found.values()) > 1:
            falls = any(arm.better.get(metric) == 'lower' for arm in arms)
            figure = figures.curves(metric, found, order=order, falls=falls, ends=ends)
            alt = f'{metric} over steps, mean and 95 % interval over seeds'
            shown.append(_save(folder, f'curve-{_slug(metric)}', figure, alt=alt))
    return shown


def _strips(folder: Path, arms: Sequence[Arm], metrics: Sequence[str]) -> list[Shown]:
    order, shown = [arm.name for arm in arms], []
    for metric in metrics:
        found = {arm.name: arm.metrics[metric] for arm in arms if metric in arm.metrics}
        figure = figures.strip(metric, found, order=order)
        alt = f'{metric} of every seed, with mean and 95 % interval'
        shown.append(_save(folder, f'seeds-{_slug(metric)}', figure, alt=alt))
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
    """The newest sample of each kind for each arm: an image as a data URI, or text."""
    samples, kinds = [], list(dict.fromkeys(kind for arm in arms for kind in arm.samples))
    for arm in arms:
        for kind, file in arm.samples.items():
            step = int(file.stem.rsplit('_', 1)[1])
            sample = {'arm': arm.name, 'kind': kind, 'step': step, 'uri': None, 'text': None}
            sample['path'] = file.relative_to(folder).as_posix()
            if file.suffix == '.txt':
                sample['text'] = file.read_text(encoding='utf-8')
            else:
                encoded = base64.b64encode(file.read_bytes()).decode()
                sample['uri'] = f'data:image/png;base64,{encoded}'
            samples.append(sample)
    # The same kind of different arms side by side.
    return sorted(samples, key=lambda sample: kinds.index(sample['kind']))


def _params(arms: Sequence[Arm], defaults: Mapping[str, Any] | None) -> dict[str, list[Cell]]:
    """Every parameter of every arm; what differs from the default, or else by arm, is marked."""
    rows: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(name for arm in arms for name in arm.config['params']):
        values = [arm.config['params'].get(name) for arm in arms]
        if defaults is not None:
            differs = [value != defaults.get(name) for value in values]
        else:
            differs = [any(value != other for other in values) for value in values]
        rows[name] = [Cell(str(v), d) for v, d in zip(values, differs, strict=True)]
    # What makes the arms what they are comes first.
    return dict(sorted(rows.items(), key=lambda row: not any(cell.marked for cell in row[1])))


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
