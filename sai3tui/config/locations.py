"""The URI grammar of the storage under test: one parser for targets, endpoints and base URIs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from sai3tui.errors import ConfigError, ErrorContext

SCHEMES = ("s3", "file", "direct", "az", "gs")
RUNNABLE_SCHEMES = frozenset({"s3", "file", "direct"})
"""Schemes that an engine exists for."""

_HINT = "write s3://BUCKET/PREFIX/, s3+http://HOST:PORT/BUCKET/PREFIX/, s3+https://... or file:///ABSOLUTE/DIR/"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What a text of one line has not in it."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.%a-z]+")


@dataclass(frozen=True, slots=True)
class Location:
    """A place that keys stand under.

    `uri` is what the user wrote, with a closing slash. `scheme` is one of `SCHEMES`. For s3: `host` and `port` (empty
    and 0: the default endpoint of the environment), `bucket`, and `prefix`, empty or ending in `/`, never starting
    with one. For file and direct: `prefix` is the absolute directory, ending in `/`, and host and bucket are empty.
    """

    uri: str
    scheme: str
    host: str = ""
    port: int = 0
    tls: bool = False
    bucket: str = ""
    prefix: str = ""

    @property
    def is_object_store(self) -> bool:
        return self.scheme not in ("file", "direct")

    @property
    def namespace(self) -> tuple[str, str, str]:
        """Scheme, bucket and prefix: endpoints of an object store that agree in these show the same objects."""
        return (self.scheme, self.bucket, self.prefix)

    @property
    def host_port(self) -> str:
        """`host:port`, with brackets around an IPv6 address; empty where there is no host."""
        if not self.host:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def uri_of(self, key: str) -> str:
        """The URI of `key`, which is relative to this location."""
        return self.uri + key

    def under(self, key_prefix: str) -> Location:
        """The location `key_prefix` below this one; `key_prefix` is empty or ends in `/`."""
        return replace(self, uri=self.uri + key_prefix, prefix=self.prefix + key_prefix)


def is_absolute(uri: str) -> bool:
    """Whether `uri` names a scheme, so that it stands under nothing else."""
    return "://" in uri


@lru_cache(maxsize=4096)
def parse_location(uri: str) -> Location:
    """The location that `uri` names. Raises ConfigError, with a hint, for anything else."""
    if CONTROL.search(uri) or uri != uri.strip():
        raise _bad(uri, "has blanks around it or control characters in it", "remove them")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        raise _bad(uri, "is not a URI", _HINT)
    match scheme:
        case "s3":
            return _parse_s3(uri, rest)
        case "s3+http" | "s3+https":
            return _parse_explicit(uri, rest, tls=scheme == "s3+https")
        case "file" | "direct":
            return _parse_file(uri, scheme, rest)
        case "az" | "gs":
            bucket, _, prefix = rest.partition("/")
            if not bucket:
                raise _bad(uri, "names no container", f"write {scheme}://NAME/PREFIX/")
            return Location(_closed(uri), scheme, bucket=bucket, prefix=_prefix(prefix))
        case _:
            raise _bad(uri, f"has the unknown scheme {scheme!r}", _HINT)


def with_default_endpoint(location: Location, url: str) -> Location:
    """`location` with host, port and TLS taken from the endpoint URL `url` where it is s3 and has no host itself.

    `url` is `http://HOST[:PORT]` or `https://...` as in AWS_ENDPOINT_URL; empty changes nothing. Raises ConfigError.
    """
    if location.scheme != "s3" or location.host or not url:
        return location
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise _bad(url, "is not an endpoint URL", "write http://HOST:PORT or https://HOST")
    authority, _, path = rest.partition("/")
    if path.strip("/"):
        raise _bad(url, "has a path", "an endpoint URL ends after host and port")
    tls = scheme == "https"
    host, port = _host_port(url, authority, tls=tls)
    return replace(location, host=host, port=port, tls=tls)


def looks_like_host(component: str) -> bool:
    """Whether the first component after `s3://` is read as a host: the guess of the predecessor's files."""
    return (
        ":" in component
        or component[:1].isdigit()
        or component.count(".") >= 2
        or component.startswith(("minio", "ceph"))
        or "localhost" in component
    )


def _parse_s3(uri: str, rest: str) -> Location:
    first, _, below = rest.partition("/")
    if not first:
        raise _bad(uri, "names no bucket", _HINT)
    if "@" in first:
        raise _bad(uri, "has credentials in it", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if looks_like_host(first):
        return _parse_explicit(uri, rest, tls=False)
    return Location(_closed(uri), "s3", bucket=_bucket(uri, first), prefix=_prefix(below))


def _parse_explicit(uri: str, rest: str, *, tls: bool) -> Location:
    authority, _, below = rest.partition("/")
    host, port = _host_port(uri, authority, tls=tls)
    bucket, _, prefix = below.partition("/")
    if not bucket:
        hint = f"write {uri.partition('://')[0]}://{authority}/BUCKET/"
        if uri.startswith("s3://"):
            hint += f", or if {authority!r} is the bucket, s3+https://HOST/{authority}/"
        raise _bad(uri, f"names the host {authority!r} but no bucket", hint)
    return Location(_closed(uri), "s3", host, port, tls, _bucket(uri, bucket), _prefix(prefix))


def _parse_file(uri: str, scheme: str, rest: str) -> Location:
    if not rest.startswith("/"):
        raise _bad(uri, "is not an absolute path", f"write {scheme}:///ABSOLUTE/DIR/, with three slashes")
    parts = [part for part in rest.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise _bad(uri, "has '.' or '..' in its path", "write the path without them")
    prefix = "/" + "".join(f"{part}/" for part in parts)
    return Location(_closed(uri), scheme, prefix=prefix)


def _host_port(uri: str, authority: str, *, tls: bool) -> tuple[str, int]:
    if "@" in authority:
        raise _bad(uri, "has credentials in it", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or not _IPV6.fullmatch(host) or (tail and not tail.startswith(":")):
            raise _bad(uri, "has a malformed IPv6 address", "write [ADDRESS]:PORT")
        text = tail[1:]
        colon = bool(tail)
    else:
        host, separator, text = authority.partition(":")
        colon = bool(separator)
        if not _HOST.fullmatch(host):
            raise _bad(uri, f"has no usable host in {authority!r}", _HINT)
    if not colon:
        return host, 443 if tls else 80
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise _bad(uri, f"has the impossible port {text!r}", "a port is a number from 1 to 65535")
    return host, int(text)


def _bucket(uri: str, name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise _bad(uri, f"has the impossible bucket name {name!r}", "letters, digits, '.', '-' and '_' are possible")
    return name


def _prefix(text: str) -> str:
    text = text.lstrip("/")
    return text if not text or text.endswith("/") else text + "/"


def _closed(uri: str) -> str:
    return uri if uri.endswith("/") else uri + "/"


def _bad(uri: str, what: str, hint: str) -> ConfigError:
    # Credentials must not reach a log: what stands before an @ is left out.
    shown = re.sub(r"//[^/@]*@", "//***@", uri)
    return ConfigError(f"{shown!r} {what}", hint=hint, context=ErrorContext(uri=shown))
