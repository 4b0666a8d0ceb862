"""`--json`, the flag of every command that prints a result, and how its document is printed. Makes no document."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative=())]


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
