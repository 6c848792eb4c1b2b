from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.expand import expand
from sai3tui.config.locations import parse_location, with_default_endpoint
from sai3tui.errors import ConfigError


@pytest.mark.parametrize(
    ("uri", "scheme", "host", "port", "tls", "bucket", "prefix"),
    [
        ("s3://bucket", "s3", "", 0, False, "bucket", ""),
        ("s3://bucket/a/b", "s3", "", 0, False, "bucket", "a/b/"),
        ("s3://sai3-bucket1/", "s3", "", 0, False, "sai3-bucket1", ""),
        ("s3://10.9.0.21/sai3-bucket1/", "s3", "10.9.0.21", 80, False, "sai3-bucket1", ""),
        ("s3://10.20.0.1:9000/lab/bench/", "s3", "10.20.0.1", 9000, False, "lab", "bench/"),
        ("s3://minio/b/", "s3", "minio", 80, False, "b", ""),
        ("s3://ceph-rgw:7480/b/", "s3", "ceph-rgw", 7480, False, "b", ""),
        ("s3://localhost/b/", "s3", "localhost", 80, False, "b", ""),
        ("s3://a.b.c/b/", "s3", "a.b.c", 80, False, "b", ""),
        ("s3://one.dot/x/", "s3", "", 0, False, "one.dot", "x/"),
        ("s3://[::1]:9000/b/", "s3", "::1", 9000, False, "b", ""),
        ("s3+http://store/b/p/", "s3", "store", 80, False, "b", "p/"),
        ("s3+https://store/b/", "s3", "store", 443, True, "b", ""),
        ("s3+https://store:8443/2digits.and.dots/", "s3", "store", 8443, True, "2digits.and.dots", ""),
        ("file:///mnt/x", "file", "", 0, False, "", "/mnt/x/"),
        ("file:///", "file", "", 0, False, "", "/"),
        ("direct:///mnt/x/", "direct", "", 0, False, "", "/mnt/x/"),
        ("az://container/p", "az", "", 0, False, "container", "p/"),
        ("gs://bucket/", "gs", "", 0, False, "bucket", ""),
    ],
)
def test_locations(uri: str, scheme: str, host: str, port: int, tls: bool, bucket: str, prefix: str) -> None:
    found = parse_location(uri)
    assert (found.scheme, found.host, found.port, found.tls) == (scheme, host, port, tls)
    assert (found.bucket, found.prefix) == (bucket, prefix)
    assert found.uri.startswith(uri)
    assert found.uri_of("k").endswith("/k")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "data/",
        "/mnt/x",
        "s3:/b",
        "s3://",
        "s3:///key",
        "s3://10.0.0.1",
        "s3://10.0.0.1/",
        "s3://h:0/b/",
        "s3://h:99999/b/",
        "s3://h:http/b/",
        "s3://[::1/b/",
        "s3+http:///b/",
        "s3+ftp://h/b/",
        "s3://bad bucket/",
        "s3://b\n/",
        "file://relative/dir",
        "file:///a/../b",
        "http://h/b",
        "az://",
    ],
)
def test_what_is_no_location_has_a_hint(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(uri)
    assert caught.value.hint


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location("s3://key:topsecret@host:9000/b/")
    assert "topsecret" not in str(caught.value)
    assert "topsecret" not in caught.value.context.uri


def test_the_default_endpoint_fills_in_a_bare_bucket_only() -> None:
    bare = with_default_endpoint(parse_location("s3://b/p/"), "https://store:9443")
    assert (bare.host, bare.port, bare.tls, bare.bucket, bare.prefix) == ("store", 9443, True, "b", "p/")
    own = parse_location("s3://10.0.0.1/b/")
    assert with_default_endpoint(own, "http://other") == own
    assert with_default_endpoint(parse_location("s3://b/"), "") == parse_location("s3://b/")
    with pytest.raises(ConfigError):
        with_default_endpoint(parse_location("s3://b/"), "store:9000")


@given(st.text(max_size=40), st.sampled_from(["", "s3://", "s3+http://", "file://", "s3://h:1/", "az://"]))
def test_any_text_is_a_location_or_a_config_error(text: str, start: str) -> None:
    with suppress(ConfigError):
        found = parse_location(start + text)
        assert found.uri.endswith("/")
        assert found.prefix == "" or found.prefix.endswith("/")
        assert found.scheme == "file" or found.scheme == "direct" or not found.prefix.startswith("/")


def test_expansion() -> None:
    assert expand("plain") == ["plain"]
    assert expand("h{1...3}:7167") == ["h1:7167", "h2:7167", "h3:7167"]
    assert expand("h{08...10}") == ["h08", "h09", "h10"]
    assert expand("r{1...2}n{1...2}") == ["r1n1", "r1n2", "r2n1", "r2n2"]
    for bad in ("h{3...1}", "h{1...99999}", "a{1...100}b{1...100}"):
        with pytest.raises(ConfigError):
            expand(bad)
