"""Records goldens from PyTorch, torchvision, Keras and transformers, or compares them with these.

    python tests/parity/record.py [--check] [NAME ...]

Needs the extra 'parity' (`make parity` installs it into an environment of its own). --check
records nothing: it fails where a golden differs from what the other implementation computes now.
Two cases are computed at a time: half of each is the drawing of weights, on one core.
"""

import argparse
import fnmatch
import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

os.environ.setdefault('KERAS_BACKEND', 'jax')

import golden  # noqa: E402
import numpy as np  # noqa: E402
from cases import CASES  # noqa: E402
from cases.decoding import DECODINGS, Decoding  # noqa: E402
from golden import Case, Golden, Training  # noqa: E402
from originals import original  # noqa: E402


def of_keras(case: Case, model: Any) -> Golden:
    """The golden of a Keras model."""
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    state_dict = golden.drawn(case, shapes)
    for weight in model.weights:
        weight.assign(state_dict[weight.path])
    xs = golden.inputs(case)
    outputs = [np.asarray(y) for y in flat(model(xs if len(xs) > 1 else xs[0], training=False))]
    training = [
        trained_in_keras(model, golden.inputs(case, again=again))
        for again in (False, True)
        if case.train and (case.again or not again)
    ]
    return Golden(shapes, outputs, training)


def trained_in_keras(model: Any, inputs: list[np.ndarray]) -> Training:
    """The gradients of a Keras model on jax, which has no statistics."""
    import jax

    fixed = [weight.value for weight in model.non_trainable_variables]

    def loss(weights: list[Any]) -> tuple[Any, int]:
        ys, _ = model.stateless_call(weights, fixed, inputs, training=False)
        ys = flat(ys)
        return sum((y * golden.cotangent(i, y.shape)).sum() for i, y in enumerate(ys)), len(ys)

    weights = [weight.value for weight in model.trainable_variables]
    gradients, count = jax.grad(loss, has_aux=True)(weights)
    paths = [weight.path for weight in model.trainable_variables]
    found = {p: golden.projection(p, np.asarray(g)) for p, g in zip(paths, gradients, strict=True)}
    return Training(count, found, {})


def of_torch(case: Case, model: Any) -> Golden:
    """The golden of a PyTorch module."""
    import torch

    skipped = set(skipped_of(model))
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items() if n not in skipped}
    weights = {n: torch.from_numpy(x) for n, x in golden.drawn(case, shapes).items()}
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert not unknown and skipped.issuperset(missing), (missing, unknown)
    model.eval()
    with torch.no_grad():
        outputs = [y.numpy() for y in called(model, golden.inputs(case), torch.float32)]
    # In float64: what differs then is our rounding alone, not theirs too.
    training = [
        trained(model.double(), weights, golden.inputs(case, again=again))
        for again in (False, True)
        if case.train and (case.again or not again)
    ]
    return Golden(shapes, outputs, training)


def of_decoding(it: Decoding) -> list[list[int]]:
    """The rows of tokens that a model goes on with, each up to its end."""
    import torch
    from originals.language import generated

    model = original(it.case)
    skipped = set(skipped_of(model))
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items() if n not in skipped}
    drawn = golden.drawn(it.case, shapes)
    model.load_state_dict({n: torch.from_numpy(x) for n, x in drawn.items()}, strict=False)
    xs = [torch.from_numpy(x).long() for x in golden.inputs(it.case)]
    rows = generated(model, xs, width=it.width, penalty=it.penalty, end=it.end, length=it.length)
    return [row[: row.index(it.end) + 1 if it.end in row else None] for row in rows.tolist()]


def skipped_of(model: Any) -> Iterator[str]:
    """Tensors that no golden has: counters, fixed positions, and those that are another again."""
    seen = set()
    for name, tensor in model.state_dict().items():
        if name.endswith(('num_batches_tracked', 'embed_positions.weight', 'resample_filter')):
            yield name
        elif tensor.data_ptr() in seen:
            yield name
        seen.add(tensor.data_ptr())


def called(model: Any, inputs: list[np.ndarray], dtype: Any) -> list[Any]:
    """The outputs of a module on images with their channels last, theirs last too, or on tokens."""
    import torch

    xs = [torch.from_numpy(x) for x in inputs]
    # Whole numbers are indices there; a mask stays one.
    kinds = {torch.bool: torch.bool, torch.float32: dtype}
    xs = [x.to(kinds.get(x.dtype, torch.long)) for x in xs]
    xs = [x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in xs]
    return [y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in flat(model(*xs))]


def trained(model: Any, weights: dict[str, Any], inputs: list[np.ndarray]) -> Training:
    """One step in training mode, without dropout: gradients, and statistics as flax has them.

    PyTorch divides the variance it stores by n - 1, flax by n: undone layer by layer.
    """
    import torch

    model.load_state_dict(weights, strict=False)
    model.train()
    elements: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(module: Any, args: Any) -> None:
            elements[name] = args[0].numel() // args[0].shape[1]

        return hook

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            hooks.append(module.register_forward_pre_hook(count(name)))
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.zero_grad()
    outputs = called(model, inputs, torch.float64)
    cotangents = [golden.cotangent(i, tuple(y.shape)) for i, y in enumerate(outputs)]
    loss = sum((y * torch.from_numpy(c)).sum() for y, c in zip(outputs, cotangents, strict=True))
    loss.backward()
    for hook in hooks:
        hook.remove()
    gradients = {
        n: golden.projection(n, np.zeros(p.shape) if p.grad is None else p.grad.numpy())
        for n, p in model.named_parameters()
        if n in weights
    }
    statistics = {}
    for name, buffer in model.named_buffers():
        if name.endswith('running_mean'):
            statistics[name] = golden.projection(name, buffer.numpy())
        elif name.endswith('running_var'):
            layer = name.rpartition('.')[0]
            n, momentum = elements[layer], model.get_submodule(layer).momentum
            old = (1 - momentum) * weights[name].double()
            biased = old + (buffer - old) * (n - 1) / n
            statistics[name] = golden.projection(name, biased.numpy())
        elif name.endswith('w_avg') and not torch.equal(buffer, weights[name].double()):
            statistics[name] = golden.projection(name, buffer.numpy())
    return Training(len(outputs), gradients, statistics)


def flat(ys: Any) -> list[Any]:
    """The tensors in an output, in the order in which jax.tree.leaves has them."""
    if hasattr(ys, 'aux_logits1'):  # torchvision's GoogLeNet has its lowest head last
        return [ys.logits, ys.aux_logits1, ys.aux_logits2]
    if isinstance(ys, dict):
        return [y for key in sorted(ys) for y in flat(ys[key])]
    if isinstance(ys, list | tuple):
        return [y for part in ys for y in flat(part)]
    return [] if ys is None else [ys]


def differences(case: Case, new: Golden) -> list[str]:
    """What differs between a golden and its file."""
    old = golden.load(case)
    found = []
    if new.shapes != old['shapes']:
        found.append('names or shapes')
    for i, y in enumerate(new.outputs):
        if not golden.error(golden.kept(y), old[f'output {i}']) <= 1e-4:
            found.append(f'output {i}')
    for number, training in enumerate(new.training):
        for kind, numbers in training.arrays(number).items():
            if not np.allclose(numbers, old[kind], rtol=1e-3, atol=1e-3 * old[kind].max()):
                found.append(kind)
    return found


def recorded(case: Case, *, check: bool) -> tuple[bool, str]:
    """Whether a case is as it should be, and a line about it."""
    model = original(case)
    new = of_keras(case, model) if case.layout == 'keras' else of_torch(case, model)
    if check:
        wrong = differences(case, new)
        return not wrong, f'{case.name} ' + ('differs: ' + ', '.join(wrong) if wrong else 'equal')
    new.save(case)
    return True, f'{case.name} {golden.path(case).stat().st_size / 1024:.1f} kB'


def keep_to(threads: int) -> None:
    """Let a process of several use so many threads: the pools of two wait for each other."""
    import torch

    torch.set_num_threads(threads)


def main() -> None:
    """Record or compare the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('names', nargs='*', default=['*'], help='patterns of case names')
    parser.add_argument('--check', action='store_true', help='compare, record nothing')
    options = parser.parse_args()
    cases = [
        case
        for case in CASES
        if any(fnmatch.fnmatchcase(case.name, name) for name in options.names)
    ]
    failed, cores = False, os.cpu_count() or 1
    processes = min(2, cores)
    spawned = multiprocessing.get_context('spawn')
    with spawned.Pool(processes, keep_to, (cores // processes,)) as pool:
        for right, line in pool.imap(partial(recorded, check=options.check), cases):
            failed |= not right
            print(line, flush=True)
    for it in DECODINGS:
        if not any(fnmatch.fnmatchcase(it.name, name) for name in options.names):
            continue
        rows = of_decoding(it)
        if options.check:
            failed |= rows != golden.decoded(it.name)
            print(it.name, 'equal' if rows == golden.decoded(it.name) else 'differs', flush=True)
        else:
            golden.save_decoded(it.name, rows)
            print(it.name, rows, flush=True)
    sys.exit(failed)


if __name__ == '__main__':
    main()
