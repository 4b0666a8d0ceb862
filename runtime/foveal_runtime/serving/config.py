"""What `foveal serve` is told, whoever told it (`settings`). Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.engine.grading import Reason
from foveal_runtime.errors import ConfigError
from foveal_runtime.sandbox.confine import Sandbox
from foveal_runtime.serving.address import is_loopback
from foveal_runtime.serving.request import BatchLimits, QueueLimits
from foveal_runtime.serving.spec import ModelSpec
from foveal_runtime.store.location import is_url
from foveal_runtime.store.options import StoreOptions
from foveal_runtime.store.references import References

LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Everything a server needs to know."""

    bundle: Path
    """Folder that `foveal export` wrote; a symbolic link may be pointed at another bundle while serving."""
    address: str = "127.0.0.1:50051"
    """HOST:PORT to listen on, port 0 takes a free one; or unix:PATH."""
    http: str = ""
    """HOST:PORT where HTTP and JSON are served beside gRPC, port 0 takes a free one; needs foveal[http]. Empty serves none."""
    http_origins: tuple[str, ...] = ()
    """Origins whose pages may call over HTTP beside the server's own: that of a proxy, as https://foveal.clinic.example."""
    provider: str = "cpu"
    """ONNX Runtime's execution provider: cpu, openvino, cuda, tensorrt or tensorrt-rtx; auto is the best that is there."""
    workers: int = 0
    """Worker processes; 0 are as many as `foveal compile` measured best, else one a core, as far as the memory holds them."""
    threads: int = 0
    """Threads of a worker; 0 divides the cores among the workers."""
    memory_mb: float = 0
    """Megabytes that the worker processes may take together, shared pages once; 0 is half of what the machine has free."""
    canary: Path | None = None
    """A second bundle on trial, which answers `canary_share` of the calls that grade, while it is healthy."""
    canary_share: float = 0.05
    """Of the calls that grade, 0 to 1."""
    shadow: Path | None = None
    """A second bundle that grades what the first graded; its answers are compared and never sent (`foveal shadow report`)."""
    store: str = ""
    """Folder or postgresql:// URL of the archive; empty serves none."""
    store_replicas: tuple[str, ...] = ()
    """postgresql:// URLs of streaming standbys of the store, which answer searches and listings while they are well."""
    collection: str = "default"
    """Collection of the archive that is served; made when it is new."""
    store_password_file: Path | None = None
    """File with the password of a postgresql:// URL, and of those of its standbys, on one line; it is for its owner alone."""
    hash_patients: Path | None = None
    """File of the key with which patient references are hashed, made where it is missing; empty is `patients.key` in the
    store's folder."""
    patient_references: str = References.HASHED.value
    """How a new collection keeps patient references: hashed (HMAC-SHA256 of themselves), or plain."""
    audit: Path | None = None
    """Folder of the audit trail, of this server alone: nothing is answered without its record (`foveal audit`)."""
    drift: Path | None = None
    """Folder where counts of each camera's photographs are kept, of this server alone; an alarm is told when they are no longer
    what they were (`foveal drift`). Empty counts nothing."""
    log_format: str = "text"
    """Of the log on stderr: text, or json with one object a line."""
    access_log: str = ""
    """File that gets a line a call, apart from the log; - is stdout. Empty: in the log, with -v."""
    metrics: str = ""
    """HOST:PORT where Prometheus finds metrics; empty offers none."""
    traces: str = ""
    """http:// or https://HOST:PORT of a collector that takes OpenTelemetry's traces over gRPC; empty sends none."""
    tls_cert: Path | None = None
    """PEM certificate chain of the server."""
    tls_key: Path | None = None
    """PEM private key of the server."""
    client_ca: Path | None = None
    """PEM certificates; clients must show one that these signed."""
    tokens: Path | None = None
    """File of `foveal token`: who may make which calls; empty lets everybody who reaches the server make all."""
    reflection: bool = False
    """Tell the contract to whoever asks (gRPC server reflection), as grpcurl does; no token is asked for it."""
    insecure: bool = False
    """Serve plain text on an address that other machines reach, metrics included."""
    operating_point: str = ""
    """Name of the bundle's operating point that decides on referrals; empty is the default one of each modality subset."""
    abstain: tuple[str, ...] = ()
    """Reasons (out-of-distribution, undecided) to withhold an answer; a person has then to look."""
    allow_unverified: bool = False
    """Answer with grades of heads that too few held-out studies were there to judge; each answer then names those heads."""
    allow_untrained: bool = False
    """Answer with grades that held-out studies can't tell from chance; each answer then names those heads."""
    require_signature: Path | None = None
    """PEM public key (Ed25519); a bundle that it has not signed is refused, at the start and at every reload."""
    allow_unsigned: bool = False
    """Serve other machines without `require_signature`."""
    quality: Path | None = None
    """The clinic's threshold of the gradability check, as `foveal quality fit` wrote it; read once, at the start."""
    sandbox: Sandbox = Sandbox.AUTO
    """How far worker processes are restricted: auto is as far as this machine allows, strict refuses one that does not
    allow all of it (docs/operations.md), off not at all."""
    max_message_bytes: int = 64 << 20
    """Largest request and answer."""
    max_studies: int = 256
    """Studies in one request."""
    max_image_pixels: int = 100_000_000
    """Pixels of one photograph, from its header."""
    cache_entries: int = 1024
    """Answers to equal studies kept; 0 keeps none."""
    drain_s: float = 30.0
    """After SIGTERM, how long accepted work may take to finish."""
    self_test_every_s: float = 3600.0
    """Pause between two self-tests while serving; 0 tests at the start alone."""
    start_timeout_s: float = 300.0
    """How long a worker may take to load the bundle and pass its self-test."""
    stream_window: int = 32
    """Studies of one stream that may be in work at once."""
    chosen: bool = False
    """Somebody chose the workers, the threads or the batch: what `foveal compile` measured is then not used. Set by what is
    read, not by hand."""
    max_archive_calls: int = 64
    """Archive calls in work, those that wait for a connection included; further ones are refused and told when to come back."""
    max_received_bytes: int = 0
    """Bytes of messages that arrive or wait for their answers, of all calls together; for each that arrives the largest message
    is set aside. The process takes up to three times as much. 0 is chosen from what is free: a quarter of the memory."""
    max_calls: int = 1024
    """Calls in work, streams included; further ones are refused and told when to come back."""
    max_calls_per_caller: int = 0
    """Of them, those of one caller (a client certificate's name, else an address); 0 is half."""
    max_calls_per_s: float = 0.0
    """Calls a second of one caller; 0 is no limit."""
    batch: BatchLimits = field(default_factory=BatchLimits)
    queue: QueueLimits = field(default_factory=QueueLimits)
    archive: StoreOptions = field(default_factory=StoreOptions)

    @property
    def model(self) -> ModelSpec:
        """The bundle and how it is served."""
        return ModelSpec(**{f.name: getattr(self, f.name) for f in fields(ModelSpec) if f.name != "background"})

    def other_model(self, bundle: Path, *, shadow: bool = False) -> ModelSpec:
        """A bundle beside the first. A shadow works in one process, behind all others; operating points are the first's."""
        if shadow:
            return replace(
                self.model,
                bundle=bundle,
                workers=1,
                threads=1,
                chosen=True,
                cache_entries=0,
                background=True,
                operating_point="",
                abstain=(),
            )
        return replace(self.model, bundle=bundle)

    @property
    def reached(self) -> tuple[str, ...]:
        """Addresses of its calls that other machines reach."""
        return tuple(each for each in (self.address, self.http) if each and not is_loopback(each))

    @property
    def calls_per_caller(self) -> int:
        """Calls in work of one caller."""
        return self.max_calls_per_caller or -(-self.max_calls // 2)

    @property
    def withheld(self) -> frozenset[Reason]:
        """Reasons for which an answer is withheld."""
        return frozenset(Reason(each) for each in self.abstain)

    @property
    def given(self) -> frozenset[Evidence]:
        """Evidence of the heads whose grades are answered."""
        also = ((Evidence.UNVERIFIED, self.allow_unverified), (Evidence.CHANCE, self.allow_untrained))
        return frozenset({Evidence.PROVEN, *(status for status, allowed in also if allowed)})

    def __post_init__(self) -> None:
        for name in ("address", "metrics", "http"):
            given = getattr(self, name)
            if (name == "address" or given) and not _is_address(given, or_socket=name == "address"):
                raise ConfigError(f"{name} is {given!r}; give HOST:PORT, for example 127.0.0.1:50051")
        for name in ("workers", "threads", "memory_mb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; want at least 1, or 0 to have it chosen")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both --tls-cert and --tls-key; only one was given")
        if self.client_ca is not None and self.tls_cert is None:
            raise ConfigError("--client-ca needs TLS; give --tls-cert and --tls-key as well")
        for address in self.reached:
            self._check_reached(address)
        self._check_origins()
        if self.patient_references not in tuple(References):
            raise ConfigError(f"patient_references is {self.patient_references!r}; want {' or '.join(References)}")
        if self.patient_references == References.PLAIN and self.hash_patients is not None:
            raise ConfigError("patient_references is plain, and hash_patients names a key; leave one of them out")
        if self.store_password_file is not None and not is_url(self.store):
            raise ConfigError("store_password_file is for a postgresql:// URL, and the store is none; leave it out")
        self._check_replicas()
        if self.metrics and not is_loopback(self.metrics) and not self.insecure:
            raise ConfigError(
                f"metrics on {self.metrics} are read by other machines in plain text and without a password; give "
                f"127.0.0.1:PORT, or accept it with --insecure"
            )
        for name in ("max_message_bytes", "max_studies", "max_image_pixels", "stream_window", "max_archive_calls", "max_calls"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; want at least 1")
        if unknown := set(self.abstain) - set(Reason):
            raise ConfigError(f"abstain has {sorted(unknown)}, which are no reasons; reasons are {', '.join(Reason)}")
        self._check_traces()
        if self.log_format not in LOG_FORMATS:
            raise ConfigError(f"log_format is {self.log_format!r}; want {' or '.join(LOG_FORMATS)}")
        if not 0 <= self.canary_share <= 1:
            raise ConfigError(f"canary_share is {self.canary_share:g}; want 0 to 1")
        for name in (
            "cache_entries", "drain_s", "self_test_every_s", "max_received_bytes", "max_calls_per_caller", "max_calls_per_s",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; want 0 or more")

    def _check_replicas(self) -> None:
        if self.store_replicas and not is_url(self.store):
            raise ConfigError("store_replicas are standbys of a postgresql:// store, and the store is none; leave them out")
        for each in self.store_replicas:
            if not is_url(each):
                raise ConfigError(
                    "store_replicas has an entry that is no postgresql:// URL; write postgresql://USER@HOST/DATABASE"
                )

    def _check_reached(self, address: str) -> None:
        if self.tls_cert is None and not self.insecure:
            raise ConfigError(
                f"{address} is reached from other machines, and photographs and tokens would travel in plain text; give "
                f"--tls-cert and --tls-key, listen on 127.0.0.1, or accept it with --insecure"
            )
        if self.require_signature is None and not self.allow_unsigned:
            raise ConfigError(
                f"{address} is reached from other machines, and nothing shows who made the bundle; give the public key "
                f"that signed it with --require-signature, listen on 127.0.0.1, or accept it with --allow-unsigned"
            )

    def _check_origins(self) -> None:
        for origin in self.http_origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
                raise ConfigError(
                    f"http_origins has {origin!r}; give scheme and host as a browser does, such as https://foveal.clinic.example"
                )

    def _check_traces(self) -> None:
        if not self.traces:
            return
        found = urlsplit(self.traces)
        if found.scheme not in ("http", "https") or not found.netloc or not _is_address(found.netloc):
            raise ConfigError(f"traces is {self.traces!r}; give http:// or https://HOST:PORT of a collector")
        if found.scheme == "http" and not is_loopback(found.netloc) and not self.insecure:
            raise ConfigError(
                f"traces would travel to {found.netloc} in plain text; give https://, or accept it with --insecure"
            )


NOT_SET_BY_HAND = ("chosen", "patient_key", "password")
"""What follows from other settings; and secrets, which have files of their own (`hash_patients`, `store_password_file`)."""


def _is_address(text: str, *, or_socket: bool = False) -> bool:
    if or_socket and text.startswith("unix:"):
        return bool(text.removeprefix("unix:"))
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and int(port) <= 65535
