"""A private certificate authority for agents and controllers: a directory with a key and a certificate, no service.

What it signs is for one role only: an agent's certificate cannot be used to give orders to other agents.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sai3tui.access import AUTHORITY_CERTIFICATE, Role
from sai3tui.errors import ConfigError, ErrorContext, ResourceError

AUTHORITY_KEY = "ca.key"
AUTHORITY_DAYS = 3650
DEFAULT_DAYS = 730
MAX_DAYS = 3650
CLOCK_SLACK = timedelta(days=1)
"""So much earlier than now a certificate is valid: hosts of a lab do not agree on the time."""

_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*", re.ASCII)


def make_authority(directory: Path, *, days: int = AUTHORITY_DAYS) -> datetime:
    """Make a key and a certificate that others are signed with; returns when it expires.

    Raises ConfigError if there is one already, ResourceError if the files cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sai3tui private CA")])
    expires = datetime.now(UTC) + timedelta(days=days)
    certificate = (
        _builder(name, name, key.public_key(), expires)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _make_directory(directory)
    _write_new(directory / AUTHORITY_KEY, _pem(key), secret=True)
    _write_new(directory / AUTHORITY_CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM), secret=False)
    return expires


def issue(
    authority: Path, output: Path, role: Role, names: Sequence[str] = (), *, days: int = DEFAULT_DAYS
) -> datetime:
    """Sign a new key for `role` and write it, its certificate and the authority's into `output`; returns its expiry.

    `names` are the host names and addresses that controllers reach an agent by. Raises ConfigError for names that are
    none, without an authority, or where `output` has such a certificate; ResourceError if files cannot be written.
    """
    if role is Role.AGENT and not names:
        raise ConfigError("an agent's certificate needs the names and addresses that it is reached by")
    alternatives = [_name(text) for text in names]
    authority_certificate, authority_key = _read_authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    common = names[0] if names else role.value
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])
    usage = ExtendedKeyUsageOID.SERVER_AUTH if role is Role.AGENT else ExtendedKeyUsageOID.CLIENT_AUTH
    expires = min(datetime.now(UTC) + timedelta(days=days), authority_certificate.not_valid_after_utc)
    builder = (
        _builder(subject, authority_certificate.subject, key.public_key(), expires)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    authority_pem = authority_certificate.public_bytes(serialization.Encoding.PEM)
    _make_directory(output)
    _write_new(output / f"{role.value}.key", _pem(key), secret=True)
    _write_new(output / f"{role.value}.crt", certificate.public_bytes(serialization.Encoding.PEM), secret=False)
    if not (output / AUTHORITY_CERTIFICATE).exists():
        _write_new(output / AUTHORITY_CERTIFICATE, authority_pem, secret=False)
    return expires


def check_dates(pem: bytes, file: Path) -> None:
    """Raises ConfigError for a file that holds no certificate, or one that is not valid now."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise _bad_file(file, "is no PEM certificate") from error
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise _bad_file(file, f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < certificate.not_valid_before_utc:
        raise _bad_file(file, f"is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, expires: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - CLOCK_SLACK)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if not _NAME.fullmatch(text):
            raise ConfigError(
                f"{text!r} is no host name or address", hint="write names without port: host1.lab 10.0.0.5"
            ) from None
    return x509.DNSName(text)


def _read_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((directory / AUTHORITY_CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((directory / AUTHORITY_KEY).read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"there is no certificate authority in {directory}", hint="make one: sai3tui certs init"
        ) from error
    except (ValueError, TypeError) as error:
        raise _bad_file(directory, "holds no certificate authority that can be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _bad_file(directory / AUTHORITY_KEY, "is no key of ours")
    return certificate, key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make {directory}", context=ErrorContext(uri=str(directory))) from error


def _write_new(file: Path, content: bytes, *, secret: bool) -> None:
    try:
        # Private from its first moment on, whatever the umask says.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
    except FileExistsError as error:
        raise ConfigError(
            f"{file} exists already", hint="remove it first, or name another directory", context=_at(file)
        ) from error
    except OSError as error:
        raise ResourceError(f"cannot write {file}", context=_at(file)) from error


def _bad_file(file: Path, what: str) -> ConfigError:
    return ConfigError(f"{file} {what}", hint="make new ones with sai3tui certs", context=_at(file))


def _at(file: Path) -> ErrorContext:
    return ErrorContext(uri=str(file))
