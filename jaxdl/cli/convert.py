"""Conversion between files: another implementation's weights to a weights file of ours, and back.

What a file or folder is says the direction: a state dict becomes a weights file, and a weights file
or the folder of an arm becomes a state dict.
"""

import ast
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl import interop
from jaxdl.checkpoint.manager import load_weights
from jaxdl.cli.options import check
from jaxdl.errors import UsageError, nearest
from jaxdl.interop.files import (
    Weights,
    as_weights,
    is_weights,
    read_arrays,
    write_arrays,
    write_weights,
)
from jaxdl.paths import matching
from jaxdl.run.config import read_config


def convert(
    source: Path,
    *,
    arch: str | None = None,
    layout: str | None = None,
    config: Sequence[str] = (),
    out: Path | None = None,
    without: Sequence[str] = (),
    strict: bool = True,
    seed: int | None = None,
    net: str | None = None,
) -> str:
    """Convert a file or an arm's folder; returns a line that says what was written.

    arch, layout: see `interop.list_references`; a weights file says its own. config: options of
    the arch, 'classes=10'. without, strict: for what comes in. seed, net: for an arm's folder.
    Raises UsageError for whatever does not fit, naming it.
    """
    arrays = None if source.is_dir() else read_arrays(source)
    if arrays is None or is_weights(arrays):
        _refuse({'--without': without, '--no-strict': not strict}, 'for weights that come in')
        known = None if arrays is None else as_weights(arrays, source)
        arch, layout = _named(arch, layout, known)
        options = _options(arch, layout, config) or dict(known.config if known else {})
        if out is None:
            raise UsageError('--out: say where to, as in --out FILE.safetensors')
        if known is None:
            paths = interop.paths(arch, layout, **options)
            variables, what = _of_arm(source, paths, seed=seed, net=net)
        elif known.without:
            raise UsageError(f'{source} was made --without {_listed(known.without)}: it is partial')
        else:
            _refuse({'--seed': seed is not None, '--net': net}, "for an arm's folder")
            variables, what = dict(known.variables), str(source)
        tensors = interop.to_state_dict(arch, layout, variables, **options)
        write_arrays(out, tensors)
        return f'wrote {out}: {len(tensors)} tensors of {arch} ({layout}), from {what}'
    _refuse({'--seed': seed is not None, '--net': net}, "for an arm's folder")
    arch, layout = _named(arch, layout, None)
    options = _options(arch, layout, config)
    out = out or source.with_suffix('.jaxdl.npz')
    if out.suffix != '.npz' or out.resolve() == source.resolve():
        raise UsageError(f'--out: {str(out)!r} is not allowed; it must be another file, .npz')
    variables = interop.from_state_dict(arch, layout, arrays, strict=strict, **options)
    kept = _without(variables, without)
    digest = write_weights(out, Weights(kept, arch, layout, options, tuple(without)))
    return (
        f'wrote {out}: {len(flatten_dict(kept))} arrays of {arch} ({layout}), '
        f'sha256 {digest[:12]}; `jaxdl run NAME --init-from {out}` starts from them'
    )


def _named(arch: str | None, layout: str | None, known: Weights | None) -> tuple[str, str]:
    """(arch, layout); where they are not said a weights file says them."""
    if known is not None:
        arch, layout = arch or known.arch, layout or known.layout
    for flag, value in (('--arch', arch), ('--layout', layout)):
        if not value:
            raise UsageError(f'{flag}: say which; `jaxdl convert --list` shows what there is')
    return str(arch), str(layout)


def _options(arch: str, layout: str, words: Sequence[str]) -> dict[str, Any]:
    """The options of an arch from 'name=value' words. Raises UsageError for what it cannot be."""
    given = {}
    for word in words:
        name, sign, text = word.partition('=')
        if not sign:
            raise UsageError(f'--config: {word!r} is not allowed; it must be NAME=VALUE')
        try:
            given[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            given[name] = text
    reference = interop.reference(arch, layout, given)
    for name, value in given.items():
        kind = inspect.signature(reference.build).parameters[name].annotation
        check(f'--config {name}', value, Any if kind is inspect.Parameter.empty else kind)
    return given


def _refuse(options: Mapping[str, Any], what: str) -> None:
    for flag, given in options.items():
        if given:
            raise UsageError(f'{flag}: it is {what}')


def _without(variables: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """The variables but those whose path matches one of the patterns, 'params/fc/*'."""
    flat = flatten_dict(dict(variables), sep='/')
    for pattern in patterns:
        if not any(matching([pattern], name) for name in flat):
            raise UsageError(f'--without: {pattern!r} matches no array{nearest(pattern, flat)}')
    kept = {name: array for name, array in flat.items() if not matching(patterns, name)}
    return unflatten_dict(kept, sep='/')


def _of_arm(
    folder: Path, paths: Sequence[str], *, seed: int | None, net: str | None
) -> tuple[dict[str, Any], str]:
    """The variables with these paths that an arm's newest checkpoint holds, of one seed."""
    seeds = read_config(folder).seeds if (folder / 'config.json').is_file() else None
    if seeds is None:
        raise UsageError(f'{folder} is not the folder of an arm, runs/NAME/ARM')
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise UsageError(f'--seed: no seed {seed} in {folder} (allowed: {_listed(seeds)})')
    saved = load_weights(folder / 'checkpoints')
    nets = _nets(flatten_dict(saved.state['states'], sep='/'))
    if net is not None and net not in nets:
        raise UsageError(f'--net: no net {net!r} in {folder}{nearest(net, nets)}')
    fitting = [name for name in nets if net in (None, name) and not set(paths) - set(nets[name])]
    if not fitting:
        best = net or min(nets, key=lambda name: len(set(paths) - set(nets[name])))
        missing = next(path for path in paths if path not in nets[best])
        raise UsageError(f'{folder}: {best} has no array {missing!r}{nearest(missing, nets[best])}')
    # A slow copy is there beside its net, and the state that is trained beside the best one.
    first = [n for n in fitting if not n.endswith('/shadow')]
    first = [n for n in first if not (n.startswith('live/') and f'best/{n[5:]}' in first)] or first
    if net is None and len(first) > 1:
        raise UsageError(f'{folder}: several nets fit: {_listed(first)}; say which with --net')
    chosen = net or first[0]
    row = seeds.index(seed)
    variables = {path: np.asarray(nets[chosen][path][row]) for path in paths}
    others = [name for name in fitting if name != chosen]
    more = f' (--net takes {_listed(others)} too)' if others else ''
    return unflatten_dict(variables, sep='/'), (
        f'{folder}, {chosen} of seed {seed} at step {saved.step}{more}'
    )


def _nets(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arrays of each net in a saved state, by path in its variables."""
    nets: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        parts = name.split('/')
        for i, part in enumerate(parts):
            if part in ('params', 'memory'):
                path = parts[i:] if part == 'params' else parts[i + 1 :]
                nets.setdefault('/'.join(parts[:i]), {})['/'.join(path)] = array
                break
    return nets


def _listed(items: Sequence[Any]) -> str:
    return ', '.join(map(str, items))
