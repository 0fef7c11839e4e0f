"""What is computed, as digests of programs and data, and what differs between two of them.

Of every phase: the shapes of the state, a digest of each lowered function of one seed (a comment
changes nothing, a changed layer or library does), and digests of the data. Of data that are not on
the device it is the number of rows, and digests of a few batches all over the stream. Where each
seed draws rows of its own, it is a digest of their numbers too.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.source import Source
from jaxdl.files import digest_of_arrays
from jaxdl.paths import path_name

LOOKS = (0, 1, 17, 1009)  # batches of a stream that are compared
SAID = 3  # differences in one line

_SYMBOL = re.compile(r'(custom_call )?@"?([\w.$-]+)"?')
_OPERATION = re.compile(r'\b(?:stablehlo|chlo)\.(\w+)')
_CONSTANT = re.compile(r'constant dense<([-+.\w]{1,24})> : tensor<(?:\d+x)*([a-z]\w*)>')


def identity(
    traced: Mapping[str, Any], state: Any, sources: Mapping[str, Source], seeds: Sequence[int]
) -> dict[str, Any]:
    """What one phase computes, for JSON; nothing is compiled.

    traced: its functions of one seed by name, those that draw pictures called 'show ...'.
    state: shapes of the state of one seed. sources: its data by split. seeds: their numbers.
    """
    programs = {name: program(fn) for name, fn in traced.items()}
    return {
        'state': _shapes(state),
        'programs': {n: it for n, it in programs.items() if not n.startswith('show ')},
        'pictures': {n: it for n, it in programs.items() if n.startswith('show ')},
        'data': {name: _data(source, seeds) for name, source in sources.items()},
    }


def differences(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], *, programs: bool = True
) -> list[str]:
    """What the phases of two runs compute differently, each in words; pictures are left out.

    A change of the state or the data changes programs too: those are then not named.
    programs: whether they can be compared, which they cannot over two kinds of device.
    """
    found: list[str] = []
    for index, (was, now) in enumerate(zip(old, new, strict=False)):
        changed = [*_state(was['state'], now['state']), *_tables(was['data'], now['data'])]
        if programs and not changed:
            changed = list(_programs(was['programs'], now['programs']))
        where = f'phase {index}, ' if len(new) > 1 else ''
        found += [where + line for line in changed]
    if len(old) != len(new):
        found.append(f'{len(old)} phases there, {len(new)} now')
    return found


def in_words(changed: Sequence[str]) -> str:
    """Differences as the middle of one line."""
    more = [f'and {len(changed) - SAID} more'] if len(changed) > SAID else []
    return '; '.join([*changed[:SAID], *more])


def _digest(tree: Any) -> str:
    """A digest of a tree of arrays, each by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return digest_of_arrays({path_name(path): np.asarray(leaf) for path, leaf in leaves})


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): _shape(leaf) for path, leaf in leaves}


def _shape(leaf: Any) -> str:
    return f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'


def program(traced: Any) -> dict[str, Any]:
    """A digest of a lowered function and of the values it closes over, and what can be told."""
    text = traced.lower().as_text()
    names: dict[str, str] = {}

    def rename(found: re.Match[str]) -> str:
        # Functions may be renamed; what is called outside of the program may not.
        call, name = found.groups()
        return found[0] if call else names.setdefault(name, f'@f{len(names)}')

    body = _SYMBOL.sub(rename, text)
    constants = [np.asarray(each) for each in traced.jaxpr.consts if not _is_key(each)]
    values = Counter(f'{value} {kind}' for value, kind in _CONSTANT.findall(body))
    return {
        'digest': hashlib.sha256(f'{body}\0{_digest(constants)}'.encode()).hexdigest(),
        'operations': dict(sorted(Counter(_OPERATION.findall(body)).items())),
        'constants': dict(sorted(values.items())),
    }


def digest_of_numbers(numbers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Numbers that no program of jax computes, compared as a program is: by a digest of them."""
    return {'digest': _digest(dict(numbers)), 'operations': {}, 'constants': {}}


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _data(source: Source, seeds: Sequence[int]) -> dict[str, Any]:
    """A source: its name, which tells the rows, and digests of what it holds and sends."""
    resident = jax.tree_util.tree_leaves_with_path(source.resident)
    last = source.batches
    looks = LOOKS if last is None else sorted({step for step in (*LOOKS, last - 1) if step < last})
    sent = [next(islice(source.open(0, step), 1)) for step in looks]
    found = {
        'rows': source.name,
        'columns': {path_name(path): [_shape(leaf), _digest(leaf)] for path, leaf in resident},
        'sent': [_shapes(sent[0]), _digest(sent)],
    }
    if source.drawn is not None:
        found['drawn'] = {str(seed): _digest(source.drawn(seed)) for seed in seeds}
    return found


def _state(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f'{name}: {old.get(name, "none")} there, {new.get(name, "none")} now'


def _tables(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for split in sorted(old.keys() | new.keys()):
        if split not in old or split not in new:
            yield f'{split} is {"new" if split in new else "gone"}'
            continue
        was, now = old[split], new[split]
        if was['rows'] != now['rows']:
            yield f'{split}: {was["rows"]!r} there, {now["rows"]!r} now'
            continue
        columns = was['columns'].keys() | now['columns'].keys()
        for name in sorted(columns):
            one, other = (it['columns'].get(name, ['none', '']) for it in (was, now))
            if one[0] != other[0]:
                yield f'{split}, column {name}: {one[0]} there, {other[0]} now'
            elif one != other:
                yield f'{split}, column {name} of {now["rows"].partition(":")[0]}: other values'
        draws = [it.get('drawn', {}) for it in (was, now)]
        others = [seed for seed in draws[1] if draws[0].get(seed, draws[1][seed]) != draws[1][seed]]
        if others:
            yield f'{split}: other rows are drawn by seed {", ".join(others)}'
        elif was['sent'] != now['sent']:
            yield f'{split}: its batches hold other rows, or the same in another order'


def _programs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old or name not in new:
            yield f'{name} is {"new" if name in new else "gone"}'
        elif old[name]['digest'] != new[name]['digest']:
            yield f'the {name}: {_told(old[name], new[name])}'


def _told(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two programs: operations or constants that only one of them has.

    What has no operations is no program, but numbers that were returned.
    """
    if not (old['operations'] or new['operations']):
        return 'others'
    for kind in ('operations', 'constants'):
        was, now = Counter(old[kind]), Counter(new[kind])
        lost, won = was - now, now - was
        if lost or won:
            return f'{_listed(lost)} there, {_listed(won)} now'
    return 'it computes something else'


def _listed(counts: Counter[str], most: int = 4) -> str:
    names = [f'{n} more {name}' if n > 1 else name for name, n in counts.items()]
    names = [name.rpartition(' ')[0] if re.search(r' [a-z]+\d+$', name) else name for name in names]
    shown = names[:most] + (['...'] if len(names) > most else [])
    return ', '.join(shown) or 'nothing'
