"""`foveal shadow report`: how a bundle in the shadow of a running server graded the same studies. Reads counts, asks nobody."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cyclopts import App

from foveal_runtime.cli.document import Json, print_json

if TYPE_CHECKING:
    from foveal_runtime.serving.shadow import Comparison

app = App(name="shadow", help="What a bundle in the shadow of a server (`foveal serve --shadow`) would have said.")

_Z = 1.959964
"""Of a 95 % interval."""


@app.command
def report(*, json: Json = False) -> None:
    """Compare the grades of a shadow with those that were sent, over all studies since both bundles met.

    A running server writes its counts every ten seconds and when it stops; no value of a study is among them. Shares carry
    Wilson's 95 % interval. Differences are no errors: only readers' grades tell which bundle is right.

    For example:

        foveal serve bundle --shadow candidate
        foveal shadow report

    Args:
        json: print one JSON document.
    """
    from foveal_runtime.serving.shadow import read_comparisons, shadow_folder

    found = read_comparisons()
    if json:
        print_json({"comparisons": [document(comparison) for comparison in found]})
        return
    if not found:
        sys.stdout.write(f"nothing was compared yet; `foveal serve BUNDLE --shadow OTHER` writes to {shadow_folder()}\n")
    sys.stdout.write("\n".join(text(comparison) for comparison in found))


def document(comparison: Comparison) -> dict[str, Any]:
    """Everything that is known of a comparison, as JSON."""
    from dataclasses import asdict

    return {
        **asdict(comparison),
        "graded": comparison.graded,
        "same_grade": comparison.same_grade,
        "kappa": comparison.kappa,
        "probability_mean": comparison.probability_sum / comparison.graded if comparison.graded else None,
    }


def text(comparison: Comparison) -> str:
    """A comparison for people."""
    c, graded = comparison, comparison.graded
    when = " to ".join(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (c.since, c.until))
    kappa = "-" if c.kappa is None else f"{c.kappa:.3f}"
    mean = c.probability_sum / graded if graded else 0.0
    rows = [
        f"bundle {c.default_sha256[:12]} answered, {c.shadow_sha256[:12]} in its shadow, {when} UTC",
        f"  studies compared        {c.studies}, skipped for want of time {c.skipped}",
        f"  graded by both          {graded}, quadratic kappa {kappa}",
        f"  same ICDR grade         {_share(c.same_grade, graded)}",
        f"  referred by answer      {_share(c.refer_default_alone, graded)} and not by the shadow",
        f"  referred by shadow      {_share(c.refer_shadow_alone, graded)} and not by the answer",
        f"  referable probability   differs by {mean:.4f} on average, {c.probability_max:.4f} at most",
        f"  ungradable              both {c.ungradable_both}, answered alone {c.ungradable_default_alone}, "
        f"shadow alone {c.ungradable_shadow_alone}",
        f"  failed                  answered alone {c.failed_default_alone}, shadow alone {c.failed_shadow_alone}",
        "  ICDR grade answered (down) and in the shadow (across)",
        *("    " + " ".join(f"{count:6d}" for count in row) for row in c.icdr),
    ]
    return "\n".join(rows) + "\n"


def _share(count: int, total: int) -> str:
    """A share with Wilson's interval (Wilson 1927)."""
    if not total:
        return "-"
    share, z2 = count / total, _Z * _Z / total
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return f"{count} ({share:.1%} [{max(0.0, middle - half):.1%}, {min(1.0, middle + half):.1%}])"
