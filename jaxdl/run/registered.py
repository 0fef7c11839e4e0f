"""Which claims stood before the first seed ran: each start of a run notes those of its study.

A claim that was written after its numbers could be seen is *exploratory*, however small its p: it
may have been chosen among many because of them. One that was there before is *confirmatory*.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from jaxdl.study import Claim

When = Literal['confirmatory', 'exploratory']


def digest(claim: Claim) -> str:
    """A digest of what a claim says and of how it is judged: its text, judge, metric and arms."""
    said = [claim.text, _judge(claim.judge), claim.metric, *claim.arms, claim.equal]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def digests(claims: Iterable[Claim]) -> list[str]:
    """Those of some claims, for env.json."""
    return [digest(claim) for claim in claims]


def when(claim: Claim, first_starts: Sequence[Mapping[str, Any]]) -> When:
    """Whether a claim was there at each of some starts: the first of every lot of seeds it needs.

    A start that noted no claims, as those of an older jaxdl, knew of none.
    """
    known = digest(claim)
    before = bool(first_starts) and all(known in it.get('claims', []) for it in first_starts)
    return 'confirmatory' if before else 'exploratory'


def _judge(judge: Any) -> str:
    """A judge as the same text at every start; of a function of a person's own its source."""
    if dataclasses.is_dataclass(judge):
        return repr(judge)
    name = f'{getattr(judge, "__module__", "")}:{getattr(judge, "__qualname__", "")}'
    try:
        return f'{name}\n{inspect.getsource(judge)}'
    except (OSError, TypeError):  # made by exec, or no function
        return name
