"""Who may give orders to an agent: those with a certificate of its CA, or its token, and nobody else."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sai3tui.access import NO_ACCESS, Access, Identity, Role, load_access
from sai3tui.agent.listen import TokenGuard, check_exposure
from sai3tui.certificates import issue, make_authority
from sai3tui.cli import main
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.channel import open_channel
from sai3tui.errors import ConfigError, ErrorKind, Sai3Error
from tests.agents import AgentUnderTest, running_agent
from tests.test_agent_main import run_to_end

TOKEN = "correct-horse-battery-staple"


class Authority:
    """A CA with certificates of an agent on loopback and of a controller."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_authority(directory)
        issue(directory, directory / "agent", Role.AGENT, ["127.0.0.1", "localhost"])
        issue(directory, directory / "controller", Role.CONTROLLER)

    def access(self, role: Role, token: str = "") -> Access:
        found = load_access(role, self.directory / role.value, None, {})
        return Access(found.identity, token)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs") / "ca")


async def greet(agent: AgentUnderTest, access: Access) -> Sai3Error | None:
    """What keeps a controller with this access from the agent."""
    link = AgentLink("a", agent.address, access)
    try:
        await link.connect()
    except Sai3Error as error:
        return error
    finally:
        await link.close()
    return None


# --- certificates


def test_keys_are_private_and_certificates_say_what_they_are_for(ours: Authority) -> None:
    for name in ("ca.key", "agent/agent.key", "controller/controller.key"):
        assert stat.S_IMODE((ours.directory / name).stat().st_mode) == 0o600
    for role, usage in (
        (Role.AGENT, ExtendedKeyUsageOID.SERVER_AUTH),
        (Role.CONTROLLER, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        pem = (ours.directory / role.value / f"{role.value}.crt").read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert (ours.directory / role.value / "ca.crt").read_bytes() == (ours.directory / "ca.crt").read_bytes()
        assert not (ours.directory / role.value / "ca.key").exists()


def test_nothing_is_overwritten(ours: Authority) -> None:
    key = (ours.directory / "ca.key").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        make_authority(ours.directory)
    with pytest.raises(ConfigError, match="exists already"):
        issue(ours.directory, ours.directory / "controller", Role.CONTROLLER)
    assert (ours.directory / "ca.key").read_bytes() == key


@pytest.mark.parametrize("name", ["host:7167", "a b", "", "-x", "../x", "x\0", "http://x"])
def test_what_is_no_name_is_refused(ours: Authority, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        issue(ours.directory, tmp_path / "out", Role.AGENT, [name])
    assert not (tmp_path / "out").exists()


def test_certs_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca = str(tmp_path / "ca")
    assert main(["certs", "agent", "host1", "--ca", ca]) == 2
    assert "certs init" in capsys.readouterr().err
    assert main(["certs", "init", "--ca", ca]) == 0
    assert main(["certs", "agent", "host1", "10.0.0.5", "--ca", ca]) == 0
    assert main(["certs", "controller", "--ca", ca, "-o", str(tmp_path / "c"), "--days", "3"]) == 0
    assert "--certs" in capsys.readouterr().out
    pem = (tmp_path / "ca" / "host1" / "agent.crt").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host1"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5"]
    assert load_access(Role.CONTROLLER, tmp_path / "c", None, {}).encrypts


def test_an_expired_certificate_is_named_before_anybody_connects(ours: Authority, tmp_path: Path) -> None:
    issue(ours.directory, tmp_path, Role.CONTROLLER, days=0)
    with pytest.raises(ConfigError, match="expired at"):
        load_access(Role.CONTROLLER, tmp_path, None, {})


# --- tokens


@pytest.mark.parametrize("token", ["short", "x" * 15, "with blanks in it, long enough", "ünïcödé-but-long-enough", ""])
def test_a_token_that_cannot_be_used_is_refused(tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(ConfigError):
        load_access(Role.AGENT, None, file, {})
    if token:
        with pytest.raises(ConfigError) as caught:
            load_access(Role.AGENT, None, None, {"SAI3TUI_TOKEN": token})
        assert token not in str(caught.value)


def test_a_token_comes_from_a_file_else_the_environment_and_is_in_no_repr(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    access = load_access(Role.AGENT, None, file, {"SAI3TUI_TOKEN": "another-token-altogether"})
    assert access.token == TOKEN
    assert access.options() == ["--token-file", str(file)]
    assert TOKEN not in repr(access)
    found = load_access(Role.AGENT, None, None, {"SAI3TUI_TOKEN": TOKEN})
    assert (found.token, found.options()) == (TOKEN, [])


def test_beyond_loopback_somebody_must_be_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    assert check_exposure("127.0.0.1", NO_ACCESS, insecure=False) is False
    with pytest.raises(ConfigError, match="without asking") as caught:
        check_exposure("0.0.0.0", NO_ACCESS, insecure=False)
    assert "sai3tui certs" in caught.value.hint
    assert check_exposure("0.0.0.0", Access(token=TOKEN), insecure=False) is False
    assert "without TLS" in caplog.text
    assert check_exposure("0.0.0.0", NO_ACCESS, insecure=True) is True
    assert "INSECURE" in caplog.text


# --- agents


async def test_only_controllers_of_the_same_ca_are_let_in(ours: Authority, theirs: Authority, tmp_path: Path) -> None:
    controller, stranger = ours.access(Role.CONTROLLER), theirs.access(Role.CONTROLLER)
    assert controller.identity is not None
    assert stranger.identity is not None
    # A stranger who trusts us, as far as the handshake lets it come: the agent's turn to refuse.
    intruder = Access(Identity(controller.identity.authority, stranger.identity.certificate, stranger.identity.key))
    with running_agent(tmp_path, "--certs", str(ours.directory / "agent")) as agent:
        assert await greet(agent, controller) is None
        for who, access in {
            "nothing": NO_ACCESS,
            "other CA": stranger,
            "foreign certificate": intruder,
            "agent's certificate": ours.access(Role.AGENT),
        }.items():
            error = await greet(agent, access)
            assert error is not None, who
            assert error.kind is ErrorKind.AGENT_LOST
            assert "certs" in error.hint
        assert await greet(agent, controller) is None


async def test_an_agent_with_a_certificate_for_another_name_is_not_trusted(ours: Authority, tmp_path: Path) -> None:
    issue(ours.directory, tmp_path / "wrong", Role.AGENT, ["other.lab"])
    with running_agent(tmp_path, "--certs", str(tmp_path / "wrong")) as agent:
        error = await greet(agent, ours.access(Role.CONTROLLER))
    assert error is not None
    assert "another name" in error.message


async def test_a_token_is_asked_for_beside_the_certificate(ours: Authority, tmp_path: Path) -> None:
    environ = {"SAI3TUI_TOKEN": TOKEN}
    with running_agent(tmp_path, "--certs", str(ours.directory / "agent"), environ=environ) as agent:
        error = await greet(agent, ours.access(Role.CONTROLLER))
        assert error is not None
        assert error.kind is ErrorKind.AUTH
        assert "--token-file" in error.hint
        assert await greet(agent, ours.access(Role.CONTROLLER, TOKEN)) is None
        assert "refused" in agent.log
        assert TOKEN not in agent.log


async def test_a_call_without_the_token_is_refused_before_its_payload_is_parsed(tmp_path: Path) -> None:
    rubbish = b"\xff" * 5_000_000
    calls = {"Hello": "unary_unary", "Preflight": "unary_stream", "Run": "stream_stream", "Abort": "unary_unary"}
    with running_agent(tmp_path, environ={"SAI3TUI_TOKEN": TOKEN}) as agent:
        for given in (None, "", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN):
            metadata = () if given is None else (("authorization", given),)
            channel = open_channel(agent.address, NO_ACCESS)
            try:
                for name, kind in calls.items():
                    call = getattr(channel, kind)(f"/sai3tui.v1.Agent/{name}")
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await first_answer(call, rubbish, kind, metadata)
                    # Whoever parses the rubbish says INTERNAL, or that it is too large.
                    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, (given, name)
            finally:
                await channel.close()
        assert await greet(agent, Access(token=TOKEN)) is None


async def first_answer(call, payload, kind, metadata):
    async with asyncio.timeout(30):
        if kind == "unary_unary":
            return await call(payload, metadata=metadata)
        if kind == "unary_stream":
            return await anext(aiter(call(payload, metadata=metadata)))
        stream = call(metadata=metadata)
        return await anext(aiter(stream))


def test_workers_do_not_inherit_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sai3tui.agent import main as agent_main

    monkeypatch.setenv("SAI3TUI_TOKEN", TOKEN)
    seen: list[str | None] = []

    async def serve(*_: object, **__: object) -> int:
        import os

        seen.append(os.environ.get("SAI3TUI_TOKEN"))
        return 0

    monkeypatch.setattr(agent_main, "_serve", serve)
    monkeypatch.setattr(agent_main, "_log_to_stderr", lambda **_: None)
    agent_main.run_agent(agent_main.AgentOptions("127.0.0.1:0", tmp_path))
    assert seen == [None]


async def test_the_guard_logs_few_of_many_refusals(caplog: pytest.LogCaptureFixture) -> None:
    guard = TokenGuard(TOKEN)

    class Context:
        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        async def abort(self, code: grpc.StatusCode, text: str) -> None:
            assert code is grpc.StatusCode.UNAUTHENTICATED

    for _ in range(1000):
        await guard._refuse(None, Context())  # type: ignore[arg-type]
    assert len(caplog.records) == 1


def test_an_agent_beyond_loopback_takes_a_token_for_leave(tmp_path: Path) -> None:
    arguments = ("--listen", "0.0.0.0:0", "--data-dir", str(tmp_path / "d"), "--token-file", str(tmp_path / "none"))
    code, output = run_to_end(tmp_path, *arguments)
    assert code == 2
    assert "cannot read" in output
