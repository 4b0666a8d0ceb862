"""The error tree, and the one table from it to gRPC codes and exit codes. Raises nothing itself.

    FovealError
    ├── InputError (ValueError)      what the caller gave is wrong; exit 2, INVALID_ARGUMENT
    │   ├── StudyError               one study of many; carries the field path
    │   │   ├── ImageError           bytes that are no usable photograph
    │   │   └── PoisonError          a study that breaks the graphs, or that killed its worker twice
    │   ├── MessageSizeError         a message larger than the server takes
    │   ├── MediaTypeError           a body over HTTP of a kind that the call does not take
    │   ├── DataError                a data set or CSV
    │   └── ConfigError              recipe, flag, configuration file
    │       └── TlsError             two ends whose TLS does not fit: authority, name, dates, client certificate, plain text
    ├── PreconditionError            legal, but not with this bundle or store; FAILED_PRECONDITION
    │   ├── BundleError              missing, changed, or of another schema version
    │   │   └── SignatureError       not signed, or not by the key that is required
    │   ├── StaleError               a compiled entry of the cache that does not fit its bundle or machine
    │   ├── UntrainedError           a head or modality subset that was never trained
    │   ├── UnverifiedError          grades that no held-out study has shown to be better than chance
    │   └── SpaceMismatchError       vectors of another embedding space
    ├── AccessError                  UNAUTHENTICATED: who calls is not known
    │   ├── NoTokenError             neither a token nor a certificate that has a row
    │   ├── UnknownTokenError        a token that is none of the server's
    │   └── ExpiredTokenError        one whose time is over
    ├── RoleError                    PERMISSION_DENIED: who calls is known, and may not make this call
    ├── CheckFailed                  a verification ran and did not pass; exit 1
    ├── OverloadedError              RESOURCE_EXHAUSTED, with a time after which to retry
    ├── DeadlineError                DEADLINE_EXCEEDED before any work was done
    ├── UnavailableError             UNAVAILABLE: a worker, the server or the store is not there
    │   ├── LoadingError             the server is starting; commands wait for it
    │   ├── StoreError               PostgreSQL unreachable, too old, or its folder unusable
    │   └── AuditError               the audit trail can't be written, and nothing is answered without a record
    ├── NotFoundError                NOT_FOUND
    └── NotOfferedError              UNIMPLEMENTED: a call that is offered elsewhere

Every message says what, got and how to mend, and never holds note text, record values, image bytes or tokens.
"""

from __future__ import annotations

from typing import ClassVar

_MESSAGE_CHARS = 1200
"""Of a message that names what others wrote."""


class FovealError(Exception):
    """Base of every error foveal raises on purpose.

    Attributes:
        exit_code: what the command line exits with (docs/command-line.md): 2 where something that was given has to be mended,
            1 where a check failed, or the same may go well another time.
        grpc_code: name of the `grpc.StatusCode` a server answers with.
        reason: stable upper-case identifier for `google.rpc.ErrorInfo.reason`.
    """

    exit_code: ClassVar[int] = 1
    grpc_code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"


class InputError(FovealError, ValueError):
    """What the caller gave is wrong."""

    exit_code = 2
    grpc_code = "INVALID_ARGUMENT"
    reason = "INVALID_INPUT"


class StudyError(InputError):
    """One study is unusable; its neighbours are not affected.

    Attributes:
        field: path of the field inside the study, for example `image` or `record.age_years`.
    """

    reason = "INVALID_STUDY"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        # Crosses the worker's pipe: keyword-only arguments do not survive the default reduction.
        return (_rebuild_study_error, (type(self), str(self), self.field))


def _rebuild_study_error(kind: type[StudyError], message: str, field: str) -> StudyError:
    return kind(message, field=field)


class ImageError(StudyError):
    """Bytes that are no usable photograph."""

    reason = "INVALID_IMAGE"

    def __init__(self, message: str, *, field: str = "image") -> None:
        super().__init__(message, field=field)


class PoisonError(StudyError):
    """A study that breaks the graphs, or that killed or hung its worker twice."""

    reason = "STUDY_BREAKS_MODEL"

    def __init__(self, message: str, *, field: str = "study") -> None:
        super().__init__(message, field=field)


class MessageSizeError(InputError):
    """A message is larger than the server takes."""

    reason = "MESSAGE_TOO_LARGE"


class MediaTypeError(InputError):
    """A body over HTTP is of a kind that the call does not take."""

    reason = "MEDIA_TYPE_UNKNOWN"


class DataError(InputError):
    """A data set, CSV or split is unusable."""

    reason = "INVALID_DATA"


class ConfigError(InputError):
    """A recipe, flag or configuration file is unusable."""

    reason = "INVALID_CONFIG"


class TlsError(ConfigError):
    """Client and server can't talk as they are set: another authority, name or date, no client certificate, or plain text."""

    reason = "TLS_MISMATCH"


class PreconditionError(FovealError):
    """The request is legal, but not with this bundle or store."""

    exit_code = 2
    grpc_code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class BundleError(PreconditionError):
    """A bundle is missing, changed since it was written, or of another schema version.

    Its message is one line that any terminal may get: names in it are whoever's who wrote the bundle.
    """

    reason = "BUNDLE_INVALID"

    def __str__(self) -> str:
        text = super().__str__()
        text = text if len(text) <= _MESSAGE_CHARS else f"{text[: _MESSAGE_CHARS * 2 // 3]} … {text[-_MESSAGE_CHARS // 3 :]}"
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode("ascii")
            for letter in text
        )


class SignatureError(BundleError):
    """A bundle is not signed, or not by the key that is required."""

    reason = "BUNDLE_UNTRUSTED"


class StaleError(PreconditionError):
    """A compiled entry of the cache folder that does not fit its bundle or machine, or whose bytes were changed."""

    reason = "STALE_CACHE"


class UntrainedError(PreconditionError):
    """A head or modality subset that this model was never trained for."""

    reason = "UNTRAINED"


class UnverifiedError(PreconditionError):
    """Grades that no held-out study has shown to be better than chance, asked of a server that does not allow them."""

    reason = "UNVERIFIED"


class SpaceMismatchError(PreconditionError):
    """Vectors of one embedding space met a collection of another."""

    reason = "SPACE_MISMATCH"


class AccessError(FovealError):
    """A server with `--tokens` does not know who calls."""

    exit_code = 2
    grpc_code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class NoTokenError(AccessError):
    """A call came with neither a token nor a client certificate that has a row in the server's file of tokens."""

    reason = "TOKEN_MISSING"


class UnknownTokenError(AccessError):
    """A token is none of the server's: mistyped, revoked, or another server's."""

    reason = "TOKEN_UNKNOWN"


class ExpiredTokenError(AccessError):
    """A token's time, or that of a certificate's row, is over."""

    reason = "TOKEN_EXPIRED"


class RoleError(FovealError):
    """The caller is known, and has none of the roles that the call needs."""

    exit_code = 2
    grpc_code = "PERMISSION_DENIED"
    reason = "ROLE_MISSING"


class CheckFailed(FovealError):
    """A verification ran and did not pass."""

    grpc_code = "FAILED_PRECONDITION"
    reason = "CHECK_FAILED"


class OverloadedError(FovealError):
    """The queue is full.

    Attributes:
        retry_after_s: seconds after which a retry is likely to be admitted.
    """

    grpc_code = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(FovealError):
    """The caller's deadline passed, or would pass, before the work."""

    grpc_code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE"


class UnavailableError(FovealError):
    """A worker, the server or the store is not there right now.

    Attributes:
        retry_after_s: seconds after which the server said to come back; 0 where no server said anything.
    """

    grpc_code = "UNAVAILABLE"
    reason = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LoadingError(UnavailableError):
    """The server answers, and has not finished loading its bundle or opening its archive: it will, if it is waited for."""

    reason = "LOADING"


class StoreError(UnavailableError):
    """PostgreSQL is unreachable, too old, or its folder is unusable."""

    reason = "STORE_UNAVAILABLE"


class AuditError(UnavailableError):
    """The audit trail can't be written, and nothing is answered without its record."""

    reason = "AUDIT_UNAVAILABLE"


class NotFoundError(FovealError):
    """The named thing does not exist."""

    exit_code = 2
    grpc_code = "NOT_FOUND"
    reason = "NOT_FOUND"


class NotOfferedError(FovealError):
    """A call of the contract that is not offered here; the message says where it is."""

    exit_code = 2
    grpc_code = "UNIMPLEMENTED"
    reason = "NOT_OFFERED"
