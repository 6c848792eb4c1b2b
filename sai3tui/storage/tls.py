"""TLS towards the storage: whom to trust, and sessions that save a new connection half of its handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from sai3tui.config.storage_options import S3Options
from sai3tui.errors import ErrorKind, StorageError


class ResumingContext(ssl.SSLContext):
    """A client context for connections to one server, which resumes the session of the last one it was told of.

    Event loops have no parameter for that, but all of them make their connections by `wrap_bio`.
    """

    _session: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs.setdefault("session", self._session)
        return super().wrap_bio(*args, **kwargs)

    def remember(self, transport: asyncio.BaseTransport) -> None:
        """Resume the session of this connection next time, if it has one."""
        connection = transport.get_extra_info("ssl_object")
        session = connection.session if isinstance(connection, ssl.SSLObject) else None
        if session is not None and session.has_ticket:
            self._session = session


def tls_context(environ: Mapping[str, str], options: S3Options) -> ResumingContext:
    """Trusts the options' CA file, else that of AWS_CA_BUNDLE, else the system's CAs; or, if they say so, anybody.

    Raises StorageError for a CA file that cannot be used.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    if not options.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = options.ca_file or environ.get("AWS_CA_BUNDLE", "")
    try:
        if bundle:
            context.load_verify_locations(cafile=bundle)
        else:
            context.load_default_certs()
    except OSError as error:
        raise StorageError(
            f"the CA file {bundle!r} cannot be used",
            hint="ca_file (or AWS_CA_BUNDLE) names a file of PEM certificates",
            kind=ErrorKind.CONFIG,
        ) from error
    return context
