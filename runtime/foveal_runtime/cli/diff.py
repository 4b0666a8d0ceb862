"""`foveal diff`: may this bundle replace that one? Asks both the same studies, and holds what differs against an envelope."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.change_record import change_record
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import decimals, fitted, width
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from foveal_runtime.engine.difference import Asked

_DROPS = ("kappa", "sensitivity", "specificity")


def diff(
    old: Path,
    new: Path,
    /,
    *,
    envelope: Path | None = None,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    public_key: Path | None = None,
    threads: Annotated[int | None, Parameter(name="--threads")] = None,
    record: Path | None = None,
    json: Json = False,
) -> None:
    """Compare a bundle with the one that it is to replace: grades, referrals, kappa, thresholds, vectors, size and speed.

    Both are asked the golden studies of both, and with --data labelled ones. Exit code 0 inside the envelope, 1 outside, 2
    unusable. Without a file the envelope is the default one, which is printed with the verdict (docs/operations.md).

    For example:

        foveal diff bundles/served bundles/candidate
        foveal diff bundles/served bundles/candidate --envelope change.toml --data folder:/data/clinic --json

    Args:
        old: the bundle that is served.
        new: the bundle that is to replace it.
        envelope: TOML file of limits, for example `icdr_flips = 0.01`; what it leaves out keeps its default.
        data: data set as kind:path; repeat for several. Photographs that fail the gradability check are left out.
        public_key: PEM public key (Ed25519) that must have signed both.
        threads: threads in one graph call; default: every core this process may use.
        record: Markdown file to write: the change record of docs/change-control.md, filled; the decision is left to people.
        json: print the report as one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.signing import read_public_key
    from foveal_runtime.engine import change
    from foveal_runtime.engine.difference import Pair
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.envelope import LABELLED, Envelope, read_envelope
    from foveal_runtime.engine.selftest import self_test

    limits, named = (Envelope(), frozenset[str]()) if envelope is None else read_envelope(envelope)
    if not data and (unjudged := sorted(named & LABELLED)):
        raise ConfigError(f"{envelope} limits {', '.join(unjudged)}, which needs labelled studies; give some with --data SPEC")
    key = None if public_key is None else read_public_key(public_key)
    engines = [Engine(Bundle.open(path, signed_by=key), threads=threads) for path in (old, new)]
    pair = Pair(*engines)
    if not pair.subsets:
        raise ConfigError(f"{old} and {new} were trained for no modality subset in common, so nothing can be compared")
    answered = change.Answered(
        golden=pair.golden(),
        data=pair.data(_studies(data)) if data else {},
        timed=pair.timed(),
        replayed=self_test(pair.new).passed,
    )
    document = change.report(pair, answered, limits)
    if missing := sorted((named & LABELLED) - {row["quantity"] for row in document["judged"]}):
        raise ConfigError(f"{envelope} limits {', '.join(missing)}, and no study of --data has the labels for it; give others")
    if record is not None:
        record.write_text(change_record(document, datetime.datetime.now(datetime.UTC)), encoding="utf-8")
    if json:
        print_json(document)
    else:
        sys.stdout.write(fitted(screen(document), width()))
    if not document["inside"]:
        outside = [row for row in document["judged"] if not row["inside"]]
        quantities = ", ".join(dict.fromkeys(row["quantity"] for row in outside))
        raise CheckFailed(
            f"{new} is outside the envelope ({quantities}); do not replace {old} with it, or declare another envelope"
        )


def _studies(specs: list[str]) -> list[Asked]:
    from foveal_runtime.cli.rooms import samples_of
    from foveal_runtime.engine.difference import Asked

    return [Asked(load=sample.study, icdr=sample.labels.icdr) for sample in samples_of(specs)]


def screen(document: dict[str, Any]) -> str:
    """The report for people."""
    old, new, sizes = document["old"], document["new"], document["bytes"]
    rows = [
        f"OLD {old['bundle']} ({old['profile']} {old['precision'].upper()}, {old['sha256'][:12]})",
        f"NEW {new['bundle']} ({new['profile']} {new['precision'].upper()}, {new['sha256'][:12]})",
        "vectors are comparable: one embedding space"
        if document["same_space"]
        else "vectors are not comparable: another embedding space, an archive has to be embedded again",
        f"size {sizes['old'] / 1e6:.1f} to {sizes['new'] / 1e6:.1f} MB",
        *(f"lost: {lost}" for lost in document["lost"]),
    ]
    for title, parts in (("golden studies", document["golden"]), ("data", document["data"])):
        for name, part in parts.items():
            rows.append(f"{title} {name}: {_answers(part)}")
    rows += [f"threshold {p['name']} of {p['subset']}: {p['old']:.3f} to {p['new']:.3f}" for p in document["thresholds"]]
    rows += [f"a study of {name}: {ms['old']:.1f} to {ms['new']:.1f} ms" for name, ms in document["ms_per_study"].items()]
    rows.append("held against the envelope:")
    for row in document["judged"]:
        limit = "any" if row["limit"] is None else f"{row['limit']:.4g}"
        verdict = "inside " if row["inside"] else "OUTSIDE"
        rows.append(f"  {verdict} {row['quantity']}: {row['got']:.4g}, limit {limit} ({row['where']})")
    rows.append("inside the envelope" if document["inside"] else "outside the envelope")
    return "\n".join(rows) + "\n"


def _answers(part: dict[str, Any]) -> str:
    words = [f"{part['studies']} studies"]
    words += [f"{part[left]} {left}" for left in ("ungradable", "unusable") if part[left]]
    words += [f"{head.upper()} changed {found['changed']}" for head, found in part["heads"].items()]
    if "referable" in part:
        words.append(f"referral changed {part['referable']['changed']}")
    if part.get("kappa") is not None:
        words.append(f"kappa between them {part['kappa']:.3f}")
    words += [f"{kind} cosine {found['min_cosine']:.5f} at least" for kind, found in part["vectors"].items()]
    labelled = part.get("labelled")
    if labelled:
        words += [
            f"{name} against labels {decimals(labelled['old'][name])} to {decimals(labelled['new'][name])}" for name in _DROPS
        ]
    return ", ".join(words)
