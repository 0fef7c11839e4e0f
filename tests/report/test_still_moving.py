"""Whether an arm still moved at its end, on curves of which that is known."""

import numpy as np
import pytest

from jaxdl.claims import better
from jaxdl.report.finished import Curve
from jaxdl.report.result import write_report
from jaxdl.report.rows import arm_grid, still_moved
from jaxdl.report.trained import change_at_the_end, still_moving

STEPS = np.arange(10, 101, 10)
NOISE = np.random.default_rng(0).normal(size=(10, 5))


class Arm:
    """What is looked at of a finished arm."""

    def __init__(self, curves, *, better=None, ends=None):
        self.curves = {name: Curve(STEPS[: len(x)], np.asarray(x)) for name, x in curves.items()}
        self.better, self.ends = better or {}, ends or {}


def line(slope):
    """A curve that goes one way to the end, from 1 over 10 looks, and five seeds around it."""
    return (1 + slope * (STEPS - 10) / 90)[:, None] + 1e-3 * NOISE


def settled(after):
    """One that falls from 1 to 0 until a look, and then stays."""
    return np.clip(1 - (STEPS - 10) / (after - 10), 0, 1)[:, None] + 1e-3 * NOISE


def test_the_change_is_the_slope_times_the_length_of_the_fifth():
    values = np.stack([3 * STEPS, -STEPS, 0 * STEPS], 1).astype(float)
    # Of 100 steps the last 20; what was before does not matter.
    values[:7] = 99
    np.testing.assert_allclose(change_at_the_end(STEPS, values), [60, -20, 0], atol=1e-12)
    # Least squares over 80, 90, 100: the look between has no part in the slope of three.
    bent = np.array([0.0, 5.0, 2.0])
    assert change_at_the_end(np.array([80, 90, 100]), bent[:, None]) == pytest.approx([2.0])
    # No look at four fifths: the line begins at the one before.
    every_quarter = np.array([25, 50, 75, 100])
    values = np.array([[9.0], [9.0], [1.0], [2.0]])
    assert change_at_the_end(every_quarter, values) == pytest.approx([20 / 25])


def test_a_curve_that_moves_is_named_with_its_change_and_its_part_of_the_way():
    arm = Arm({'train/loss': line(-1), 'train/accuracy': line(1)})
    (said,) = still_moving(arm)
    # Two of the nine stretches between ten looks are 22 % of the way.
    assert said.startswith('train/loss falls (−0.22') and said.endswith(', 22 % of its way)')
    (said,) = still_moving(Arm({'valid/error': line(1)}, better={'valid/error': 'lower'}))
    assert said.startswith('valid/error rises (+0.22')


@pytest.mark.parametrize(
    ('curve', 'moves'),
    [
        (settled(80), False),  # the look at four fifths is the first of the plain
        (settled(90), True),
        (line(0), False),
        # 1.9 % and 2.4 % of the way, without noise: the change of three looks is that of its ends.
        (np.array([1.0] + [0.019] * 7 + [0.0095, 0.0])[:, None] * np.ones(5), False),
        (np.array([1.0] + [0.024] * 7 + [0.012, 0.0])[:, None] * np.ones(5), True),
        # A tenth of the way, and in the noise of the seeds.
        (line(-1) + np.array([3, -3, 2, -2, 0]) * (STEPS[:, None] / 100) ** 9, False),
    ],
)
def test_what_counts_as_moving(curve, moves):
    assert bool(still_moving(Arm({'train/loss': curve}))) is moves


def test_noise_alone_seldom_moves():
    rng = np.random.default_rng(1)
    arms = [
        Arm({'train/loss': np.exp(-STEPS / 5)[:, None] + 0.3 * rng.normal(size=(10, 5))})
        for _ in range(400)
    ]
    share = np.mean([bool(still_moving(arm)) for arm in arms])
    assert 0.02 < share < 0.08  # 5 % by the interval


def test_which_curves_are_watched():
    curves = {
        name: line(-1)
        for name in (
            *('train/critic/loss', 'train/generator/loss', 'train/norm'),
            *('valid/loss', 'valid/steps', 'test/loss', 'test/error'),
        )
    }
    better = dict.fromkeys(curves, 'lower')
    del better['valid/steps']

    def names(arm, *judged):
        return [said.split()[0] for said in still_moving(arm, judged)]

    losses = ['train/critic/loss', 'train/generator/loss']
    assert names(Arm(curves, better=better), 'test/loss') == [*losses, 'valid/loss']
    del curves['valid/loss'], curves['valid/steps']
    assert names(Arm(curves, better=better), 'test/loss') == [*losses, 'test/loss']
    assert names(Arm(curves, better=better)) == losses


def test_only_the_last_phase_counts():
    before = np.concatenate([line(-1)[:5], np.ones((5, 5)) + 1e-3 * NOISE[:5]])
    assert still_moving(Arm({'train/loss': before}, ends={'pretrain': 50})) == []
    # Much of its own way, and little of both.
    late = np.concatenate([np.full((5, 5), 99.0), line(-1)[5:]])
    assert still_moving(Arm({'train/loss': late}, ends={'pretrain': 50}))


@pytest.mark.parametrize(
    'curve', [line(-1)[:, :1], line(-1)[:2], np.where(STEPS[:, None] == 90, np.nan, line(-1))]
)
def test_what_cannot_tell_is_unknown(curve):
    assert still_moving(Arm({'train/loss': curve})) is None
    assert still_moving(Arm({'train/loss': curve, 'valid/a': line(0)}, better={'valid/a': 1})) == []


def test_the_report_marks_the_steps_and_says_what_moved(tmp_path, monkeypatch):
    from test_report import page, write_arm

    monkeypatch.setattr(page, '_save', lambda folder, name, figure, alt: page.Shown('x', '', alt))
    moved = {'a': ['train/loss falls (−0.01, 5 % of its way)'], 'b': [], 'c': None}
    monkeypatch.setattr(
        'jaxdl.report.result.still_moving', lambda arm, judged: moved[arm.name] and [*judged]
    )
    for name in moved:
        write_arm(tmp_path / name, [0.5, 0.6, 0.8])
    result = write_report(
        tmp_path, study='t', question='?', claims=[better('a', 'b', 'test/accuracy')], command='c'
    )
    assert [result['arms'][name]['moving'] for name in 'abc'] == [['test/accuracy'], [], None]
    steps = [row[4].text for row in arm_grid(result).rows]
    assert steps == ['10 †', '10', '10']
    told = still_moved(result)
    assert told[0] == '† a: test/accuracy' and 'cannot be told of c' in told[1]
    for name in ('report.md', 'report.html'):
        text = (tmp_path / name).read_text()
        assert '10 †' in text and '† a: test/accuracy' in text and 'cannot be told of c' in text
