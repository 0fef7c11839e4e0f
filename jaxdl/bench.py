"""What a study costs on this machine: layers and parameters, and measured time per step."""

import time
from collections.abc import Mapping
from typing import Any

import jax
from rich.table import Table

from jaxdl import cost, machine
from jaxdl.engine import Engine
from jaxdl.library import phases_of, resolve
from jaxdl.net import applications
from jaxdl.study import Study


def summarise(
    study: Study, arms: tuple[str, ...], overrides: Mapping[str, Any]
) -> list[Table | str]:
    """For each arm a line of totals and, for each of its networks, a table of layers."""
    parts: list[Table | str] = []
    for arm in arms or tuple(study.arms):
        phases = phases_of(study, resolve(study, arm, overrides))
        for index, phase in enumerate(phases):
            engine = Engine(phase.task, phase.train, seeds=[0])
            label = f'{arm}, phase {index}' if len(phases) > 1 else arm
            parts.append(
                f'{label}: {engine.parameters():,} parameters, '
                f'{engine.flops() / 1e9:.3g} GFLOP and {engine.step_bytes() / 1e6:.1f} MB '
                f'a training step of {engine.rows} rows'
            )
            state, _, batch = engine.shapes
            for module, inputs in applications(phase.task.measure, state, batch):
                parts.append(cost.summary(module, *inputs))
    return parts


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
    peak = machine.peak_flops()
    table = Table(
        *('arm', 'seeds', 'layout', 'compile s', 'ms/step', 'examples/s', 'GFLOP/step'),
        *('share of peak', 'peak MB'),
        title=f'{name} on {jax.devices()[0].device_kind}, measured peak {peak / 1e9:.0f} GFLOP/s',
    )
    for each in arm or tuple(a for a in study.arms if a != 'tiny'):
        phase = phases_of(study, resolve(study, each, overrides))[0]
        for count in sorted({1, seeds or study.seeds}):
            engine = Engine(
                phase.task, phase.train, seeds=range(count), layout_name=layout, chunk=chunk
            )
            begun = time.perf_counter()
            states = engine.init()
            # The first chunk compiles; the rest are timed to the last number read.
            ticks = engine.train(states, start=0, stop=10**9, every=engine.chunk)
            next(ticks)
            compile_seconds = time.perf_counter() - begun
            steps, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < seconds:
                next(ticks)
                steps += engine.chunk
            per_step = (time.perf_counter() - begun) / steps
            ticks.close()
            flops = engine.flops() * count
            table.add_row(
                each,
                str(count),
                engine.choice.name + (', scan' if engine.choice.scan else ''),
                f'{compile_seconds:.1f}',
                f'{per_step * 1e3:.2f}',
                f'{engine.rows * count / per_step:,.0f}',
                f'{flops / 1e9:.3g}',
                f'{flops / per_step / peak:.1%}',
                f'{machine.peak_memory() / 1e6:.0f}',
            )
    return table
