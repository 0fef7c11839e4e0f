"""Does a linear model forecast as well as recurrent networks and Transformers?

ETTh1 (Zhou et al. 2021): hourly load and oil temperature of a transformer station, twelve months to
train on, four to choose by, four to test on; all seven features, scaled by the training part. Zeng
et al. (2023) find that a linear map of each feature's past (DLinear) beats the Transformers built
for this. Their mean squared errors: DLinear 0.375 at 96 hours; Informer 0.577 and LSTMa 0.650 at
24. Persistence repeats the last hour, `day` the last day.

    jaxdl run forecast                                half an hour on two CPU cores
    jaxdl run forecast --data prices.csv --hours 5    numbers of one's own, a column a feature
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import optax

from jaxdl.claims import better
from jaxdl.data.series import Series, baseline_errors, csv_series, persistence, seasonal
from jaxdl.data.sets.ett import ett_series
from jaxdl.models.forecast import DLinear, FromLast, RNNForecaster, TransformerForecaster
from jaxdl.nn.recurrent import GRU, LSTM
from jaxdl.objectives.forecasting import forecaster, show_forecasts
from jaxdl.objectives.keep_best import keep_best
from jaxdl.study import BatchSize, Count, Eval, Peak, Phase, Steps, Study, each

NETWORKS: dict[str, Callable[[int], nn.Module]] = {  # of the hours to forecast
    'dlinear': DLinear,
    'lstm': lambda hours: FromLast(RNNForecaster(hours, (LSTM(64),))),
    'gru': lambda hours: FromLast(RNNForecaster(hours, (GRU(64),))),
    'transformer': lambda hours: FromLast(TransformerForecaster(hours, dropout=0.2)),
}


def series_of(data: str) -> Series:
    """The series, scaled by its training part."""
    return (ett_series() if data == 'ett' else csv_series(data)).scaled()


def trial(
    network: Literal['dlinear', 'lstm', 'gru', 'transformer'] = 'dlinear',
    hours: Count = 24,
    past: Count = 96,
    data: str = 'ett',
    steps: Steps = 600,
    batch: BatchSize = 32,
    lr: Peak = 1e-3,
) -> Phase:
    """One forecaster, kept where its validation error is least.

    Args:
        network: what is trained.
        hours: how far it forecasts.
        past: how many hours it sees.
        data: 'ett', or a CSV file of one's own.
    """
    series = series_of(data)
    parts = {name: series.windows(name, past=past, future=hours) for name in series.parts}
    opt = optax.adam(optax.cosine_decay_schedule(lr, steps))
    return Phase(
        keep_best(forecaster(NETWORKS[network](hours), opt), 'mse'),
        train=parts['train'].shuffled(batch=batch),
        valid=parts['valid'].in_order(batch=256),
        tests={'test': Eval(parts['test'].in_order(batch=256), show=show_forecasts, every=steps)},
        steps=steps,
    )


def repeated(
    seed: int, hours: int, past: int, data: str, *, by: Callable[..., Any]
) -> dict[str, float]:
    """The errors of a forecast that repeats what was."""
    windows = series_of(data).windows('test', past=past, future=hours)
    return {f'test/{name}': x for name, x in baseline_errors(windows, by).items()}


study = Study(
    question='Does a linear model forecast as well as recurrent networks and Transformers?',
    trial=trial,
    seeds=5,
    arms=each(network=NETWORKS),
    baselines={
        'persistence': partial(repeated, by=persistence),
        'day': partial(repeated, by=seasonal(24)),
    },
    tune={'lr': (3e-4, 1e-3, 3e-3)},
    tuned_by='valid/mse',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2},
    claims=[
        better('dlinear', 'lstm', 'test/mse'),
        better('dlinear', 'gru', 'test/mse'),
        better('dlinear', 'transformer', 'test/mse').against(
            'Zeng et al. 2023: DLinear 0.375 at 96 hours, before Transformers built for it'
        ),
        better('dlinear', 'day', 'test/mse'),
    ],
)
