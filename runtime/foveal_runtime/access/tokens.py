"""Tokens and certificates with their roles: what a row is, and whose a presented token is. Reads and writes no file.

A token is `foveal_ID_SECRET`, both in hexadecimal: the id finds its row by one lookup, and the secret's 256 random bits are
compared in constant time by a salted hash. A fast hash is right here: nobody can try 2^256 secrets (docs/decisions.md).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from foveal_runtime.access.roles import Role
from foveal_runtime.errors import ConfigError, ExpiredTokenError, NoTokenError, RoleError, UnknownTokenError

_ID_BYTES, _SECRET_BYTES, _SALT_BYTES = 8, 32, 16
_TOKEN = re.compile(rf"foveal_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
_CERTIFICATE = re.compile(r"(CN|SAN)=(\S(?:.{0,253}\S)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenHash:
    """What a server keeps of a token: enough to know it again, too little to make it."""

    id: str
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    """HMAC-SHA256 of the secret, with the salt as its key."""

    def is_of(self, secret: str) -> bool:
        """Whether it was made of that secret; takes as long whatever the secret is."""
        return hmac.compare_digest(self.digest, _digest(self.salt, secret))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One caller: a token's, or that of a client certificate."""

    name: str
    roles: frozenset[Role]
    expires: datetime.datetime
    token: TokenHash | None = None
    certificate: str = ""
    """`CN=…` or `SAN=…` of a client certificate that --client-ca vouches for; empty for a token."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "a token's name stands in the log lines of its calls; give 1 to 64 letters, digits and . _ : @ -, no patient's"
            )
        if not self.roles:
            raise ConfigError(f"{self.name} has no role; give at least one of {', '.join(Role)} with --role")
        if self.expires.utcoffset() is None:
            raise ConfigError(f"{self.name} expires at a time without its zone; write it in UTC, as 2027-01-31T00:00:00Z")
        if (self.token is None) == (not self.certificate):
            raise ConfigError(f"{self.name} needs a token's hash or a certificate's name, and not both")
        if self.certificate and not (_CERTIFICATE.fullmatch(self.certificate) and self.certificate.isprintable()):
            raise ConfigError(
                f"the certificate of {self.name} is not written CN=NAME or SAN=NAME; `openssl x509 -noout -subject -ext "
                f"subjectAltName -in FILE` shows both"
            )

    @property
    def key(self) -> str:
        """What finds it: a token's id, or a certificate's name. The same key is the same caller, also with other roles."""
        return self.certificate if self.token is None else self.token.id


class Tokens:
    """All rows of a file."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Raises:
        ConfigError: two rows share a name, a token's id or a certificate.
        """
        self.rows = tuple(rows)
        self._by_key = {row.key: row for row in self.rows}
        if len(self._by_key) != len(self.rows) or len({row.name for row in self.rows}) != len(self.rows):
            raise ConfigError("two tokens share a name, an id or a certificate; revoke one of them with `foveal token revoke`")

    def of_token(self, text: str) -> Row:
        """Whose token that is, expired or not.

        Raises:
            UnknownTokenError: nobody's. The text is never part of the message.
        """
        found = _TOKEN.fullmatch(text)
        row = self._by_key.get(found[1]) if found else None
        known = _NOBODY if row is None or row.token is None else row.token
        if not known.is_of(found[2] if found else "") or row is None:
            raise UnknownTokenError(
                "the token is none of this server's: mistyped, revoked, or another's; ask for one that `foveal token add` made"
            )
        return row

    def of_certificate(self, names: Sequence[str]) -> Row:
        """Whose certificate that is: the first of its names that has a row.

        Raises:
            NoTokenError: none has.
        """
        for name in names:
            if (row := self._by_key.get(name)) is not None and row.certificate:
                return row
        certificate = "the client's certificate has no row in the server's file of tokens, and the call carries no token"
        raise NoTokenError(f"{certificate if names else 'the call carries no token'}; send one with --token-file")

    def again(self, row: Row) -> Row:
        """The same caller as it is in this file now.

        Raises:
            UnknownTokenError: it has been revoked.
        """
        found = self._by_key.get(row.key)
        if found is None or found.token != row.token:
            raise UnknownTokenError("the token was revoked during the call; ask for another")
        return found


def check(row: Row, allowed: frozenset[Role], now: datetime.datetime) -> None:
    """Say no where a caller may not call.

    Raises:
        ExpiredTokenError: its time is over.
        RoleError: it has none of the roles that a call needs.
    """
    if now >= row.expires:
        raise ExpiredTokenError(f"the token expired on {row.expires:%Y-%m-%d %H:%M} UTC; ask for another")
    if allowed.isdisjoint(row.roles):
        wanted = " or ".join(role for role in Role if role in allowed)
        raise RoleError(
            f"this call needs the role {wanted or '(none is given it)'}, and the token has {', '.join(sorted(row.roles))}; ask "
            f"for a token with it"
        )


def new_token() -> tuple[str, TokenHash]:
    """A token that nobody has had, to be told once, and what is kept of it."""
    token_id, secret, salt = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES), secrets.token_bytes(_SALT_BYTES)
    return f"foveal_{token_id}_{secret}", TokenHash(id=token_id, salt=salt, digest=_digest(salt, secret))


def is_token(text: str) -> bool:
    """Whether it is written as tokens are."""
    return _TOKEN.fullmatch(text) is not None


def _digest(salt: bytes, secret: str) -> bytes:
    return hmac.digest(salt, secret.encode(), hashlib.sha256)


_NOBODY = TokenHash(id="", salt=bytes(_SALT_BYTES), digest=bytes(32))
"""What an unknown id is compared with, so that its answer takes no less time."""
