"""Our request heads carry the very signature that botocore computes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.storage.credentials import Credentials
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.sigv4 import RequestSigner, encode_key, encode_query, host_header

KEYS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40)
SECRETS = st.text("abcXYZ019/+=", min_size=8, max_size=64)


class FixedAuth(S3SigV4Auth):
    """botocore's signer at a given time, with an unsigned payload as we send it."""

    def __init__(self, credentials: BotoCredentials, region: str, now: float) -> None:
        super().__init__(credentials, "s3", region)
        self.stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")

    def oracle(self, method: str, url: str, token: str) -> str:
        request = AWSRequest(method=method, url=url)
        request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
        request.headers["x-amz-date"] = self.stamp
        if token:
            request.headers["x-amz-security-token"] = token
        request.context["timestamp"] = self.stamp
        request.context["payload_signing_enabled"] = False
        text = self.string_to_sign(request, self.canonical_request(request))
        return str(self.signature(text, request))

    def payload(self, request: AWSRequest) -> str:
        return "UNSIGNED-PAYLOAD"


def parts(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("ascii").split("\r\n")
    assert lines[-2:] == ["", ""]
    method, target, version = lines[0].split(" ")
    assert version == "HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    return method, target, headers


@given(
    key=KEYS,
    prefix=st.one_of(st.just(""), KEYS.map(lambda text: text.strip("/") + "/")),
    method=st.sampled_from([b"GET", b"PUT", b"HEAD", b"DELETE"]),
    secret=SECRETS,
    token=st.text("abcXYZ019/+=", max_size=40),
    region=st.sampled_from(["us-east-1", "eu-central-1", "x"]),
    now=st.integers(0, 4_000_000_000),
    port=st.sampled_from([80, 443, 9000]),
    tls=st.booleans(),
)
def test_signature_is_botocores(
    key: str, prefix: str, method: bytes, secret: str, token: str, region: str, now: int, port: int, tls: bool
) -> None:
    endpoint = Endpoint("s3://x/", "s3", "storage.example", port, "some-bucket", prefix, tls)
    signer = RequestSigner(endpoint, Credentials("AKID", secret, token), region, now)
    verb, target, headers = parts(signer.object_head(method, key, b"Content-Length: 5\r\n"))
    url = f"{'https' if tls else 'http'}://{headers['Host']}{target}"
    oracle = FixedAuth(BotoCredentials("AKID", secret, token or None), region, now)
    assert verb == method.decode()
    assert target == "/some-bucket/" + quote(prefix + key, safe="/-._~")
    assert headers["Content-Length"] == "5"
    assert headers["Authorization"].endswith("Signature=" + oracle.oracle(verb, url, token))
    assert headers.get("x-amz-security-token", "") == token
    signed = re.search("SignedHeaders=([^,]*),", headers["Authorization"])
    assert signed is not None
    assert set(signed[1].split(";")) == {"host", "x-amz-content-sha256", "x-amz-date"} | (
        {"x-amz-security-token"} if token else set()
    )


@given(prefix=st.text(st.characters(blacklist_categories=["Cs"]), max_size=40), limit=st.integers(1, 1000))
def test_listing_query_is_signed_in_canonical_form(prefix: str, limit: int) -> None:
    signer = RequestSigner(Endpoint("s3://x/", "s3", "::1", 9000, "bkt"), Credentials("AKID", "secretsecret"), "r", 77)
    query = b"list-type=2&max-keys=%d&prefix=%b" % (limit, encode_query(prefix))
    _, target, headers = parts(signer.bucket_head(b"GET", query))
    oracle = FixedAuth(BotoCredentials("AKID", "secretsecret"), "r", 77)
    assert headers["Host"] == "[::1]:9000"
    assert headers["Authorization"].endswith("Signature=" + oracle.oracle("GET", f"http://[::1]:9000{target}", ""))


def test_refresh_moves_date_scope_and_key_over_midnight() -> None:
    endpoint = Endpoint("s3://x/", "s3", "h", 80, "bkt")
    before = 1_700_006_399.0  # 23:59:59 UTC
    signer = RequestSigner(endpoint, Credentials("AKID", "secretsecret"), "us-east-1", before)
    signer.refresh(before + 1)
    fresh = RequestSigner(endpoint, Credentials("AKID", "secretsecret"), "us-east-1", before + 1)
    assert signer.object_head(b"GET", "k") == fresh.object_head(b"GET", "k")
    assert b"20231115" in signer.object_head(b"GET", "k")


def test_every_byte_but_unreserved_is_encoded() -> None:
    text = "".join(map(chr, range(1, 256)))
    encoded = encode_key(text).decode()
    assert re.fullmatch(r"(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*", encoded)
    assert encode_key("a\udcff").decode() == "a%FF"
    assert encode_query("a/b ~").decode() == "a%2Fb%20~"


@pytest.mark.parametrize(
    ("host", "port", "tls", "expected"),
    [
        ("h", 80, False, "h"),
        ("h", 443, True, "h"),
        ("h", 443, False, "h:443"),
        ("fe80::1", 9000, False, "[fe80::1]:9000"),
    ],
)
def test_host_header(host: str, port: int, tls: bool, expected: str) -> None:
    assert host_header(host, port, tls=tls) == expected
