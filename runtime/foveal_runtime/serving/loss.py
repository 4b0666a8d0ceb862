"""What becomes of the studies that a lost worker had: run again, told to send again, or refused. Pure: no loop, no clock.

A batch that killed its worker is run again in halves, each with nothing beside it, until the study that kills stands alone; a
study that did so twice is refused. Of a worker that hung it is known which batch hung: the others are not to blame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from foveal_runtime.serving.strikes import Strikes


class Suspect(Protocol):
    """A study, as far as blame goes."""

    key: bytes
    """Identity of its content."""
    group: object
    """Studies of one group run together and with nobody else; None runs with any."""


_S = TypeVar("_S", bound=Suspect)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(Generic[_S]):
    """What becomes of each study that the worker had."""

    again: list[_S] = field(default_factory=list)
    """To be run again, in this order and before what waits; their groups say with whom."""
    told: list[_S] = field(default_factory=list)
    """Their callers are told that the worker was lost, and may send again."""
    refused: list[_S] = field(default_factory=list)
    """Never run again."""
    culprits: list[_S] = field(default_factory=list)
    """Of all these, those that it was for certain: they ran alone, or were seen."""


def judge(
    strikes: Strikes, batches: Sequence[Sequence[_S]], *, hung: Sequence[_S] | None = None, closing: bool = False
) -> Verdict[_S]:
    """Divide what a lost worker had in work.

    Args:
        strikes: whom to remember the loss against; changed.
        batches: what ran when it died; one of them killed it, nobody knows which. Of a worker that hung: the other batches.
        hung: the batch over which the worker hung; None when it died.
        closing: nothing is run again.
    """
    company = [job for batch in batches for job in batch]
    if hung is not None:
        strikes.lost([job.key for job in hung])
        refused = [job for job in hung if len(hung) == 1 and strikes.refused(job.key)]
        # The callers of a batch that hung have waited long enough.
        told = [job for job in hung if job not in refused]
        culprits = [*hung] if len(hung) == 1 else []
        if closing:
            return Verdict(told=told + company, refused=refused, culprits=culprits)
        return Verdict(again=company, told=told, refused=refused, culprits=culprits)
    if not company:
        return Verdict()
    strikes.lost([job.key for job in company])
    if len(company) == 1:
        refused = company if strikes.refused(company[0].key) else []
        return Verdict(refused=refused, told=[] if refused else company, culprits=company)
    if closing:
        return Verdict(told=company)
    middle = len(company) // 2
    for half in (company[:middle], company[middle:]):
        group = object()
        for job in half:
            job.group = group
    return Verdict(again=company)
