"""`foveal serve`: the gRPC server on this machine. Everything heavy is imported when it starts."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.ray_flags import ServeOnRay
from foveal_runtime.errors import ConfigError, FovealError
from foveal_runtime.sandbox.confine import Sandbox

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.rpc.doors import OpenDoor
    from foveal_runtime.rpc.server import Server
    from foveal_runtime.serving.config import ServeConfig


def serve(
    bundle: Path | None = None,
    /,
    *,
    address: str | None = None,
    http: str | None = None,
    store: str | None = None,
    store_replica: Annotated[list[str] | None, Parameter(negative=())] = None,
    store_password_file: Path | None = None,
    collection: str | None = None,
    hash_patients: Path | None = None,
    patient_references: Literal["hashed", "plain"] | None = None,
    audit: Path | None = None,
    drift: Path | None = None,
    log_format: str | None = None,
    access_log: str | None = None,
    metrics: str | None = None,
    traces: str | None = None,
    provider: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    max_batch: int | None = None,
    memory: str | None = None,
    canary: Path | None = None,
    canary_share: float | None = None,
    shadow: Path | None = None,
    config: Path | None = None,
    check_config: Annotated[bool, Parameter(negative=())] = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    tokens: Path | None = None,
    reflection: Annotated[bool, Parameter(negative=())] = False,
    insecure: Annotated[bool, Parameter(negative=())] = False,
    operating_point: str | None = None,
    abstain: Annotated[list[Literal["out-of-distribution", "undecided"]] | None, Parameter(negative=())] = None,
    allow_unverified: Annotated[bool, Parameter(negative=())] = False,
    allow_untrained: Annotated[bool, Parameter(negative=())] = False,
    require_signature: Path | None = None,
    allow_unsigned: Annotated[bool, Parameter(negative=())] = False,
    quality: Path | None = None,
    sandbox: Sandbox | None = None,
    cache_entries: int | None = None,
    self_test_every: Annotated[float | None, Parameter(name="--self-test-every")] = None,
    drain: Annotated[float | None, Parameter(name="--drain")] = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative=())] = False,
    json: Json = False,
    cluster: ServeOnRay | None = None,
) -> int:
    """Serve a bundle: grading and embedding, and with --store an archive that can be searched.

    The bundle's hashes are checked and its golden studies replayed before the server reports SERVING.
    SIGTERM finishes what was accepted; SIGHUP, or pointing a symbolic link elsewhere, loads another bundle, no call dropped.

    For example:

        foveal serve runs/edge/bundle-int8
        foveal serve runs/edge/bundle-int8 --store ./archive --address 127.0.0.1:50051
        foveal serve bundle --address 0.0.0.0:50051 --tls-cert server.pem --tls-key server.key --tokens tokens.json \\
            --require-signature signing.pub

    Args:
        bundle: folder that `foveal export` wrote.
        address: HOST:PORT to listen on, or unix:PATH; default 127.0.0.1:50051.
        http: HOST:PORT where the same calls are offered over HTTP with JSON and photographs as files (docs/http.md); needs
            foveal[http].
        store: folder of the embedded PostgreSQL, or a postgresql:// URL without a password.
        store_replica: postgresql:// URL of a streaming standby of that store, which answers searches and listings while it is
            well and has what was written; may be repeated.
        store_password_file: file with the password of these URLs; otherwise PGPASSFILE, ~/.pgpass or a service says it.
        collection: collection of the archive to serve; made when it is new. Default "default".
        hash_patients: file of the key with which patient references are hashed (HMAC-SHA256), made where it is missing;
            default: patients.key in the store's folder.
        patient_references: hashed (default) or plain: how a new collection keeps them; what a collection was made with stays.
        audit: folder of the audit trail, of this server alone: nothing is answered without its record; see `foveal audit`.
        drift: folder where counts of each camera's photographs are kept, of this server alone; an alarm is told when they are
            no longer what they were, see `foveal drift report`.
        log_format: of the log on stderr: text (default), or json with one object a line.
        access_log: file that gets a line a call, apart from the log; - is stdout. Default: in the log, with -v.
        metrics: HOST:PORT where Prometheus finds metrics; they hold no value of a caller.
        traces: http:// or https://HOST:PORT of an OpenTelemetry collector (OTLP over gRPC); needs foveal[otel].
        provider: cpu (default), openvino, cuda, tensorrt or tensorrt-rtx; auto is the best that is there, named at the start.
        workers: worker processes; default: what `foveal compile` measured, else one a core, as far as the memory holds them.
        threads: threads of a worker; default: as measured, else the cores divided among the workers.
        max_batch: studies in one batch; default: 2 on a CPU, on a GPU as measured, else 16.
        memory: what the worker processes may take together, such as 512MB; default: half of what the machine has free.
        canary: second bundle on trial; while healthy it answers a share of the calls that grade, and those that ask for it in
            their metadata (x-foveal-model: canary). Vectors come from the first bundle.
        canary_share: of the calls that grade, 0 to 1; default 0.05.
        shadow: second bundle whose grades of the same studies are compared with the first's and never sent; see
            `foveal shadow report`.
        config: TOML file with any of these settings and more (docs/reference/configuration.md); variables of the environment
            (FOVEAL_SERVE_ADDRESS, …) win over it, flags over both.
        check_config: print every setting and where it was set, and serve nothing; exit code 2 when something does not fit.
        tls_cert: PEM certificate chain.
        tls_key: PEM private key, which nobody but its owner may read. It and the certificate are read again when they change.
        client_ca: PEM certificates; only clients that show one signed by these are served.
        tokens: file of `foveal token`: who may make which calls. Without it everybody who reaches the server may make all.
        reflection: tell the contract to whoever asks, as grpcurl does.
        insecure: serve plain text to other machines, tokens and metrics included.
        operating_point: which of the bundle's operating points decides on referrals (`foveal inspect` lists them); default:
            the first one of each modality subset. A call may name another.
        abstain: reason to withhold an answer, so that a person has to look; may be repeated. out-of-distribution: photographs
            unlike those that the model was trained on; undecided: nothing is referred, but a referable grade is possible.
        allow_unverified: also answer with grades of heads that too few held-out studies were there to judge; each answer then
            names those heads.
        allow_untrained: also answer with grades that held-out studies can't tell from chance (a model that is hardly trained);
            each answer then names those heads.
        require_signature: PEM public key; a bundle that it has not signed is refused, also when it is loaded later.
        allow_unsigned: serve other machines a bundle that no key has vouched for; every answer says so.
        quality: the clinic's threshold of the gradability check, as `foveal quality fit` wrote it.
        sandbox: auto (default) takes from worker processes what they do not need as far as this machine allows: network, files,
            programs, root's powers; strict refuses a machine that does not allow all of it; off takes nothing.
        cache_entries: answers to equal studies kept; 0 keeps none.
        self_test_every: seconds between two self-tests; 0 tests at the start alone. Default 3600.
        drain: seconds that accepted work may take after SIGTERM. Default 30.
        verbose: log more than the server's own events, warnings and errors; without --access-log a line for every call.
        json: print one JSON document once it serves: the address, with port 0 the port it got, and what is served.
        cluster: see docs/deployment.md.
    """
    import os

    # The server forks for initdb alone, which never calls gRPC: with gRPC's fork handlers that child now and then fails.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

    from foveal_runtime.serving.memory import megabytes
    from foveal_runtime.serving.settings import read_settings
    from foveal_runtime.store.location import refuse_password

    for location in (store, *(store_replica or ())):
        if location is not None:
            refuse_password(location)
    found = read_settings(
        config,
        {
            "bundle": bundle,
            "address": address,
            "http": http,
            "store": store,
            "store_replica": None if store_replica is None else tuple(store_replica),
            "store_password_file": store_password_file,
            "collection": collection,
            "hash_patients": hash_patients,
            "patient_references": patient_references,
            "audit": audit,
            "drift": drift,
            "log_format": log_format,
            "access_log": access_log,
            "metrics": metrics,
            "traces": traces,
            "provider": provider,
            "workers": workers,
            "threads": threads,
            "max_batch": max_batch,
            "memory_mb": None if memory is None else megabytes(memory),
            "canary": canary,
            "canary_share": canary_share,
            "shadow": shadow,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "client_ca": client_ca,
            "tokens": tokens,
            "reflection": reflection or None,
            "insecure": insecure or None,
            "operating_point": operating_point,
            "abstain": abstain,
            "allow_unverified": allow_unverified or None,
            "allow_untrained": allow_untrained or None,
            "require_signature": require_signature,
            "allow_unsigned": allow_unsigned or None,
            "quality": quality,
            "sandbox": sandbox,
            "cache_entries": cache_entries,
            "self_test_every_s": self_test_every,
            "drain_s": drain,
        },
        os.environ,
    )
    if check_config:
        from foveal_runtime.cli.effective import document, toml

        if json:
            print_json({"settings": document(found)})
        else:
            sys.stdout.write(toml(found))
        return 0
    return _run(found.config, cluster or ServeOnRay(), verbose=verbose, json=json)


def _run(settings: ServeConfig, cluster: ServeOnRay, *, verbose: bool, json: bool) -> int:
    """Serve until SIGTERM; the exit code."""
    import asyncio
    import logging

    from foveal_runtime.cli.logs import set_up
    from foveal_runtime.lifecycle import Event, tell

    as_json = settings.log_format == "json"
    set_up(as_json=as_json, verbose=verbose, access_log=settings.access_log)
    options = cluster.options()
    if options is not None:
        from foveal_runtime.cli.serve_ray import serve_on_ray

        return serve_on_ray(settings, options, json=json)
    from foveal_runtime.rpc.running import run
    from foveal_runtime.rpc.server import Server

    async def serve_until_told() -> None:
        server = Server(settings, _http_door() if settings.http else None)
        await run(server, partial(_announce, as_json=as_json, json=json))

    try:
        asyncio.run(serve_until_told())
    except FovealError as error:
        if not as_json:
            raise
        tell(Event.FAILED, str(error), level=logging.ERROR)
        return error.exit_code
    return 0


def _http_door() -> OpenDoor:
    """What opens the HTTP side.

    Raises:
        ConfigError: its libraries are not installed.
    """
    try:
        from foveal_runtime.http.door import HttpDoor
    except ModuleNotFoundError as error:
        raise ConfigError(f"--http needs {error.name!r}, which is not installed; install foveal[http]") from None
    return HttpDoor


def _announce(server: Server, opened: Bundle, *, as_json: bool, json: bool) -> None:
    """Say what is served and where, and what to know of it."""
    for warning in _warnings(opened):
        _say(f"warning: {warning}", as_json=as_json)
    _say(f"worker processes are sandboxed: {server.host.confinement}", as_json=as_json)
    if server.door is not None:
        scheme = "http" if server.config.tls_cert is None else "https"
        _say(f"HTTP on {scheme}://{server.door.address}", as_json=as_json)
    _say(_where(server, opened), as_json=as_json)
    if json:
        print_json(_document(server, opened))
        sys.stdout.flush()


def _say(line: str, *, as_json: bool) -> None:
    """A line on stderr of its own, or of the log where that is JSON."""
    import logging

    from foveal_runtime.lifecycle import LIFECYCLE

    if as_json:
        level = logging.WARNING if line.startswith("warning: ") else logging.INFO
        logging.getLogger(LIFECYCLE).log(level, "%s", line.removeprefix("warning: "))
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _warnings(opened: Bundle) -> list[str]:
    from foveal_runtime.bundle.honesty import warnings_of

    found = list(warnings_of(opened.manifest))
    if not opened.is_verified:
        there = "it has a signature, which was checked with no key" if opened.is_signed else "it has no signature"
        found.append(f"nothing shows who made this bundle: {there}; see --require-signature")
    return found


def _where(server: Server, opened: Bundle) -> str:
    from foveal_runtime.store.location import printable

    manifest, settings = opened.manifest, server.config
    standbys = f" with {len(settings.store_replicas)} for searches" if settings.store_replicas else ""
    store = f", archive in {printable(settings.store)}{standbys}" if settings.store else ""
    audit = "" if settings.audit is None else f", audit trail in {settings.audit}"
    return (
        f"serving {opened.path} ({manifest.profile} {manifest.precision.value}, space {manifest.space_id[:12]}, provider "
        f"{server.host.served.provider}) on {server.address}{store}{audit}"
    )


def _document(server: Server, opened: Bundle) -> dict[str, Any]:
    """What is served, and where."""
    from foveal_runtime.store.location import printable

    manifest, store = opened.manifest, server.config.store
    return {
        "address": server.address,
        "http": None if server.door is None else server.door.address,
        "bundle": str(opened.path),
        "bundle_sha256": opened.sha256,
        "profile": manifest.profile,
        "precision": manifest.precision.value,
        "provider": server.host.served.provider,
        "sandbox": str(server.host.confinement),
        "signature_verified": opened.is_verified,
        "space_id": manifest.space_id,
        "store": printable(store) if store else None,
    }
