"""Recorded results judged again: by the claims that a study has now, from the numbers there are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.files import jsonable
from jaxdl.report.finished import Arm
from jaxdl.report.verdicts import judged
from jaxdl.report.way import Times
from jaxdl.study import Claim

SAME = ('text', 'arms', 'metric', 'judge', 'equal')  # what makes a claim the one it was


class RecordedArm(Arm):
    """An arm as a recorded result holds it: its final numbers, and nothing else."""

    def __init__(self, name: str, result: Mapping[str, Any]) -> None:
        told = result['arms'][name]
        self.name = name
        self.metrics = {
            metric: np.array([np.nan if x is None else x for x in found['per_seed']], np.float64)
            for metric, found in told['metrics'].items()
        }
        count = len(next(iter(self.metrics.values()), ()))
        self.seeds = list(told.get('seeds') or result['seeds'][:count])
        self.better = dict(result['better'])
        self.labels, self.drawn = {}, frozenset()
        self.times = {name: _times(it) for name, it in told.get('times', {}).items()}
        self.lengths = dict(told.get('lengths', {}))
        self.together = np.array(told.get('together', [count] * count))
        self.config = {'phases': [], 'seeds': self.seeds}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """None: a record has no values of single examples."""
        return {}

    @property
    def first_starts(self) -> list[dict[str, Any]]:
        """None: what stood before them is said of each claim that was recorded."""
        return []


def _times(told: Mapping[str, Any]) -> Times:
    """Times as a recorded result has them: null is never."""
    first = [np.inf if time is None else time for time in told['first']]
    return Times(np.array(first, np.float64), np.array(told['length'], np.float64))


def rejudged(result: Mapping[str, Any], claims: Sequence[Claim]) -> dict[str, Any]:
    """A recorded result with the verdicts on `claims`, from its own numbers alone.

    A claim that it had keeps what only the run could say of it: whether it stood before the first
    seed, and the interval over examples. One that it had not is exploratory.
    """
    arms = [RecordedArm(name, result) for name in result['arms']]
    found = jsonable(judged(claims, arms, unfinished={}, told=result['arms']))
    for claim in found:
        same = [old for old in result['claims'] if all(old.get(k) == claim.get(k) for k in SAME)]
        claim['when'] = same[0].get('when', '') if same else 'exploratory'
        for name in ('ci95_examples', 'examples'):
            if same and name in same[0]:
                claim[name] = same[0][name]
    return {**result, 'claims': found}


def changed_verdicts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What is judged otherwise now, a line for each claim."""
    was, now = ({it['text']: it['verdict'] for it in x['claims']} for x in (before, after))
    lines = []
    for text, verdict in now.items():
        if text not in was:
            lines.append(f'{text}: {verdict}, a claim that was not there')
        elif verdict != was[text]:
            lines.append(f'{text}: {was[text]} before, {verdict} now')
    return lines + [f'{text}: no claim any more' for text in was if text not in now]
