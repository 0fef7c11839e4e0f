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
from jaxdl.blocks import arrays_as
from jaxdl.checkpoint.manager import load_weights
from jaxdl.cli.options import check
from jaxdl.errors import UsageError, nearest
from jaxdl.interop.darknet import read_darknet
from jaxdl.interop.files import (
    DARKNET,
    OWN,
    Weights,
    as_weights,
    is_weights,
    read_arrays,
    read_numbers,
    write_arrays,
    write_weights,
)
from jaxdl.interop.hub import LAYOUT, read
from jaxdl.interop.reference import floats
from jaxdl.paths import matching
from jaxdl.run.config import read_config

COLLECTIONS = ('params/', 'batch_stats/')  # what the paths of our arrays begin with


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

    arch, layout: see `interop.list_references`; a weights file says its own. Without both the
        arrays of an arm keep their own paths, 'params/fc/kernel', and come in by them again.
    config: options of the arch, 'classes=10'. without, strict: for what comes in. seed, net: for an
        arm's folder.
    Raises UsageError for whatever does not fit, naming it. What is written has been read back.
    """
    source = source.expanduser()
    out = None if out is None else out.expanduser()
    if source.is_dir():
        arrays, known = None, None
    elif source.suffix == DARKNET:
        arrays, known = _of_darknet(source, arch, layout, config), None
    else:
        arrays = read_arrays(source)
        known = as_weights(arrays, source) if is_weights(arrays) else None
    if arrays is None or known is not None:
        _refuse({'--without': without, '--no-strict': not strict}, 'for weights that come in')
        if known is not None:
            _refuse({'--seed': seed is not None, '--net': net}, "for an arm's folder")
        if out is None:
            raise UsageError('--out: say where to, as in --out FILE.safetensors')
        if known is not None and known.without:
            raise UsageError(f'{source} was made --without {_listed(known.without)}: it is partial')
        if not (arch or layout) and (known is None or (known.arch, known.layout) == OWN):
            return _own_out(source, known, config, out, seed=seed, net=net)
        arch, layout = _named(arch, layout, known)
        options = _options(arch, layout, config) or dict(known.config if known else {})
        if known is None:
            paths = interop.paths(arch, layout, **options)
            variables, what = _of_arm(source, paths, seed=seed, net=net)
        else:
            variables, what = dict(known.variables), str(source)
        tensors = interop.to_state_dict(arch, layout, variables, **options)
        write_arrays(out, tensors)
        return f'wrote {out}: {len(tensors)} tensors of {arch} ({layout}), from {what}'
    _refuse({'--seed': seed is not None, '--net': net}, "for an arm's folder")
    out = out or source.with_suffix('.jaxdl.npz')
    if out.suffix != '.npz' or out.resolve() == source.resolve():
        raise UsageError(f'--out: {str(out)!r} is not allowed; it must be another file, .npz')
    if not (arch or layout) and arrays and all(name.startswith(COLLECTIONS) for name in arrays):
        (arch, layout), options = OWN, _no_options(config)
        variables = unflatten_dict(_held(arrays), sep='/')
    else:
        arch, layout = _named(arch, layout, None)
        options = _options(arch, layout, config)
        variables = interop.from_state_dict(arch, layout, arrays, strict=strict, **options)
    kept = _without(variables, without)
    digest = write_weights(out, Weights(kept, arch, layout, options, tuple(without)))
    return (
        f'wrote {out}: {len(flatten_dict(kept))} arrays of {arch} ({layout}), '
        f'sha256 {digest[:12]}; `jaxdl run NAME --init-from {out}` starts from them'
    )


def convert_hub(
    name: str,
    *,
    arch: str | None = None,
    out: Path | None = None,
    without: Sequence[str] = (),
    strict: bool = True,
) -> str:
    """Make a weights file of a model that the transformers library saved, see `interop.hub.read`.

    out: None is NAME.jaxdl.npz beside the folder, or here for a model from the hub.
    Returns a line that says what was written; raises UsageError for whatever does not fit.
    """
    model = read(name, arch=arch, strict=strict)
    folder = Path(name).expanduser()
    if out is None:
        out = (folder.resolve().parent if folder.is_dir() else Path()) / f'{folder.name}.jaxdl.npz'
    out = out.expanduser()
    if out.suffix != '.npz':
        raise UsageError(f'--out: {str(out)!r} is not allowed; it must be a file, .npz')
    kept = _without(model.variables, without)
    digest = write_weights(out, Weights(kept, model.arch, LAYOUT, model.config, tuple(without)))
    files = f'; its tokenizer: {_listed(model.tokenizer)}' if model.tokenizer else ''
    return (
        f'wrote {out}: {len(flatten_dict(kept))} arrays of {model.arch} ({LAYOUT}), '
        f'sha256 {digest[:12]}; `jaxdl run NAME --init-from {out}` starts from them{files}'
    )


def _own_out(
    source: Path,
    known: Weights | None,
    config: Sequence[str],
    out: Path,
    *,
    seed: int | None,
    net: str | None,
) -> str:
    """Write the arrays of an arm, or of a weights file, under the paths that they have here."""
    _no_options(config)
    if known is None:
        variables, what = _of_arm(source, None, seed=seed, net=net)
    else:
        variables, what = dict(known.variables), str(source)
    held = _held(flatten_dict(variables, sep='/'))
    if out.suffix == '.npz':
        write_weights(out, Weights(unflatten_dict(held, sep='/'), *OWN))
        more = f'; `jaxdl run NAME --init-from {out}` starts from them'
    else:
        write_arrays(out, held)
        more = ''
    return f'wrote {out}: {len(held)} arrays by their own paths, from {what}{more}'


def _held(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of our own by path: floats as float32, counters as they are."""
    return {n: x if x.dtype.kind in 'iu' else floats(n, x) for n, x in arrays.items()}


def _no_options(config: Sequence[str]) -> dict[str, Any]:
    _refuse({'--config': config}, 'for a network of --arch')
    return {}


def _of_darknet(
    source: Path, arch: str | None, layout: str | None, config: Sequence[str]
) -> dict[str, np.ndarray]:
    """The tensors of a file that holds nothing but their numbers."""
    content = read_numbers(source)
    arch, layout = _named(arch, layout, None)
    shapes = interop.tensors(arch, layout, **_options(arch, layout, config))
    if layout != 'darknet':
        raise UsageError(f"--layout: {source} is of 'darknet', not of {layout!r}")
    try:
        return read_darknet(content, shapes)
    except UsageError as error:
        raise UsageError(f'{source} is not of {arch}: it has {error}') from error


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
    folder: Path, paths: Sequence[str] | None, *, seed: int | None, net: str | None
) -> tuple[dict[str, Any], str]:
    """The variables with these paths that an arm's newest checkpoint holds, of one seed.

    paths: None is all those of a net.
    """
    seeds = read_config(folder).seeds if (folder / 'config.json').is_file() else None
    if seeds is None:
        raise UsageError(f'{folder} is not the folder of an arm, runs/NAME/ARM')
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise UsageError(f'--seed: no seed {seed} in {folder} (allowed: {_listed(seeds)})')
    saved = load_weights(folder / 'checkpoints')
    nets = _nets(flatten_dict(saved.state['states'], sep='/'))
    if paths:  # of networks elsewhere blocks are apart
        nets = {name: arrays_as(arrays, paths, axis=1) for name, arrays in nets.items()}
    if net is not None and net not in nets:
        raise UsageError(f'--net: no net {net!r} in {folder}{nearest(net, nets)}')
    wanted = set(paths or ())
    fitting = [name for name in nets if net in (None, name) and not wanted - set(nets[name])]
    if not nets:
        raise UsageError(f'{folder}: there is no net in its state')
    if paths and not fitting:
        best = net or min(nets, key=lambda name: len(wanted - set(nets[name])))
        missing = next(path for path in paths if path not in nets[best])
        raise UsageError(f'{folder}: {best} has no array {missing!r}{nearest(missing, nets[best])}')
    # A slow copy is there beside its net, and the state that is trained beside the best one.
    first = [n for n in fitting if not n.endswith('/shadow')]
    first = [n for n in first if not (n.startswith('live/') and f'best/{n[5:]}' in first)] or first
    if net is None and len(first) > 1:
        raise UsageError(f'{folder}: several nets fit: {_listed(first)}; say which with --net')
    chosen = net or first[0]
    row = seeds.index(seed)
    arrays = nets[chosen]
    variables = {path: np.asarray(arrays[path][row]) for path in (paths or arrays)}
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
