"""Optax transformations in words, read from the functions they are made of.

'AdamW (b1 0.9, b2 0.999, weight decay 0.0001), learning rate 0.003 falling to 0 along a cosine over
1,500 steps; gradients clipped to a global norm of 1'. What is not known here is said by the name of
its function, with the values it closes over.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxdl.run.closures import arguments, closed_over, custom, in_words, number, origin
from jaxdl.run.schedules import schedule_in_words

# What stands at the heart of an optimizer, by the function of optax that makes it.
RULES = {
    'scale_by_adam': 'Adam',
    'scale_by_rms': 'RMSProp',
    'scale_by_stddev': 'centred RMSProp',
    'scale_by_rss': 'Adagrad',
    'scale_by_adadelta': 'Adadelta',
    'scale_by_adamax': 'Adamax',
    'scale_by_amsgrad': 'AMSGrad',
    'scale_by_radam': 'RAdam',
    'scale_by_adan': 'Adan',
    'scale_by_belief': 'AdaBelief',
    'scale_by_yogi': 'Yogi',
    'scale_by_lion': 'Lion',
    'scale_by_novograd': 'NovoGrad',
    'scale_by_sm3': 'SM3',
    'scale_by_factored_rms': 'Adafactor',
    'scale_by_sign': 'sign of the gradient',
    'scale_by_optimistic_gradient': 'optimistic gradient descent',
    'scale_by_muon': 'Muon',
}
# Of these a reader wants to know the values, default or not.
SHOWN = ('b1', 'b2', 'b3', 'decay', 'momentum', 'decay_rate', 'beta', 'rho')
HIDDEN = ('mu_dtype', 'eps_root', 'min_dim_size_to_factor', 'nesterov')
CLIPPED = {
    'clip_by_global_norm': 'gradients clipped to a global norm of {}',
    'clip': 'gradients clipped to {} each way',
    'clip_by_block_rms': 'updates clipped to a root mean square of {} in each array',
    'adaptive_grad_clip': 'gradients clipped to {} times the norm of their weights',
}
NOTHING = ('identity', 'stateless', 'keep_params_nonnegative')


class Atom(NamedTuple):
    """One link of a chain: the function of optax that made it, what it closes over, and for what.

    only: which parameters it is for, '' for all.
    """

    name: str
    values: Mapping[str, Any]
    only: str = ''
    fn: Any = None


def optimizer_in_words(opt: Any) -> str:
    """What an optax transformation does, in words; 'custom (...)' where it cannot be read."""
    try:
        if origin(opt.update) == 'inject_hyperparams':
            return _injected({**closed_over(opt.init), **closed_over(opt.update)})
        return _told(opt.update)
    except Exception:  # another optax may close over other names: no reason for a run to fail
        return custom(opt.update)


def _told(update: Any) -> str:
    match origin(update):
        case 'partition':
            return _partition(closed_over(update))
        case 'apply_if_finite':
            values = closed_over(update)
            most = number(values['max_consecutive_errors'])
            skipped = f'updates that are not finite are skipped, at most {most} in a row'
            return f'{_told(values["inner"].update)}; {skipped}'
        case 'MultiSteps.update' | 'MultiSteps':
            return _multi(update)
        case 'inject_hyperparams':
            return _injected(closed_over(update))
    return _chain(list(_atoms(update)))


def _injected(values: Mapping[str, Any]) -> str:
    """An optimizer whose numbers are part of its state: its own name for itself, and they."""
    numbers = {**values.get('numeric_hps', {}), **values.get('other_hps', {})}
    told = [f'{name} {in_words(x)}' for name, x in numbers.items() if x not in (None, False)]
    told += [f'{name} {schedule_in_words(x)}' for name, x in values['sched_hps'].items()]
    return f'{origin(values["inner_factory"])} ({", ".join(told).replace("_", " ")})'


def _multi(update: Any) -> str:
    """Gradients that are averaged over several steps before one update."""
    held = vars(update.__self__)
    every = {**closed_over(held.get('_every_k_schedule')), **held}
    inner, count = held.get('_opt') or held['_inner_opt'], every.get('every_k_schedule')
    steps = number(count) if isinstance(count, int) else 'several'
    return f'{_told(inner.update)}; one update for the mean gradient of {steps} steps'


def _partition(values: Mapping[str, Any]) -> str:
    """Different optimizers for different parameters; `jaxdl.optim.freeze` first of all."""
    transforms, labels = values['transforms'], values['param_labels']
    if origin(labels) == 'freeze':
        patterns = ', '.join(closed_over(labels).get('patterns', ()))
        return f'{_told(transforms["trained"].update)}; frozen: {patterns}'
    each = '; '.join(f'{name}: {_told(it.update)}' for name, it in transforms.items())
    return f'by `{origin(labels)}`, {each}' if callable(labels) else each


def _atoms(update: Any, only: str = '') -> Iterator[Atom]:
    """The links of a chain, one after another."""
    values, name = closed_over(update), origin(update)
    match name:
        case 'chain' | 'named_chain':
            inner = values.get('update_fns') or [tx.update for _, tx in values['transforms']]
            for each in inner:
                yield from _atoms(each, only)
        case 'with_extra_args_support':
            yield from _atoms(values['tx'].update, only)
        case 'masked':
            yield from _atoms(values['inner'].update, _mask(values['mask']) or only)
        case _ if name in ('partition', 'apply_if_finite', 'inject_hyperparams'):
            yield Atom('', {}, only, update)  # has words of its own
        case _:
            yield Atom(name, values, only, update)


def _mask(mask: Any) -> str:
    """For which parameters a masked transformation is; '' for all."""
    if callable(mask):
        return 'kernels' if origin(mask) == 'decayed' else f'what `{origin(mask)}` picks'
    return '' if mask is True else 'some parameters'


def _chain(atoms: list[Atom]) -> str:
    """The words of a chain: its rule, its rate, and what else is done to gradients."""
    names = [atom.name for atom in atoms]
    rule = next((i for i, name in enumerate(names) if name in RULES), None)
    heart = rule if rule is not None else names.index('trace') if 'trace' in names else None
    inside = [] if rule is None else _values(atoms[rule])
    own: list[str] = []  # rules that are not known here
    others: list[str] = []
    sign, rate, scaled = -1.0, '', False  # what is added to parameters is -rate times the gradient
    decays = False
    for i, (name, values, only, fn) in enumerate(atoms):
        some = f' on {only}' if only else ''
        match name:
            case 'scale':
                sign, scaled = sign * float(values['step_size']), True
            case 'scale_by_schedule':
                rate, turned = _rate(values['step_size_fn'])
                sign, scaled = sign * turned, True
            case 'add_decayed_weights':
                words, some_of_it = _decay(values['weight_decay'])
                if scaled or heart is None or i < heart:
                    what = 'update' if scaled else 'gradient'
                    others += [f'{words}{some}, added to the {what}'] if some_of_it else []
                else:
                    decays = decays or some_of_it
                    inside.append(words + some)
            case 'trace':
                kind = ', Nesterov' if values['nesterov'] else ''
                inside.append(f'momentum {number(values["decay"])}{kind}')
            case 'scale_by_trust_ratio':
                by = values.get('trust_coefficient', 1.0)
                inside.append('trust ratio of each layer' + (f' times {number(by)}' * (by != 1)))
            case 'scale_by_param_block_rms':
                inside.append('steps relative to the size of each array')
            case 'clip_by_block_rms' if 'scale_by_factored_rms' in names:
                pass  # a part of Adafactor
            case _ if name in CLIPPED:
                limits = ('max_norm', 'max_delta', 'threshold', 'clipping')
                limit = next(values[n] for n in limits if n in values)
                others.append(CLIPPED[name].format(number(limit)))
            case '':
                others.append(_told(fn))
            case 'set_to_zero':
                others.append('nothing moves')
            case _ if name in RULES or name in NOTHING:
                pass
            case _:
                (own if name.startswith('scale_by') else others).append(_unknown(fn) + some)
    if rule is None and own:
        title, own = own[0], own[1:]
    else:
        title = _title(atoms, rule, decays=decays)
    words = f'{title} ({", ".join(inside)})' if inside else title
    if rate or (scaled and (heart is not None or title == 'SGD' or sign != 1)):
        words += f', learning rate {_scaled(rate, sign)}'
    places = {atom.only for atom in atoms}
    others += [f'on {only} alone' for only in places if only and len(places) == 1]
    told = heart is not None or scaled or title != 'SGD'
    return '; '.join([words, *own, *others] if told else others or ['the gradient itself'])


def _title(atoms: list[Atom], rule: int | None, *, decays: bool) -> str:
    """The name that a chain goes by. decays: whether its rule has a weight decay of its own."""
    names = [atom.name for atom in atoms]
    trust = 'scale_by_trust_ratio' in names
    if rule is None:
        return 'LARS' if trust and 'trace' in names else 'SGD'
    if names[rule] != 'scale_by_adam':
        return RULES[names[rule]]
    if trust:
        return 'LAMB'
    name = 'NAdam' if atoms[rule].values.get('nesterov') else 'Adam'
    return f'{name}W' if decays else name


def _decay(decay: Any) -> tuple[str, bool]:
    """Weight decay in words, and whether there is any."""
    if callable(decay):
        return f'weight decay {schedule_in_words(decay)}', True
    return f'weight decay {number(decay)}', float(decay) != 0


def _values(atom: Atom) -> list[str]:
    """The values of a rule: those that are asked for, and others that are not the defaults."""
    told = {n: v for n, v in atom.values.items() if n in SHOWN} | arguments(atom.fn)
    return [
        f'{name.replace("_", " ")} {in_words(value)}'
        for name, value in told.items()
        if name not in HIDDEN and value not in (None, False) and not callable(value)
    ]


def _unknown(fn: Any) -> str:
    """A transformation that is not known here, by its function."""
    if str(getattr(fn, '__module__', '')).partition('.')[0] != 'optax':
        return custom(fn)
    inner = {
        n: v for n, v in closed_over(fn).items() if hasattr(v, 'update') and hasattr(v, 'init')
    }
    told = [f'{name} {in_words(x)}' for name, x in arguments(fn).items() if name not in inner]
    told += [f'{name}: {_told(x.update)}' for name, x in inner.items()]
    return f'{origin(fn)}({", ".join(told)})'


def _rate(fn: Any) -> tuple[str, float]:
    """The schedule behind a step size, and the factor that optax puts before it."""
    values = closed_over(fn)
    if origin(fn) == 'scale_by_learning_rate':
        return schedule_in_words(values['learning_rate']), float(values['m'])
    return schedule_in_words(fn), 1.0


def _scaled(rate: str, sign: float) -> str:
    """A rate times the constants of the chain."""
    if not rate:
        return number(sign)
    return rate if sign == 1 else f'{number(sign)} times {rate}'
