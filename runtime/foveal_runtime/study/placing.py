"""Which photograph each row of a table is of, and which patient: what the readers of tables share. Opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foveal_runtime.study.codes import BadCode, is_missing
from foveal_runtime.study.finder import Finder
from foveal_runtime.study.problem import row_list

BLANK_PATIENT = (
    "is empty, and both eyes of one person could land on two sides of a split; "
    "fill it in, or let such a row be a patient of its own (--own-patients)"
)


class Placing:
    """The rows of one table, in their order."""

    def __init__(self, names: Iterable[str], *, own_patients: bool) -> None:
        """Args:
        names: photographs, as paths inside the folder.
        own_patients: a row without a patient is one of its own, and not bad.
        """
        self.find = Finder(names)
        self.seen: set[str] = set()
        """Photographs that rows were found for."""
        self.own: list[int] = []
        """Rows that are patients of their own."""
        self._own_patients = own_patients

    def photograph(self, cell: str, column: str) -> str:
        """The photograph of the next row.

        Args:
            cell: what the row calls it.
            column: what to call that cell.

        Raises:
            BadCode: none, several, or one of an earlier row.
        """
        name = self.find(cell)
        if name in self.seen:
            raise BadCode(f"{column} occurs in an earlier row")
        self.seen.add(name)
        return name

    def patient(self, row: int, cell: str, column: str, *, own: str) -> str:
        """Whose photograph the row is of.

        Args:
            row: line of the table.
            cell: what stands for the patient.
            column: what to call that cell.
            own: the patient of a row that names none and is one of its own.

        Raises:
            BadCode: it names none, and has to: without it the photograph could land on both sides of a split.
        """
        if not is_missing(cell):
            return cell
        if not self._own_patients:
            raise BadCode(f"{column} {BLANK_PATIENT}")
        self.own.append(row)
        return own


def own_patients_remark(rows: Sequence[int]) -> list[str]:
    """What to say of rows that are patients of their own; nothing where there are none."""
    return [f"each of these rows has no patient and is one of its own: {row_list(rows)}"] if rows else []
