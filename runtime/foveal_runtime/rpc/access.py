"""Asks of every call who makes it and whether they may: by its token, else by its client certificate. Reads no file.

The answer is the same for all calls: `permissions` says which roles a call needs, and the file of tokens who has them.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from foveal_runtime.access.bearer import HEADER, SCHEME
from foveal_runtime.access.tokens import Row, Tokens, check
from foveal_runtime.errors import AccessError, FovealError, RoleError, UnknownTokenError
from foveal_runtime.rpc.permissions import allowed

if TYPE_CHECKING:
    from foveal_runtime.access.roles import Role

_T = TypeVar("_T")
_current: ContextVar[str] = ContextVar("foveal_token_name", default="")


def current() -> str:
    """The name of the token whose call runs; empty outside of calls, and where no tokens are asked for."""
    return _current.get()


class Gate:
    """Of a server with `--tokens`."""

    def __init__(
        self,
        tokens: Callable[[], Tokens],
        refused: Callable[[str], None] = lambda reason: None,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """Args:
        tokens: the rows as they are now.
        refused: told the reason of every refusal.
        clock: the time now.
        """
        self._tokens, self._refused, self._clock = tokens, refused, clock

    def enter(self, method: str, context: Any) -> Pass:
        """Let a call in.

        Args:
            method: gRPC's name of it.
            context: of the call, before a message was received.

        Raises:
            AccessError: who calls is not known.
            RoleError: who calls may not.
        """
        roles = allowed(method)
        try:
            row = self._caller(context)
            _current.set(row.name)
            check(row, roles, self._clock())
        except (AccessError, RoleError) as error:
            self._refused(error.reason)
            raise
        return Pass(row, lambda: self._again(row, roles))

    def _again(self, row: Row, roles: frozenset[Role]) -> None:
        try:
            check(self._tokens().again(row), roles, self._clock())
        except FovealError as error:
            self._refused(error.reason)
            raise

    def _caller(self, context: Any) -> Row:
        given = [value for key, value in context.invocation_metadata() or () if key == HEADER]
        if not given:
            return self._tokens().of_certificate(_names(context.auth_context()))
        # A token that is wrong is never made up for by a certificate that is right.
        (text, *more) = given
        if more or not isinstance(text, str) or text[: len(SCHEME)].lower() != SCHEME.lower():
            raise UnknownTokenError("the call's authorization is no token; send one of `authorization: Bearer foveal_…`")
        return self._tokens().of_token(text[len(SCHEME) :])


class Pass:
    """A call that was let in."""

    def __init__(self, row: Row, again: Callable[[], None]) -> None:
        self.name = row.name
        """Of the caller."""
        self._again = again

    async def each(self, messages: AsyncIterator[_T]) -> AsyncIterator[_T]:
        """A stream's messages, each of which may come only while its caller may still call: a stream may last for days.

        Raises:
            AccessError: the token was revoked or has expired since.
            RoleError: its role was taken from it.
        """
        async for message in messages:
            self._again()
            yield message


def _names(auth: Any) -> list[str]:
    """A client certificate's names as rows have them; gRPC has read them after --client-ca vouched for it."""
    found = [("CN", each) for each in auth.get("x509_common_name", ())]
    found += [("SAN", each) for each in auth.get("x509_subject_alternative_name", ())]
    return [f"{kind}={name.decode(errors='replace')}" for kind, name in found]
