"""`foveal verify`: does this bundle, on this machine, still answer as PyTorch did? Golden replay here; `--run` is export's."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle


def verify(
    bundle: Path,
    /,
    *,
    run: Path | None = None,
    data: list[str] | None = None,
    report: Path | None = None,
    public_key: Path | None = None,
    provider: str = "cpu",
    threads: Annotated[int | None, Parameter(name="--threads")] = None,
    json: Json = False,
) -> None:
    """Check a bundle: its hashes, then its golden studies against PyTorch's stored outputs, on this machine.

    With --run the PyTorch model itself is asked again, on real data (needs foveal[export]).
    Exit code 0 in tolerance, 1 out of tolerance, 2 unusable.

    For example:

        foveal verify runs/edge/bundle-int8
        foveal verify runs/edge/bundle-int8 --run runs/edge --data idrid:/data/idrid --report parity.json

    Args:
        bundle: folder that `foveal export` wrote.
        run: the run the bundle was exported from.
        data: data sets to compare on, `kind:path`; may be repeated. Default with --run: the run's own validation data.
        report: also write the report to this file, as JSON.
        public_key: PEM public key (Ed25519) that must have signed the bundle.
        provider: cpu, openvino, cuda, tensorrt, tensorrt-rtx, or auto: the best that is there.
        threads: threads in one graph call; default: every core this process may use.
        json: print the report as one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.honesty import warnings_of
    from foveal_runtime.bundle.signing import read_public_key

    key = None if public_key is None else read_public_key(public_key)
    opened = Bundle.open(bundle, signed_by=key)
    for warning in warnings_of(opened.manifest):
        sys.stderr.write(f"warning: {warning}\n")
    if key is not None:
        sys.stderr.write(f"signed by {public_key}\n")
    elif opened.is_signed:
        sys.stderr.write("signed, by whom was not checked: give --public-key\n")
    if run is not None:
        from foveal_runtime.cli.rooms import import_room

        import_room("foveal_export.cli", extra="export").verify_against_run(
            bundle, run=run, data=data, report=report, json=json
        )
        return
    if data:
        raise ConfigError("--data needs --run: golden replay uses the studies inside the bundle; add --run RUN")
    _replay(opened, provider=provider, threads=threads, report=report, json=json)


def _replay(opened: Bundle, *, provider: str, threads: int | None, report: Path | None, json: bool) -> None:
    """Replay the golden studies and say how far they are from PyTorch's answers.

    Raises:
        CheckFailed: out of tolerance.
    """
    from foveal_runtime.engine.choice import AUTO, resolve
    from foveal_runtime.engine.compiled import find_compiled
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.selftest import self_test

    chosen = resolve(provider, opened)
    if provider == AUTO:
        sys.stderr.write(f"provider {chosen.provider.value}: {chosen.why}\n")
    compiled = find_compiled(opened, chosen.provider.value)
    if compiled is not None:
        sys.stderr.write(f"through the graphs that `foveal compile` made: {compiled.folder}\n")
    engine = Engine(opened, provider=chosen.provider, threads=threads, compiled=compiled)
    if engine.bundle.served:
        sys.stderr.write(
            f"served of each graph: {', '.join(f'{name} {each}' for name, each in engine.bundle.served.items())}\n"
        )
    found = self_test(engine)
    document = {
        "bundle": opened.sha256,
        "space_id": opened.manifest.space_id,
        "provider": chosen.provider.value,
        "variants": dict(engine.bundle.served),
        **found.to_json(),
    }
    if report is not None:
        report.write_text(json_module.dumps(document, indent=1) + "\n", encoding="utf-8")
    if json:
        print_json(document)
    sys.stderr.write(found.summary() + "\n")
    for drift in found.failures:
        where = f"study {drift.study} ({drift.subset})" if drift.study else "all studies"
        sys.stderr.write(f"  {where}: {drift.quantity} is {drift.got:.6g}, the limit is {drift.limit:.6g}\n")
    if not found.passed:
        raise CheckFailed(
            f"{opened.path} is out of tolerance on this machine in {len(found.failures)} places; export it for this provider, "
            f"or do not serve it here"
        )
    sys.stderr.write("verified: this machine answers as the PyTorch reference did\n")
