"""Preflight: the way to one endpoint, one step after the other: name, connection, TLS, round trip, keep-alive, clock.

One connection of our own, two signed HEAD requests for the bucket on it. What they are answered is looked at by the
checks of the storage; here only that and how an answer comes.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from cryptography import x509

from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.errors import ErrorContext, ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.storage.credentials import find_credentials, region_of
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.http1 import CHUNKED, CLOSE, MAX_HEAD_BYTES, MalformedAnswerError, header, parse_head
from sai3tui.storage.sigv4 import RequestSigner
from sai3tui.storage.tls import tls_context

CONNECT_TIMEOUT_S = 5.0
HANDSHAKES = 3
SLOW_MS = 100.0
"""A round trip beyond this is no network of a laboratory: most of what would be measured is the way."""
EXPIRES_SOON_DAYS = 14
SKEW_ERROR_S = 14 * 60.0
SKEW_WARNING_S = 60.0
"""S3 refuses signatures that are older, or newer, than 15 minutes."""


@dataclass(slots=True)
class Way:
    """What one connection has shown. Times in seconds."""

    address: str = ""
    round_trip: float = 0.0
    certificate: bytes = b""
    tls_version: str = ""


async def check_way(setup: RunSetup, endpoint: Endpoint, checks: Checks) -> bool:
    """Whether requests can be sent to `endpoint`."""
    subject, way = endpoint.uri, Way()
    with suppress(ValueError):
        ipaddress.ip_address(endpoint.host)
        way.address = endpoint.host
    if not way.address and not await checks.run("dns", subject, partial(_dns, endpoint, way)):
        return False
    if not await checks.run("connect", subject, partial(_connect, endpoint, way), timeout_s=CONNECT_TIMEOUT_S):
        return False
    if endpoint.tls and not await checks.run("tls", subject, partial(_tls, setup, endpoint, way)):
        return False
    await checks.run("latency", subject, partial(_latency, way))
    return True


async def check_answers(setup: RunSetup, endpoint: Endpoint, checks: Checks) -> None:
    """How the endpoint answers on one connection, and what it says of the time."""
    date = b""

    async def twice() -> Told:
        nonlocal date
        date, told = await _twice(setup, endpoint)
        return told

    if await checks.run("keepalive", endpoint.uri, twice) and date:
        await checks.run("clock", endpoint.uri, partial(_clock, date, time.time()))


async def _dns(endpoint: Endpoint, way: Way) -> Told:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StorageError(
            f"the name {endpoint.host} has no address here",
            hint="correct the name, or this host's resolver",
            context=_context(endpoint, "dns"),
            kind=ErrorKind.NETWORK,
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    way.address = addresses[0]
    more = "" if len(addresses) == 1 else f", and {len(addresses) - 1} more: name each as an endpoint to use all"
    return Told(f"{endpoint.host} is {addresses[0]}{more}", ", ".join(addresses[:8]))


async def _connect(endpoint: Endpoint, way: Way) -> Told:
    place = f"{endpoint.host}:{endpoint.port}"
    took = []
    try:
        for _ in range(HANDSHAKES):
            began = time.perf_counter()
            _, writer = await asyncio.open_connection(way.address, endpoint.port)
            took.append(time.perf_counter() - began)
            writer.close()
    except OSError as error:
        raise StorageError(
            f"cannot connect to {place}",
            hint="is the server running, and is the address right?",
            context=_context(endpoint, "connect"),
            kind=ErrorKind.NETWORK,
        ) from error
    way.round_trip = min(took)
    return Told("connected", f"{way.address}:{endpoint.port}")


async def _latency(way: Way) -> Told:
    milliseconds = way.round_trip * 1000
    told = f"a round trip takes {milliseconds:.2f} ms"
    evidence = f"the fastest of {HANDSHAKES} connections"
    if milliseconds > SLOW_MS:
        advice = "is that the right address? use agents nearer to the storage, or more connections"
        return Told(f"{told}, which is far", evidence, Level.WARNING, advice)
    return Told(told, evidence)


async def _tls(setup: RunSetup, endpoint: Endpoint, way: Way) -> Told:
    context = tls_context(setup.environ, setup.config.s3)
    try:
        _, writer = await asyncio.open_connection(
            way.address, endpoint.port, ssl=context, server_hostname=endpoint.host
        )
    except ssl.SSLCertVerificationError as error:
        raise _tls_error(
            endpoint, f"its certificate is not accepted: {error.verify_message}", _advice(error)
        ) from error
    except (ssl.SSLError, ConnectionError) as error:
        hint = "if the endpoint speaks plain HTTP, write s3+http://"
        raise _tls_error(endpoint, "no TLS connection came about", hint) from error
    connection = writer.get_extra_info("ssl_object")
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    version = connection.version() if connection is not None else ""
    writer.close()
    return _certificate(der or b"", version or "", verified=setup.config.s3.tls_verify)


def _certificate(der: bytes, version: str, *, verified: bool) -> Told:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return Told("TLS, with a certificate that cannot be read", version, Level.WARNING, "look at the server's files")
    names = []
    with suppress(x509.ExtensionNotFound):
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    left = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86400
    evidence = f"{version}, for {', '.join(names[:8]) or certificate.subject.rfc4514_string()}"
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    if left < 0:
        return Told(f"its certificate expired {until}, and nobody checks", evidence, Level.WARNING, "renew it")
    if left < EXPIRES_SOON_DAYS:
        return Told(f"its certificate expires {until}, in {left:.0f} days", evidence, Level.WARNING, "renew it in time")
    return Told(f"valid until {until}" if verified else f"not checked (tls_verify), valid until {until}", evidence)


def _advice(error: ssl.SSLCertVerificationError) -> str:
    text = (error.verify_message or "").lower()
    if "expired" in text or "not yet valid" in text:
        return "renew the storage's certificate, and check the clocks of both hosts"
    if "mismatch" in text or "not valid for" in text:
        return "name the endpoint as its certificate does, or make one for that name or address"
    return "name the storage's CA: ca_file, or AWS_CA_BUNDLE"


async def _twice(setup: RunSetup, endpoint: Endpoint) -> tuple[bytes, Told]:
    """Two requests on one connection: the Date of the first answer, and how they went."""
    credentials = await asyncio.to_thread(find_credentials, setup.environ)
    signer = RequestSigner(endpoint, credentials, region_of(setup.environ), options=setup.config.s3)
    context = tls_context(setup.environ, setup.config.s3) if endpoint.tls else None
    reader, writer = await asyncio.open_connection(
        endpoint.host,
        endpoint.port,
        ssl=context,
        server_hostname=endpoint.host if context is not None else None,
        limit=MAX_HEAD_BYTES,
    )
    took: list[float] = []
    date = b""
    try:
        for _ in range(2):
            began = time.perf_counter()
            writer.write(signer.bucket_head(b"HEAD", b""))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            took.append((time.perf_counter() - began) * 1000)
            _, _, flags = parse_head(head.lower())
            date = date or header(head, b"date")
            if flags & CLOSE and len(took) == 1:
                return date, _closes("it says so in its answer")
            if flags & CHUNKED:
                break  # an answer to a HEAD has no body; what follows cannot be told apart
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        if took:
            return date, _closes(f"{type(error).__name__} at the second request")
        raise StorageError(
            "it takes connections and gives no answer",
            hint="is that an S3 service, and does it want TLS (s3+https://)?",
            context=_context(endpoint, "truncated"),
            kind=ErrorKind.NETWORK,
        ) from error
    except (asyncio.LimitOverrunError, MalformedAnswerError) as error:
        raise StorageError(
            "what it answers is not HTTP",
            hint="is that an S3 service, and does it want TLS (s3+https://)?",
            context=_context(endpoint, "malformed"),
        ) from error
    finally:
        writer.close()
    return date, Told("two requests on one connection", ", ".join(f"{each:.1f} ms" for each in took))


def _closes(how: str) -> Told:
    advice = "turn keep-alive on there: every operation would pay for a connection, and use up ports"
    return Told("it closes a connection after each answer", how, Level.WARNING, advice)


async def _clock(date: bytes, now: float) -> Told:
    parsed = email.utils.parsedate_to_datetime(date.decode("latin-1")) if date else None
    if parsed is None:
        return Told("the storage does not tell its time", "", Level.INFO)
    # A Date has whole seconds only.
    skew = now - parsed.timestamp()
    told = f"the storage's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead'}"
    evidence = f"Date: {date.decode('latin-1')}"
    if abs(skew) > SKEW_ERROR_S:
        advice = "set the clocks (NTP): signatures that are 15 minutes off are refused"
        return Told(told, evidence, Level.ERROR, advice)
    if abs(skew) > SKEW_WARNING_S:
        return Told(told, evidence, Level.WARNING, "set the clocks (NTP) of both")
    return Told("the storage's clock is that of this host, as far as whole seconds tell", evidence)


def _tls_error(endpoint: Endpoint, what: str, hint: str) -> StorageError:
    return StorageError(what, hint=hint, context=_context(endpoint, "tls"), kind=ErrorKind.CONFIG)


def _context(endpoint: Endpoint, subclass: str) -> ErrorContext:
    return ErrorContext(uri=endpoint.uri, endpoint=endpoint.uri, subclass=subclass)
