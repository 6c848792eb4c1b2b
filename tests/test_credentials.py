"""Where the key pair comes from when the environment does not hold it: files, profiles, an exchange of tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from sai3tui.errors import ErrorKind, StorageError
from sai3tui.storage.credentials import Credentials, find_credentials

SECRET = "s3cr3t-" + "x9" * 12
TOKEN = "header.payload.signature-" + "y8" * 12
ASSUMED = f"""
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><Credentials>
    <AccessKeyId>ASIAEXCHANGED</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>
    <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
  </Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>
"""
REFUSED = """
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not for this role</Message></Error>
</ErrorResponse>
"""


@contextmanager
def token_service(status: int, document: str) -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """The URL of a service that gives this answer, and what it was asked."""
    asked: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(document.encode())))
            self.end_headers()
            self.wfile.write(document.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credentials anywhere but where the test puts them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return monkeypatch


def profiles(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = first\naws_secret_access_key = {SECRET}1\n"
        f"[lab]\naws_access_key_id = second\naws_secret_access_key = {SECRET}2\naws_session_token = t\n"
    )


def test_profiles_of_the_credentials_file(tmp_path: Path) -> None:
    profiles(tmp_path)
    assert find_credentials({}) == Credentials("first", SECRET + "1")
    assert find_credentials({"AWS_PROFILE": "lab"}) == Credentials("second", SECRET + "2", "t")
    pair = {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert find_credentials(pair | {"AWS_PROFILE": "lab"}) == Credentials("own", SECRET)


@pytest.mark.parametrize("profile", ["none", ""])
def test_what_is_not_there_is_said(profile: str) -> None:
    with pytest.raises(StorageError, match="S3 credentials") as caught:
        find_credentials({"AWS_PROFILE": profile} if profile else {})
    assert caught.value.kind is ErrorKind.AUTH
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def web_identity(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/bench")
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "night")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)


def test_a_web_identity_is_exchanged(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    with token_service(200, ASSUMED) as (url, asked):
        web_identity(url, tmp_path, bare)
        found = find_credentials({})
    assert found == Credentials("ASIAEXCHANGED", SECRET, "session")
    assert SECRET not in repr(found)
    (request,) = asked
    assert request["Action"] == ["AssumeRoleWithWebIdentity"]
    assert request["WebIdentityToken"] == [TOKEN]
    assert request["RoleArn"] == ["arn:aws:iam::123456789012:role/bench"]


def test_a_web_identity_that_is_refused_is_said_without_the_token(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    with token_service(403, REFUSED) as (url, _):
        web_identity(url, tmp_path, bare)
        with pytest.raises(StorageError) as caught:
            find_credentials({})
    failure = caught.value.failure()
    assert failure.kind is ErrorKind.AUTH
    assert any("not for this role" in cause for cause in failure.causes)
    assert TOKEN not in str(failure)


def test_a_token_that_is_missing_is_said(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    with token_service(200, ASSUMED) as (url, asked):
        web_identity(url, tmp_path, bare)
        (tmp_path / "token").unlink()
        with pytest.raises(StorageError) as caught:
            find_credentials({})
    assert caught.value.kind is ErrorKind.AUTH
    assert asked == []
