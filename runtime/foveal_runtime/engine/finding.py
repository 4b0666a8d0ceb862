"""One thing that was looked at, how grave it is, and what to do. Looks at nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal_runtime.errors import FovealError


class Status(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Works, with a drawback that the finding names."""
    WRONG = "wrong"
    """Does not work; the finding says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    says: str
    mend: str = ""
    """What to do; empty when nothing has to be done."""

    def to_json(self) -> dict[str, Any]:
        """A JSON document."""
        return asdict(self)


def healthy(findings: Iterable[Finding]) -> bool:
    """True when nothing is wrong; warnings are not."""
    return all(finding.status is not Status.WRONG for finding in findings)


def refused(name: str, error: FovealError) -> Finding:
    """What is wrong, with the mend that every message of foveal ends with."""
    says, _, mend = str(error).rpartition("; ")
    return Finding(name=name, status=Status.WRONG, says=says or mend, mend=mend if says else "")
