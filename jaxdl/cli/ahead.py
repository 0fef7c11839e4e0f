"""A study's step compiled for machines that are not here: does it fit, and how fast may it be?

TPUs need the `libtpu` package, whose compiler needs no TPU. Other chips are stood in for by as many
simulated CPU devices: the program's partition is the same, its kernels and temporaries are not.
"""

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxdl.errors import JaxdlError, UsageError
from jaxdl.run.chips import Topology, read_topology

if TYPE_CHECKING:
    from rich.table import Table

    from jaxdl.engine.collectives import Traffic
    from jaxdl.engine.engine import Engine
    from jaxdl.engine.memory import Memory
    from jaxdl.run.roofline import Prediction
    from jaxdl.study import Study

COUNT = '--xla_force_host_platform_device_count'
# What this process was started with to be one that compiles ahead: another must not start it again.
MARK = 'JAXDL_COMPILES_FOR'


class TooBigError(JaxdlError):
    """A step does not fit the devices that it was compiled for."""


class Outlook(NamedTuple):
    """What was found of a step on one device of a topology.

    memory: without activations where the compiler refused. over: bytes that it lacks, negative
    where it fits. donated: bytes written in place. formula: FLOP of products, counted on the
    program of one seed. compiler: FLOP that the compiler counts; 0 where it refused. moved: bytes
    that it counts, on-chip ones among them. traffic: bytes to and from memory at least. seconds:
    that compiling took. largest: arguments by their bytes.
    """

    memory: 'Memory'
    over: float
    donated: int
    formula: float
    compiler: float
    moved: float
    traffic: float
    links: 'Traffic'
    prediction: 'Prediction'
    seconds: float
    largest: Sequence[tuple[str, int]]


def in_own_process(words: Sequence[str]) -> int | None:
    """Run `jaxdl compile WORDS` where jax starts with the devices of its topology.

    Returns the exit code of that process, None where this is one already.
    Raises UsageError for an unknown topology, or one whose compiler is not installed.
    """
    text = _typed_topology(words)
    if text is None or os.environ.get(MARK) == text:
        return None
    env = environment(read_topology(text))
    command = [sys.executable, '-m', 'jaxdl.cli.main', 'compile', *words]
    return subprocess.run(command, env=env, check=False).returncode


def _typed_topology(words: Sequence[str]) -> str | None:
    """The value of --topology among words; None where there is none, or help is asked for."""
    if '--help' in words or '-h' in words:
        return None
    for word, following in zip(words, [*words[1:], ''], strict=True):
        if word == '--topology' and following:
            return following
        if word.startswith('--topology='):
            return word.partition('=')[2]
    return None


def environment(topology: Topology) -> dict[str, str]:
    """The environment of a process that compiles for a topology.

    Raises UsageError where its compiler is not installed.
    """
    env = {**os.environ, 'JAX_PLATFORMS': 'cpu', MARK: topology.name}
    env['JAXDL_PLAIN_LAYERS'] = '1'  # what is faster on a CPU is not wanted
    if topology.chip.tpu:
        if importlib.util.find_spec('libtpu') is None:
            raise UsageError(
                f'--topology {topology.name}: the compiler of TPUs is not installed; '
                "pip install 'jaxdl[compile]'"
            )
        return {**env, 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    return simulated(topology.devices) | {name: env[name] for name in (MARK, 'JAXDL_PLAIN_LAYERS')}


def simulated(count: int) -> dict[str, str]:
    """The environment of a process whose jax has so many CPU devices."""
    flags = re.sub(rf'{COUNT}=\d+', '', os.environ.get('XLA_FLAGS', ''))
    return {
        **os.environ,
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': f'{flags} {COUNT}={count}'.strip(),
        'JAX_NUM_CPU_DEVICES': str(count),
        'NPROC': '8',  # fewer threads than devices wait for each other
    }


def compiled_ahead(
    study: 'Study',
    overrides: Mapping[str, Any],
    *,
    topology: str,
    arm: tuple[str, ...],
    seeds: int | None,
    layout: str,
) -> Iterator[Any]:
    """Tables and lines of every phase of some arms, a step of each compiled for a topology.

    Raises TooBigError at the end where one does not fit, and UsageError for what cannot be laid.
    """
    from jaxdl.cli.library import phases_of, resolve, trained
    from jaxdl.engine.engine import Engine

    where = read_topology(topology)
    devices = devices_of(where)
    too_big: list[str] = []
    for each in trained(study, arm):
        phases = phases_of(study, resolve(study, each, overrides))
        for index, phase in enumerate(phases):
            label = f'{each}, phase {index}' if len(phases) > 1 else each
            engine = Engine(
                phase.task,
                phase.train,
                seeds=range(seeds or study.seeds),
                layout_name=layout,
                ahead=devices,
            )
            found = look_ahead(engine, where)
            yield from tables(label, engine, where, found)
            if found.over > 0:
                too_big.append(advice(label, engine, where, found))
    if too_big:
        raise TooBigError('\n'.join(too_big))


def devices_of(topology: Topology) -> Any:
    """The devices of a topology for the engine; simulated ones where they are no TPUs'."""
    import jax

    from jaxdl.engine.layout import Devices

    if not topology.chip.tpu:
        return Devices(tuple(jax.devices('cpu')[: topology.devices]), 'gpu')
    from jax.experimental import topologies

    # The two cores of a v4 are one device, as on the machines themselves.
    way = {'chip_config_name': 'megacore'} if topology.chip.name == 'v4' else {}
    try:
        found = topologies.get_topology_desc(topology.name, platform='tpu', **way)
    except Exception as error:  # of many types, by the version of libtpu
        line = ' '.join(str(error).split())[:200]
        raise UsageError(f'--topology {topology.name}: libtpu does not make it: {line}') from error
    return Devices(tuple(found.devices), 'tpu')


def look_ahead(engine: 'Engine', topology: Topology) -> Outlook:
    """Compile one step of all seeds for a topology, and see what it would take of one device."""
    from jaxdl.engine.collectives import Traffic, collectives
    from jaxdl.engine.layout import program_bytes, temporary_bytes
    from jaxdl.engine.memory import account, largest
    from jaxdl.run.roofline import predict

    begun = time.perf_counter()
    lowered, mine, ours = engine.lower()
    chip, devices = topology.each, _used(engine)
    formula = engine.flops_done() * len(engine.seeds) / devices
    tensors = largest({'state': mine[0], 'data': (mine[1:], ours)})
    try:
        compiled = lowered.compile()
    except Exception as error:
        over = _excess(str(error))
        if over is None:
            raise
        memory, none = account(mine, ours, temporaries=0), Traffic((), 0, False)
        seconds = time.perf_counter() - begun
        guess = predict(chip, flops=formula, traffic=0.0, sent=0.0)
        return Outlook(memory, over, 0, formula, 0.0, 0.0, 0.0, none, guess, seconds, tensors)
    seconds = time.perf_counter() - begun
    memory = account(mine, ours, temporaries=temporary_bytes(compiled))
    links = collectives(compiled.as_text(), devices)
    counted: Mapping[str, float] = compiled.cost_analysis() or {}
    # What cannot be saved: what is trained is read and written, and so is what is made on the way.
    # The compiler's own sum has what never leaves the chip in it, and would be no bound.
    traffic = 2.0 * (memory.parameters + memory.optimizer + memory.activations)
    return Outlook(
        memory,
        max(sum(memory), program_bytes(compiled)) - chip.memory,  # the latter with padding
        int(compiled.memory_analysis().alias_size_in_bytes),
        formula,
        counted.get('flops', 0.0),
        counted.get('bytes accessed', 0.0),
        traffic,
        links,
        predict(chip, flops=formula, traffic=traffic, sent=links.sent),
        seconds,
        tensors,
    )


def _used(engine: 'Engine') -> int:
    """How many devices the layout of an engine lies over."""
    return int(_axes(engine).devices)


def _excess(said: str) -> float | None:
    """Bytes that a compiler says are lacking; None where it says something else."""
    if 'RESOURCE_EXHAUSTED' not in said and 'Ran out of memory' not in said:
        return None
    amount, unit = r'([\d.]+)([KMGT]?)', {'': 0, 'K': 1, 'M': 2, 'G': 3, 'T': 4}
    if found := re.search(rf'Exceeded \w+ capacity by {amount}', said):
        return float(found[1]) * 1024.0 ** unit[found[2]]
    if found := re.search(rf'\({amount}\) exceeds available \w+ \({amount}\)', said):
        needed, there = (float(found[i]) * 1024.0 ** unit[found[i + 1]] for i in (1, 3))
        return needed - there
    return 1.0


def tables(label: str, engine: 'Engine', topology: Topology, found: Outlook) -> Iterator[Any]:
    """What was found, in words: memory and FLOP, collectives, and the predicted step."""
    from rich.table import Table

    from jaxdl.engine.cost import quantity
    from jaxdl.engine.memory import named

    chip, used = topology.each, _used(engine)
    over = f'{used} of {topology.devices}' if used < topology.devices else f'{used}'
    rows = f', {engine.rows} rows' if engine.rows else ''
    stand_in = f'; compiled for {used} simulated CPU devices, not for that chip'
    if topology.chip.tpu:
        stand_in = ''
    table = Table(
        *('one device', ''),
        title=f'{label}: a step of {len(engine.seeds)} seeds{rows}, layout {engine.layout.name}, '
        f'on {over} x {topology.chip.name}{stand_in}',
    )
    size = f'{quantity(chip.memory)}B'
    if found.over > 0:
        table.add_row('fits', f'no: {quantity(found.over)}B more than {size}')
    else:
        table.add_row('fits', f'yes: {quantity(-found.over)}B of {size} are left')
    for name, part in named(found.memory):
        table.add_row(name, f'{quantity(part)}B')
    if found.links.collectives or found.compiler:
        share = f'{quantity(found.donated)}B as it is laid out; the state has '
        share += f'{quantity(found.memory.state)}B'
        table.add_row('donated, written in place', share)
        table.add_row('by the compiler', f'{quantity(found.compiler)}FLOP')
        table.add_row('by the compiler, moved', f'{quantity(found.moved)}B, on-chip too')
    table.add_row('by formula, products', f'{quantity(found.formula)}FLOP')
    table.add_row('compiling took', f'{found.seconds:.0f} s')
    yield table
    if found.over > 0 and not found.compiler:
        return
    yield _sent(found, quantity)
    p = found.prediction
    slow = {'compute': p.compute, 'memory': p.memory, 'links': p.links}
    table = Table(
        *('predicted, not measured', ''),
        caption=f'{chip.source}; a roofline: the longest of the three, with kernels at their peak '
        'in bfloat16, wholly overlapped, and every link busy. No step is faster; most are slower.',
    )
    for name, seconds in slow.items():
        table.add_row(name, _time(seconds) + ' (bound)' * (name == p.bound))
    table.add_row('step', _time(p.step))
    table.add_row('efficiency at most', f'{p.efficiency:.1%}')
    if engine.rows:
        table.add_row('rows/s at most', f'{engine.rows * len(engine.seeds) / p.step:,.0f}')
    yield table


def _time(seconds: float) -> str:
    for unit, size in (('s', 1.0), ('ms', 1e-3), ('us', 1e-6)):
        if seconds >= size:
            return f'{seconds / size:.3g} {unit}'
    return f'{seconds * 1e9:.3g} ns'


def _sent(found: Outlook, quantity: Any) -> 'Table | str':
    """The collectives of a step, as a table."""
    from rich.table import Table

    if not found.links.collectives:
        return 'collectives: none'
    notes = []
    if found.links.unknown:
        notes.append(f'{found.links.unknown} stand in loops of unknown length and count once')
    if found.links.loops:
        notes.append('the FLOP of the compiler count the body of a loop once')
    table = Table(
        *('collective', 'devices', 'times', 'bytes of results', 'bytes sent by a device'),
        caption='; '.join(notes) or None,
    )
    for each in found.links.collectives:
        sizes = f'{quantity(each.bytes)}B', f'{quantity(each.sent)}B'
        table.add_row(each.kind, str(each.size), str(each.times), *sizes)
    return table


def advice(label: str, engine: 'Engine', topology: Topology, found: Outlook) -> str:
    """One line on a step that does not fit: what is largest, and what would make it fit."""
    from jaxdl.engine.fitting import lacking

    told = lacking(
        engine,
        found.memory,
        room=topology.each.memory,
        over=found.over,
        tensors=found.largest,
    )
    return f'{label} does not fit {topology.name}: {told}'


def _axes(engine: 'Engine') -> Any:
    from jaxdl.engine.layout import Mesh

    assert isinstance(engine.layout, Mesh)
    return engine.layout.axes
