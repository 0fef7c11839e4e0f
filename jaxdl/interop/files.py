"""Weights on disk: the state dicts of other implementations, and our own weights files.

A state dict is a .safetensors or .npz file of arrays by name. A weights file is an .npz file of our
variables by path ('params/conv1/kernel'), with one more entry that says what they are; it is what
`jaxdl convert` writes and `jaxdl run --init-from` reads.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UsageError
from jaxdl.files import write_bytes

Array = np.ndarray
ABOUT = 'jaxdl'  # the entry that makes an .npz file a weights file
SUFFIXES = ('.safetensors', '.npz')


class Weights(NamedTuple):
    """Variables, and the reference they were converted from.

    without: patterns of paths that were left out on purpose, 'params/fc/*' for a head. What a net
        has there keeps its own initial values.
    """

    variables: Mapping[str, Any]
    arch: str
    layout: str
    config: Mapping[str, Any] = {}
    without: tuple[str, ...] = ()


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays in a .safetensors or .npz file, by name. Raises UsageError where it is neither."""
    _refuse_suffix(path)
    if not path.is_file():
        raise UsageError(f'no file {str(path)!r}')
    return _read_npz(path) if path.suffix == '.npz' else _read_safetensors(path)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name as .safetensors or .npz, whole or not at all."""
    _refuse_suffix(path)
    if path.suffix == '.npz':
        file = io.BytesIO()
        entries: dict[str, Any] = dict(arrays)
        np.savez(file, **entries)
        write_bytes(path, file.getvalue())
    else:
        from_numpy = _safetensors(path).save
        write_bytes(path, from_numpy({n: np.ascontiguousarray(x) for n, x in arrays.items()}))


def is_weights(arrays: Mapping[str, Array]) -> bool:
    """Whether arrays that were read are a weights file."""
    return ABOUT in arrays


def write_weights(path: Path, weights: Weights) -> str:
    """Write a weights file; returns the digest of its arrays."""
    arrays = {n: np.asarray(x) for n, x in flatten_dict(dict(weights.variables), sep='/').items()}
    about = {
        'arch': weights.arch,
        'layout': weights.layout,
        'config': dict(weights.config),
        'without': list(weights.without),
        'digest': digest(arrays),
    }
    entry = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_arrays(path, {ABOUT: entry, **arrays})
    return str(about['digest'])


def read_weights(path: Path) -> Weights:
    """What a weights file holds. Raises UsageError for another file, and for a damaged one."""
    return as_weights(read_arrays(path), path)


def as_weights(arrays: Mapping[str, Array], path: Path) -> Weights:
    """The weights in the arrays of the file `path`; raises as `read_weights` does."""
    if not is_weights(arrays):
        raise UsageError(
            f'{path} is not a weights file of jaxdl, but '
            f'`jaxdl convert {path} --arch ... --layout ...` makes one of it'
        )
    about = json.loads(arrays[ABOUT].tobytes())
    found = {name: array for name, array in arrays.items() if name != ABOUT}
    if digest(found) != about['digest']:
        raise UsageError(f'{path} is damaged: its arrays are not those that were written')
    return Weights(
        unflatten_dict(found, sep='/'),
        about['arch'],
        about['layout'],
        about['config'],
        tuple(about['without']),
    )


def digest(arrays: Mapping[str, Array]) -> str:
    """The sha256 over the names, types, shapes and values of arrays, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f'{name}\0{array.dtype}\0{array.shape}\0'.encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _refuse_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        allowed = ' or '.join(SUFFIXES)
        raise UsageError(f'{str(path)!r} is no file of weights: its name must end in {allowed}')


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zip, zlib and numpy have each their own; one .npy array alone
        if isinstance(error, OSError) and error.filename:
            raise  # of the system, which names the file itself
        why = ' '.join(str(error).split()) or type(error).__name__
        raise UsageError(f'{path} cannot be read as .npz arrays: {why}') from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    load_file = _safetensors(path).load_file
    from safetensors import SafetensorError

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise UsageError(f'{path} cannot be read as .safetensors: {error}') from error


def _safetensors(path: Path) -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{path} needs the package safetensors: pip install 'jaxdl[interop]'"
        ) from error
    return safetensors.numpy
