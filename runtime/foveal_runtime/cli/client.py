"""How a command reaches a server, and what is known of the patient: the options that such commands share. Asks nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from foveal_runtime.errors import InputError

if TYPE_CHECKING:
    from foveal_runtime.client import Client
    from foveal_runtime.study.study import Eye, Record

_RETRY_S = 2.0
Flag = Annotated[bool, Parameter(negative=())]
Kind = Literal["joint", "image", "text", "structured"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server."""

    address: str = "127.0.0.1:50051"
    "HOST:PORT of the server; IP:PORT,IP:PORT of several that share the work, or dns:///NAME:PORT of a name of all."
    timeout: float = 60.0
    "Seconds to wait for an answer."
    tls_ca: Path | None = None
    "PEM certificates that the server's must be signed by; without it the connection is plain text."
    tls_cert: Path | None = None
    "PEM certificate of this client."
    tls_key: Path | None = None
    "PEM private key of this client."
    token_file: Path | None = None
    "File with this client's token, for servers with --tokens; it is for its owner alone."
    insecure: Flag = False
    "Send the token in plain text to another machine."
    scale_down: int | None = None
    "Scale photographs down to this many pixels a side before sending."

    def open(self) -> Client:
        """A client."""
        # gRPC's library writes its own account of a failed handshake to stderr, around the one line that says what to do.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from foveal_runtime.client import Client, ClientOptions

        options = ClientOptions(
            timeout_s=self.timeout,
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            token_file=self.token_file,
            insecure=self.insecure,
            scale_down_px=self.scale_down,
            retry_s=_RETRY_S,  # longer waits are said (`waiting`)
        )
        return Client(self.address, options)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a patient, for every file of the call."""

    note: str | None = None
    "The clinical note."
    age: float | None = None
    "Years."
    sex: Literal["male", "female"] | None = None
    "Sex as recorded."
    diabetes_years: float | None = None
    "Years since diabetes was diagnosed."
    insulin: Flag = False
    "Takes insulin."
    no_insulin: Flag = False
    "Takes none."
    diabetes: Flag = False
    "Has diabetes."
    no_diabetes: Flag = False
    "Has none."

    def record(self) -> Record | None:
        """The record; None when nothing is known."""
        from foveal_runtime.study.study import Record, Sex

        record = Record(
            age_years=self.age,
            sex=None if self.sex is None else Sex(self.sex),
            eye=self._eye(),
            diabetes_years=self.diabetes_years,
            insulin=_answer("insulin", self.insulin, self.no_insulin),
            diabetes=_answer("diabetes", self.diabetes, self.no_diabetes),
        )
        return None if record.is_blank else record

    def _eye(self) -> Eye | None:
        return None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Patient(Known):
    """The same, and which eye every photograph of the call shows."""

    eye: Literal["right", "left"] | None = None
    "Which eye the photograph shows."

    def _eye(self) -> Eye | None:
        from foveal_runtime.study.study import Eye

        return None if self.eye is None else Eye(self.eye)


def _answer(name: str, yes: bool, no: bool) -> bool | None:
    if yes and no:
        raise InputError(f"--{name} and --no-{name} were both given; give one")
    return True if yes else False if no else None
