"""What a study costs on this machine: layers and parameters, and measured time per step."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from rich.table import Table

from jaxdl.cli.library import phases_of, resolve, trained
from jaxdl.engine import cost
from jaxdl.engine.engine import Engine
from jaxdl.engine.moving import parameters
from jaxdl.net import applications, initial_applications
from jaxdl.run import machine, peaks
from jaxdl.study import Phase, Study
from jaxdl.task import Task

FOREVER = 10**9  # steps


def summarise(
    study: Study, arms: tuple[str, ...], overrides: Mapping[str, Any]
) -> Iterator[Table | str]:
    """For each arm a line of totals and, for each of its networks, a table of layers.

    What a step can change is counted apart from what is frozen. Slow copies are not counted.
    """
    for label, phase in _phases(study, arms, overrides):
        engine = Engine(phase.task, phase.train, seeds=[0])
        state, _, batch = engine.shapes
        counts = parameters(phase.task.step, state, batch)
        total = sum(count.total for count in counts.values())
        moving = sum(count.moving for count in counts.values())
        yield (
            f'{label}: {total:,} parameters{_frozen(total, moving)}, '
            f'{cost.quantity(engine.flops())}FLOP and {cost.quantity(engine.step_bytes())}B '
            f'a training step' + (f' of {engine.rows} rows' if engine.rows else '')
        )

        # The step, not the measure: a critic is trained and never measured. And functions of their
        # own: jax would remember what the engine traced, and call no network again.
        def step(*args: Any, task: Task = phase.task) -> Any:
            return task.step(*args)

        def init(*args: Any, task: Task = phase.task) -> Any:
            return task.init(*args)

        called = applications(step, state, batch)
        seen = {**initial_applications(init, batch), **called}
        for name in dict.fromkeys([*called, *counts]):
            count = counts.get(name)
            said = '' if count is None else _frozen(count.total, count.moving)
            said += '' if name in called else ', not called in a step'
            if name in seen:
                module, inputs = seen[name]
                table = cost.summary(module, *inputs)
                table.title = f'{name}: {table.title}{said}'
                yield table
            else:
                assert count is not None
                yield f'{name}: {count.total:,} parameters{said}'


def _frozen(total: int, moving: int) -> str:
    """Of some parameters, what is said of those that do not move."""
    if moving == total:
        return ''
    return f' ({moving:,} trained, {total - moving:,} frozen)' if moving else ' (all frozen)'


def bench(
    name: str,
    study: Study,
    overrides: Mapping[str, Any],
    *,
    arm: tuple[str, ...],
    seeds: int | None,
    layout: str,
    chunk: int | None,
    seconds: float,
) -> Table:
    """Time training steps of each arm, for one seed and for several."""
    peak, kind = machine.peak_flops(), jax.devices()[0].device_kind
    caption = 'a step is one step of all seeds; peak MB is the most this process has held so far'
    caption += f'; {peaks.unknown(kind) or "MFU is of the published peak in bfloat16"}'
    table = Table(
        *('arm', 'seeds', 'layout', 'compile s', 'ms/step', 'examples/s', 'GFLOP/step'),
        *('share of peak', 'MFU', 'peak MB'),
        title=f'{name} on {kind}, measured peak {peak / 1e9:.0f} GFLOP/s',
        caption=caption,
    )
    for label, phase in _phases(study, arm, overrides):
        for count in sorted({1, seeds or study.seeds}):
            table.add_row(label, str(count), *_measured(phase, count, layout, chunk, seconds, peak))
    return table


def _measured(
    phase: Phase, seeds: int, layout: str, chunk: int | None, seconds: float, peak: float
) -> list[str]:
    """The cells of one row, from the layout on."""
    engine = Engine(phase.task, phase.train, seeds=range(seeds), layout_name=layout, chunk=chunk)
    begun = time.perf_counter()
    states = engine.init()
    devices = {it for leaf in jax.tree.leaves(states) for it in leaf.devices()}
    ticks = engine.train(states, start=0, stop=FOREVER, cadences=[FOREVER])
    next(ticks).drain()  # the first chunk compiles
    first = time.perf_counter() - begun
    steps, begun = 0, time.perf_counter()
    for tick in ticks:
        steps += engine.chunk
        if time.perf_counter() - begun >= seconds:
            tick.drain()  # what was dispatched is counted, so it is waited for
            break
    per_step = (time.perf_counter() - begun) / steps
    ticks.close()
    flops = engine.flops() * seeds
    mfu = peaks.utilisation(
        flops, per_step, jax.devices()[0].device_kind, devices=max(1, len(devices))
    )
    return [
        engine.choice.name + (', scan' if engine.choice.scan else ''),
        f'{max(0.0, first - per_step * engine.chunk):.1f}',
        f'{per_step * 1e3:.3g}',
        f'{engine.rows * seeds / per_step:,.0f}' if engine.rows else '-',
        f'{flops / 1e9:.3g}',
        f'{flops / per_step / peak:.1%}',
        '-' if mfu is None else f'{mfu:.1%}',
        f'{machine.peak_memory() / 1e6:,.0f}',
    ]


def _phases(
    study: Study, arms: tuple[str, ...], overrides: Mapping[str, Any]
) -> Iterator[tuple[str, Phase]]:
    """Every phase of some arms, by a name."""
    for arm in trained(study, arms):
        phases = phases_of(study, resolve(study, arm, overrides))
        for index, phase in enumerate(phases):
            yield f'{arm}, phase {index}' if len(phases) > 1 else arm, phase
