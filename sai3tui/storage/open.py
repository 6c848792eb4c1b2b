"""From the configuration to an engine: which one, for which endpoint, with what from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sai3tui.config.locations import Location, with_default_endpoint
from sai3tui.errors import ConfigError, ErrorContext
from sai3tui.storage.credentials import region_of
from sai3tui.storage.engine import Endpoint, Engine, EngineOptions

ENGINES = ("wire", "boto", "null")
"""Names of engines: `wire` is what runs; `boto` the reference for cross-checks; `null` moves nothing."""

_FILE_SCHEMES = frozenset({"file", "direct"})


def make_engine(
    scheme: str, engine_name: str, options: EngineOptions, environ: Mapping[str, str] | None = None
) -> Engine:
    """The engine for `scheme`, not opened yet. Raises ConfigError for a scheme or name that has none.

    `wire` means the scheme's own engine, for `file://` as well. `environ` is os.environ if None.
    """
    environ = os.environ if environ is None else environ
    if engine_name not in ENGINES:
        raise ConfigError(f"there is no engine {engine_name!r}", hint=f"one of {', '.join(ENGINES)}")
    if engine_name == "null":
        from sai3tui.storage.null import NullEngine

        return NullEngine(options)
    if scheme in _FILE_SCHEMES:
        from sai3tui.storage.files import FileEngine

        return FileEngine(options)
    if scheme != "s3":
        raise ConfigError(f"there is no engine for {scheme}:// yet", hint="s3:// and file:// can be run")
    if engine_name == "boto":
        from sai3tui.storage.boto import BotoEngine

        return BotoEngine(options, environ)
    from sai3tui.storage.s3wire import WireEngine

    return WireEngine(options, environ)


def endpoint_from_location(location: Location, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint that `location` names; a bare `s3://BUCKET/` gets its host from `environ`.

    AWS_ENDPOINT_URL_S3 goes before AWS_ENDPOINT_URL; without both it is AWS itself, in the region of the environment.
    Raises ConfigError for an endpoint URL that is none, and for schemes without an engine.
    """
    if location.scheme in _FILE_SCHEMES:
        return Endpoint(uri=location.uri, scheme="file", prefix=location.prefix)
    if location.scheme != "s3":
        raise ConfigError(
            f"there is no engine for {location.scheme}:// yet",
            hint="s3:// and file:// can be run",
            context=ErrorContext(uri=location.uri),
        )
    url = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    placed = with_default_endpoint(location, url or f"https://s3.{region_of(environ)}.amazonaws.com")
    return Endpoint(placed.uri, "s3", placed.host, placed.port, placed.bucket, placed.prefix, placed.tls)
