"""A network as a value: a Linen module with its parameters and its memory.

The only file that touches Linen's `init` and `apply`, so no loss function ever writes
`mutable=[...]` or `{'params': ...}`.
"""

import functools
import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.errors import ScopeParamShapeError

from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for

Axes = tuple[tuple[tuple[str, ...], tuple[str | None, ...]], ...]


class Net(struct.PyTreeNode):
    """A module, its parameters, its memory (BatchNorm statistics, ...) and its slow copy.

    Calling a net returns the output and the net it has become:
    ``logits, net = net(x, key=key, train=True)``. `memory` changes only when `train` is true.
    `shadow` is the slow copy (EMA, target network) of a player that has one, else None. `frozen`:
    it belongs to a player that never moves. computes: the type that it computes in where that is
    not that of its parameters, see `jaxdl.precision`. axes: what the module calls the axes of its
    parameters (Linen's partitioning metadata), by their path below `params`.
    """

    params: Any
    memory: Any
    shadow: 'Net | None' = None
    module: nn.Module = struct.field(pytree_node=False, kw_only=True)
    frozen: bool = struct.field(pytree_node=False, kw_only=True, default=False)
    computes: str | None = struct.field(pytree_node=False, kw_only=True, default=None)
    axes: Axes = struct.field(pytree_node=False, kw_only=True, default=())

    @classmethod
    def init(cls, module: nn.Module, key: Key, *inputs: Any) -> Self:
        """Draw the initial parameters and memory of `module` for `inputs`.

        Raises UsageError where its call has more arguments than it is given, or has another word
        for `train`: it would never be told that it trains.
        """
        boxed = dict(module.init(_streams(key), *inputs, **_mode(module, inputs)))
        boxed.pop('intermediates', None)  # what a module sows is not its memory
        axes = _axes(boxed.get('params', {}))
        variables = unboxed(boxed)
        params = variables.pop('params', {})
        return cls(params=params, memory=variables, module=module, axes=axes)

    def __call__(
        self, *inputs: Any, key: Key | None = None, train: bool = False, method: str | None = None
    ) -> tuple[Any, Self]:
        """Apply the module. `key` feeds dropout and noise; without one there is none to draw.

        Raises UsageError where the inputs ask for parameters of another shape than the net has.
        """
        options: dict[str, Any] = {'train': train} if takes_train(self.module, method) else {}
        variables = {'params': self._cast(self.params), **self.memory}
        inputs = self._cast(inputs)
        streams = None if key is None else _streams(key)
        moving = train and bool(self.memory)
        if moving:
            options['mutable'] = list(self.memory)
        try:
            output = self.module.apply(variables, *inputs, rngs=streams, method=method, **options)
        except ScopeParamShapeError as error:
            if (line := _misfit(self.module, inputs, str(error))) is None:
                raise
            raise UsageError(line) from error
        if not moving:
            return self._cast(output, back=True), self
        output, memory = output
        return self._cast(output, back=True), self.replace(memory=dict(memory))

    def _cast(self, tree: Any, *, back: bool = False) -> Any:
        """Numbers in the type that it computes in, or `back` from that to float32."""
        if self.computes is None:
            return tree
        old, new = jnp.float32, jnp.dtype(self.computes)
        if back:
            old, new = new, old

        def cast(leaf: Any) -> Any:
            return leaf.astype(new) if getattr(leaf, 'dtype', None) == old else leaf

        return jax.tree.map(cast, tree)


def _axes(params: Any) -> Axes:
    """The names of the axes of parameters, of those that come in a box with names."""
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_box)
    named = [(tuple(key.key for key in path), box.names) for path, box in leaves if _is_box(box)]
    return tuple(named)


def unboxed(variables: Any) -> Any:
    """Variables without the boxes in which Linen keeps the names of axes."""
    return jax.tree.map(lambda x: x.value if _is_box(x) else x, variables, is_leaf=_is_box)


def _is_box(x: Any) -> bool:
    return isinstance(x, nn.Partitioned)


def _streams(key: Key) -> dict[str, Key]:
    # Linen draws streams it is not given from 'params', so any name a module asks for works.
    return {'params': key_for(key, 'params'), 'dropout': key_for(key, 'dropout')}


# What others call the argument that says whether a network trains.
_MODES = re.compile(r'(is_)?train(ing)?|deterministic|(is_)?eval|inference|use_running_average')


def _mode(module: nn.Module, inputs: Sequence[Any]) -> dict[str, Any]:
    """The keywords with which a module is initialised: `train`, if it must be given."""
    parameters = inspect.signature(module.__call__).parameters
    own = [p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in own if p.kind is not p.KEYWORD_ONLY][: len(inputs)]
    for p in own:
        if p in positional or p.name == 'train':
            continue
        what = f'{type(module).__name__}: its call has the argument {p.name!r}, and'
        if _MODES.fullmatch(p.name):
            raise UsageError(f'{what} what says whether it trains is called `train`')
        if p.default is p.empty:
            raise UsageError(f'{what} is given {len(inputs)} inputs and, if it has that, `train`')
    must = 'train' in parameters and parameters['train'].default is inspect.Parameter.empty
    return {'train': False} if must and parameters['train'] not in positional else {}


# What Flax says of a parameter: its name, its module's path, the shape asked for, and its own.
MISFIT = re.compile(
    r'parameter "([^"]*)" in "/?([^"]*)", '
    r'.* generate shape \(([\d, ]*)\), but .* has shape \(([\d, ]*)\)'
)


def _misfit(module: nn.Module, inputs: Sequence[Any], said: str) -> str | None:
    """One line for inputs that do not fit the parameters; None if Flax says it in other words."""
    if not (found := MISFIT.search(said)):
        return None
    name, path, *shapes = found.groups()
    asked, own = ([int(n) for n in shape.split(',') if n.strip()] for shape in shapes)
    sizes = [list(x.shape) for x in inputs if hasattr(x, 'shape')]
    given = f'an input of {" and ".join(map(str, sizes))}' if sizes else 'this input'
    where = '/'.join(part for part in ('params', path, name) if part)
    line = f'{type(module).__name__}: {where} is {own}, and {given} asks for {asked}'
    axes = len(own)
    kernel = name == 'kernel' and axes > 2 and len(asked) == axes
    # A kernel is [*sides, channels in, channels out].
    if not kernel or asked[:-2] != own[:-2] or asked[-1] != own[-1]:
        return line
    what = 'images' if sizes and sizes[0][-1:] == asked[-2:-1] else 'maps'
    channels = '1 channel' if own[-2] == 1 else f'{own[-2]} channels'
    line += f': the network has weights for {what} of {channels} and was given {asked[-2]}'
    short = sizes and len(sizes[0]) < axes
    return line + (f' (a batch has {axes} axes, the channels last)' if short else '')


def takes_train(module: nn.Module, method: str | None = None) -> bool:
    """Whether the module's call has the `train` keyword (it behaves differently in training)."""
    return 'train' in inspect.signature(getattr(module, method or '__call__')).parameters


def is_net(node: Any) -> bool:
    """Whether a node of a state is a net, for `is_leaf`."""
    return isinstance(node, Net)


def nets(state: Any) -> list[Net]:
    """The nets of a state, in the order of the tree, without their shadows."""
    return [node for node in jax.tree.leaves(state, is_leaf=is_net) if isinstance(node, Net)]


def named_nets(state: Any) -> dict[str, Net]:
    """The nets of a state by player; the trained ones of a state that is kept twice."""
    found: dict[str, Net] = {}
    for path, node in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_net):
        if isinstance(node, Net):
            found.setdefault(player_of(path), node)
    return found


def player_of(path: tuple[Any, ...]) -> str:
    """The player whose net stands at a path: the innermost name in a mapping."""
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    return str(keys[-1]) if keys else ''


def trainable(state: Any) -> int:
    """The number of trainable parameters in a state: not of shadows, nor of what never moves."""
    moving = [net.params for net in nets(state) if not net.frozen]
    return sum(leaf.size for leaf in jax.tree.leaves(moving))


def applications(
    fn: Callable[..., Any], state: Any, batch: Any
) -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Each network that `fn(key, state, batch)` calls, with the shapes of its first call.

    By player, so that two of equal modules are two; a module that is no net of the state is found
    under the name of its type, 'Dense'. A slow copy is not another network.
    """
    found: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {}
    others: dict[nn.Module, str] = {}

    def named(path: tuple[Any, ...], node: Any) -> Any:
        return _named(node, player_of(path)) if is_net(node) else node

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == () and context.method_name == '__call__':
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tuple(args))
            module = context.module.clone(parent=None, name=None)
            name = context.module.name
            if name is None:
                name = others.setdefault(module, _free(type(module).__name__, found))
            found.setdefault(name, (module, shapes))
        return call(*args, **kwargs)

    state = jax.tree_util.tree_map_with_path(named, state, is_leaf=is_net)
    with nn.intercept_methods(note):
        jax.eval_shape(fn, jax.random.key(0), state, batch)
    return found


def initial_applications(
    init: Callable[..., Any], batch: Any
) -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Each net of the state that `init(key, batch)` makes, with the shapes it was drawn for.

    By player, as `applications`, and of networks that no step calls too: each net has the shapes of
    a module that is as its own, and has parameters as it has.
    """
    calls: list[tuple[nn.Module, tuple[Any, ...]]] = []

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == () and context.method_name == '__call__':
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tuple(args))
            calls.append((context.module.clone(parent=None, name=None), shapes))
        return call(*args, **kwargs)

    key = jax.random.key(0)
    with nn.intercept_methods(note):
        state = jax.eval_shape(init, key, batch)
    found = {}
    for name, net in named_nets(state).items():
        for module, shapes in calls:
            if module == net.module:
                drawn = jax.eval_shape(functools.partial(Net.init, module), key, *shapes)
                if jax.tree.map(_shape, drawn.params) == jax.tree.map(_shape, net.params):
                    found[name] = module, shapes
                    break
    return found


def _shape(x: Any) -> str:
    return f'{x.dtype}{x.shape}'


def _named(net: Net, name: str) -> Net:
    """The same net, whose module says of which player it is."""
    shadow = None if net.shadow is None else _named(net.shadow, name)
    return net.replace(module=net.module.clone(name=name), shadow=shadow)


def _free(name: str, taken: Iterable[str]) -> str:
    numbered = (f'{name} {i}' for i in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)
