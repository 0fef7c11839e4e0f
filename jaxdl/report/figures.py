"""The figures of a report, by matplotlib's objects: no pyplot, no global state, no display.

A figure is drawn once. Its PNG has the colours named here; in its SVG text, lines,
paper and arms take the page's own, so that one drawing suits a light page, a dark one and print.
"""

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from jaxdl.judges import Evidence
from jaxdl.report.finished import Curve
from jaxdl.statistics import mean_ci

# Okabe and Ito 2008: told apart by every kind of colour vision. Shapes say the same again.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c8c8c')
MARKERS = 'osD^vPX*<'  # more than colours, so that no two groups of a picture look alike
INK, MUTED, LINE, PAPER = '#1f2328', '#6a737d', '#e1e4e8', '#fffffe'
SUPPORTED = '#1a7f4b'
PAGE = {
    INK: 'currentColor',
    MUTED: 'var(--muted)',
    LINE: 'var(--line)',
    PAPER: 'var(--paper)',
    SUPPORTED: 'var(--supported)',
    **{colour: f'var(--arm{i})' for i, colour in enumerate(COLOURS)},
}


def colour(index: int) -> str:
    """The colour of the arm with this index."""
    return COLOURS[index % len(COLOURS)]


def curves(
    metric: str,
    arms: Mapping[str, Curve],
    *,
    order: Sequence[str],
    falls: bool = False,
    ends: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    beside: Mapping[str, Curve] = MappingProxyType({}),
    other: str = '',
) -> Figure:
    """A metric over steps: the mean over seeds and the 95 % interval of that mean.

    Of two seeds, whose interval says nothing, each is drawn instead.
    Logarithmic for a positive quantity of more than two decades that `falls`. If the beginning
    would squeeze all that follows into a quarter of the height, it is cut off.

    ends: the last steps of the earlier phases of each arm, by their names. A line is broken there,
    because the phases may measure different things, and the end is marked, in the arm's colour
    where not all arms have it. beside: the same arms' `other` metric, as dashed means: that of
    training beside that of a test. What is known at step 0 alone, as of a baseline, is a level.
    """
    with _style():
        figure = Figure(figsize=(5.2, 3.1), layout='constrained')
        axes = figure.add_subplot()
        every = [*arms.values(), *beside.values()]
        logarithmic = falls and _decades(every) > 2
        for arm, curve in beside.items():
            shade = colour(order.index(arm))
            for at in _stretches(curve, ends.get(arm, {})):
                mean = curve.values[at].mean(1)
                axes.plot(curve.steps[at], mean, color=shade, ls=(0, (2, 1.5)), lw=1.1, alpha=0.85)
        for arm, curve in arms.items():
            index = order.index(arm)
            means, low, high = _band(curve.values)
            # A long name is a legend of its own: few points get markers, many a plain line.
            marker = MARKERS[index % len(MARKERS)] if len(curve.steps) <= 12 else ''
            style = ('-', '-.', ':')[index // len(COLOURS) % 3]
            if logarithmic:
                low = np.maximum(low, means / 100)  # a band to zero has no place on this axis
            label: str | None = arm
            if curve.steps.tolist() == [0]:
                axes.axhline(means[0], color=colour(index), label=label, ls=style, lw=1.1)
                if curve.values.shape[1] > 2 and low[0] < high[0]:
                    axes.axhspan(low[0], high[0], color=colour(index), alpha=0.1, lw=0)
                continue
            for at in _stretches(curve, ends.get(arm, {})):
                steps, line = curve.steps[at], colour(index)
                axes.plot(steps, means[at], color=line, label=label, marker=marker, ls=style, ms=4)
                if curve.values.shape[1] == 2:
                    axes.plot(steps, curve.values[at], color=line, alpha=0.4, lw=0.8)
                else:
                    axes.fill_between(steps, low[at], high[at], color=line, alpha=0.18, lw=0)
                label = None
        bottom, top, cut = _view(every, logarithmic=logarithmic)
        if logarithmic:
            axes.set_yscale('log')
            axes.yaxis.set_major_locator(LogLocator(numticks=6))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f'{y:g}'))
            axes.yaxis.set_minor_formatter(NullFormatter())
        for (name, end), owners in _marks(arms, ends).items():
            shared = len(owners) == len(arms)
            ink = MUTED if shared else colour(order.index(owners[0]))
            axes.axvline(end, color=ink, lw=0.8, ls=':')
            axes.annotate(
                name,
                (end, 1),
                xycoords=('data', 'axes fraction'),
                xytext=(-3, -3),
                textcoords='offset points',
                ha='right',
                va='top',
                rotation=90,
                color=ink,
                fontsize=7.5,
            )
        axes.set_ylim(bottom, top)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel('step (the first steps lie outside)' if cut else 'step')
        axes.grid(axis='y', color=LINE, lw=0.8)
        axes.set_title(f'dashed: {other}' if beside else '', loc='right', fontsize=8.5, color=MUTED)
        _title(axes, metric, legend=len(arms) > 1)
        return figure


def _stretches(curve: Curve, ends: Mapping[str, int]) -> list[np.ndarray]:
    """The rows of a curve, phase by phase."""
    parts = np.searchsorted(curve.steps, sorted(ends.values()), side='right')
    return [at for at in np.split(np.arange(len(curve.steps)), parts) if at.size]


def _marks(
    arms: Iterable[str], ends: Mapping[str, Mapping[str, int]]
) -> dict[tuple[str, int], list[str]]:
    """Each end of a phase, by name and step, and the arms that have it."""
    found: dict[tuple[str, int], list[str]] = {}
    for arm in arms:
        for mark in ends.get(arm, {}).items():
            found.setdefault(mark, []).append(arm)
    return found


def profile(
    metric: str, arms: Mapping[str, np.ndarray], *, order: Sequence[str], entries: Sequence[str]
) -> Figure:
    """An array [seeds, n] of each arm over what its entries stand for: mean and 95 % interval.

    Entries that are numbers are an axis, names stand side by side. Logarithmic for positive values
    of more than two decades.
    """
    with _style():
        figure = Figure(figsize=(5.2, 3.1), layout='constrained')
        axes = figure.add_subplot()
        try:
            places = np.array([float(entry) for entry in entries])
        except ValueError:
            places = np.arange(len(entries), dtype=float)
            turned = sum(map(len, entries)) > 40
            axes.set_xticks(places, entries, rotation=60 if turned else 0)
        means = {arm: _band(values.T) for arm, values in arms.items()}
        known = np.concatenate([mean[np.isfinite(mean)] for mean, _, _ in means.values()])
        logarithmic = known.size > 0 and known.min() > 0 and known.max() > 100 * known.min()
        for arm, (mean, low, high) in means.items():
            index = order.index(arm)
            shade, marker = colour(index), MARKERS[index % len(MARKERS)]
            if logarithmic:
                low = np.maximum(low, mean / 100)
            axes.plot(places, mean, color=shade, label=arm, marker=marker, ms=4)
            axes.fill_between(places, low, high, color=shade, alpha=0.18, lw=0)
        if logarithmic:
            axes.set_yscale('log')
            axes.yaxis.set_major_locator(LogLocator(numticks=6))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis='y', color=LINE, lw=0.8)
        _title(axes, metric, legend=len(arms) > 1)
        return figure


def strip(metric: str, arms: Mapping[str, np.ndarray], *, order: Sequence[str]) -> Figure:
    """The final value of every seed, a row an arm, with the mean and its 95 % interval."""
    with _style():
        figure = Figure(figsize=(5.2, 0.95 + 0.42 * len(arms)), layout='constrained')
        axes = figure.add_subplot()
        for row, (arm, values) in enumerate(arms.items()):
            _row(axes, row, values, colour=colour(order.index(arm)), interval=True)
        axes.set_yticks(range(len(arms)), list(arms))
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.tick_params(axis='y', labelsize=10, length=0, labelcolor=INK)
        axes.spines['left'].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis='x', color=LINE, lw=0.8)
        _title(axes, metric, legend=False)
        return figure


def evidence(found: Evidence, *, colour: str, interval: bool) -> Figure:
    """What a claim rests on: one dot a seed, the mean with its interval, and the bound.

    The side of the bound that the claim needs is shaded.
    """
    with _style():
        figure = Figure(figsize=(4.3, 1.3), layout='constrained')
        axes = figure.add_subplot()
        _row(axes, 0, found.values, colour=colour, interval=interval)
        axes.axvline(found.bound, color=INK, lw=1, ls=(0, (4, 3)))
        axes.margins(x=0.08)
        low, high = axes.get_xlim()
        claimed = (found.bound, high) if found.above else (low, found.bound)
        axes.axvspan(*claimed, color=SUPPORTED, alpha=0.09, lw=0)
        axes.set_xlim(low, high)
        axes.set_ylim(0.5, -0.5)
        axes.set_yticks([])
        axes.spines['left'].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(found.label, color=INK)
        return figure


def scatter(points: Mapping[str, Mapping[str, tuple[float, float]]], *, x: str, y: str) -> Figure:
    """Named points (x, y) on logarithmic axes; each group of points has a colour and a shape.

    Names stand beside their points. Where several points coincide only the first is named, and
    where there is no place for a name without covering another it is left out.
    """
    with _style():
        figure = Figure(figsize=(8.4, 5.6), layout='constrained')
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot(xscale='log', yscale='log', xlabel=x, ylabel=y)
        for index, (group, members) in enumerate(points.items()):
            axes.plot(
                *zip(*members.values(), strict=True),
                label=group,
                color=colour(index),
                marker=MARKERS[index % len(MARKERS)],
                ls='',
                ms=5,
                mew=0,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(EngFormatter(sep=''))
            axis.set_minor_formatter(NullFormatter())
        axes.margins(0.09)
        axes.grid(color=LINE, lw=0.8)
        axes.legend(loc='upper left', handletextpad=0.2)
        renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
        figure.draw(renderer)  # the layout is found: only now is it known where a name would lie
        _name_points(axes, points, renderer)
        figure.set_layout_engine('none')
        return figure


def _name_points(axes: Axes, points: Mapping[str, Mapping[str, Any]], renderer: Any) -> None:
    """Put each name where it covers no point and no name, nearest places first."""
    places = [axes.transData.transform(xy) for group in points.values() for xy in group.values()]
    taken = [Bbox.from_extents(*(at - 4), *(at + 4)) for at in places]
    legend = axes.get_legend()
    taken += [legend.get_window_extent(renderer)] if legend else []
    named: list[np.ndarray] = []
    sides = [(1, 0, 'left'), (-1, 0, 'right'), (0, 1, 'center'), (0, -1, 'center')]
    sides += [(1, 1, 'left'), (1, -1, 'left'), (-1, 1, 'right'), (-1, -1, 'right')]
    for index, group in enumerate(points.values()):
        for name, xy in group.items():
            at = axes.transData.transform(xy)
            if any(np.abs(at - other).max() < 2 for other in named):
                continue
            named.append(at)
            for right, up, anchor in sides:
                text = axes.annotate(
                    name,
                    xy,
                    (5 * right, 8 * up),
                    textcoords='offset points',
                    ha=anchor,
                    va='center',
                    fontsize=7.5,
                    color=colour(index),
                )
                box = text.get_window_extent(renderer)
                inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
                if inside and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    break
                text.remove()


def confusion(
    counts: np.ndarray, *, title: str, colour: str, classes: Sequence[str] = ()
) -> Figure:
    """A confusion matrix [seeds, classes, classes]: shaded by share of the true class.

    The numbers are mean counts over seeds. classes: their names, if they have any.
    """
    mean = counts.mean(0)
    count = len(mean)
    share = mean / np.maximum(mean.sum(1, keepdims=True), 1e-12)
    with _style():
        size = min(7.5, max(3.2, 0.45 * count + 0.9))
        figure = Figure(figsize=(size, size), layout='constrained')
        axes = figure.add_subplot(aspect='equal')
        # One hue whose opacity is the share: zero is the page itself, light or dark.
        shades = [[_shade(colour, s) for s in row] for row in share]
        mesh = axes.pcolormesh(np.zeros_like(share), edgecolors=LINE, lw=0.5)
        mesh.set_array(None)
        mesh.set_facecolor([shade for row in shades for shade in row])
        if count <= 20:
            for i, j in np.ndindex(count, count):
                if mean[i, j] > 0:
                    text = f'{mean[i, j]:.0f}' if mean[i, j] % 1 == 0 else f'{mean[i, j]:.1f}'
                    ink = PAPER if share[i, j] > 0.35 else INK
                    axes.text(
                        j + 0.5, i + 0.5, text, ha='center', va='center', color=ink, fontsize=8
                    )
        step = max(1, math.ceil(count / 20))
        names = (list(classes) or list(map(str, range(count))))[::step]
        middles = np.arange(0, count, step) + 0.5
        turned = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(middles, names, rotation=turned)
        axes.set_yticks(middles, names)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel='predicted', ylabel='true')
        _title(axes, title, legend=False)
        return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG on white."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format='png', dpi=160, metadata={'Software': None})
    figure.set_layout_engine('none')  # the layout is found; an SVG of it need not find it again
    return buffer.getvalue()


def svg(figure: Figure, *, name: str, alt: str) -> str:
    """The figure as an SVG element for a page that defines --muted, --line and --paper."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    # The salt keeps the ids of two figures on one page apart, and equal from run to run.
    with _style(), rc_context({'svg.hashsalt': name, 'svg.fonttype': 'none'}):
        figure.savefig(buffer, format='svg', transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    for printed, page in PAGE.items():
        text = text.replace(printed, page)
    text = re.sub(r' id="[\w.]+_\d+"', '', text)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r'\1', text, count=1)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r'\1', text, count=1)
    return text.replace('<svg ', f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def _style() -> AbstractContextManager[None]:
    """The look of every figure, for as long as it is drawn or saved."""
    return rc_context(
        {
            'font.size': 9,
            'font.family': 'sans-serif',
            'text.color': INK,
            'axes.edgecolor': MUTED,
            'axes.facecolor': 'none',
            'axes.labelcolor': MUTED,
            'axes.labelsize': 9,
            'axes.linewidth': 0.8,
            'axes.spines.top': False,
            'axes.spines.right': False,
            'axes.titlelocation': 'left',
            'axes.unicode_minus': True,
            'axes.axisbelow': True,
            'figure.facecolor': PAPER,
            'lines.linewidth': 1.8,
            'lines.solid_capstyle': 'round',
            'xtick.color': MUTED,
            'ytick.color': MUTED,
            'xtick.labelsize': 8.5,
            'ytick.labelsize': 8.5,
            'legend.frameon': False,
            'legend.fontsize': 8.5,
        }
    )


def _title(axes: Axes, text: str, *, legend: bool) -> None:
    """The title at the left, and the arms below it, four in a line."""
    columns = 4
    lines = math.ceil(len(axes.get_legend_handles_labels()[1]) / columns) if legend else 0
    axes.set_title(text, fontsize=10.5, fontweight='bold', pad=8 + 14 * lines)
    if legend:
        axes.legend(
            loc='lower left',
            bbox_to_anchor=(-0.01, 1.0),
            ncols=columns,
            handlelength=1.4,
            columnspacing=1.4,
            borderaxespad=0.2,
            borderpad=0,
        )


def _row(axes: Axes, row: int, values: np.ndarray, *, colour: str, interval: bool) -> None:
    """The dots of the seeds, spread so that equal ones are seen, over their mean and interval."""
    spread = np.linspace(-0.13, 0.13, len(values)) if len(values) > 1 else np.zeros(1)
    axes.scatter(values, row - 0.04 + spread, s=26, color=colour, alpha=0.8, lw=0, zorder=3)
    mean, (low, high) = mean_ci(values)
    if interval and math.isfinite(low):
        axes.plot([low, high], [row + 0.3] * 2, color=INK, lw=1.6, zorder=4)
        axes.plot(mean, row + 0.3, marker='D', ms=5, color=INK, mec=PAPER, mew=0.8, zorder=5)


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over seeds and its 95 % interval, [t] each; for one seed the mean itself."""
    from scipy import stats

    means, seeds = values.mean(1), values.shape[1]
    if seeds == 1:
        return means, means, means
    half = values.std(1, ddof=1) / math.sqrt(seeds) * stats.t.ppf(0.975, seeds - 1)
    return means, means - half, means + half


def _decades(arms: Any) -> float:
    values = np.concatenate([curve.values.ravel() for curve in arms])
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0:
        return 0.0
    return float(np.log10(values.max() / values.min()))


def _view(arms: Any, *, logarithmic: bool) -> tuple[float, float, bool]:
    """The ends of the y axis, from the seeds themselves, and whether early values lie outside.

    Not from the bands: that of two seeds is so wide that nothing else could be seen.
    """
    every, late = [], []
    for curve in arms:
        finite = np.isfinite(curve.values)
        every.append(curve.values[finite])
        after = curve.steps >= curve.steps.max() / 5
        late.append(curve.values[after][finite[after]])
    values, settled = np.concatenate(every), np.concatenate(late)
    if not values.size:
        return 0.0, 1.0, False
    if logarithmic:
        return float(values.min()) / 1.5, float(values.max()) * 1.5, False
    cut = settled.size > 0 and np.ptp(settled) < np.ptp(values) / 4 and np.ptp(settled) > 0
    shown = settled if cut else values
    pad = 0.07 * float(np.ptp(shown)) or 0.05 * abs(float(shown[0])) or 0.5
    return float(shown.min()) - pad, float(shown.max()) + pad, bool(cut)


def _shade(colour: str, share: float) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    # The square root: a share of one in a hundred, the errors one looks for, is to be seen.
    return red, green, blue, math.sqrt(share)
