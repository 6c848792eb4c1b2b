"""The command line as a stranger meets it: real processes, exit codes, what goes to which stream."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest

from sai3tui import cli
from sai3tui.cli import configs
from sai3tui.errors import AgentLostError, ConfigError, Sai3Error


def run(*arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sai3tui", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sai3tui {version('sai3tui')}\n", "")


def test_help_names_every_command_and_exit_code() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert f"\n  {command} " in done.stdout
    for code in ("0", "1", "2", "3", "6", "129", "130", "143"):
        assert f"\n  {code} " in done.stdout


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: sai3tui {command}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--bogus"], "--bogus"),
        (["--batch"], "needs a CONFIG"),
        (["--json", "x.yaml"], "--json works with --batch only"),
        (["--fresh", "x.yaml"], "--fresh works with --batch only"),
        (["--batch", "x.yaml", "--agents", "a:1,,b:2"], "empty address"),
        (["plan"], "FILE"),
        (["plan", "x.yaml", "--object", "1,x"], "not a list of object indices"),
        (["validate"], "FILE"),
        (["results"], "say what: list, show"),
        (["results", "show"], "RUN"),
        (["results", "bogus"], "bogus"),
        (["demo", "--agents", "0"], "from 1 to 64"),
        (["demo", "--agents", "many"], "from 1 to 64"),
        (["x.yaml", "y.yaml"], "y.yaml"),
        ([], "needs a terminal"),
        (["x.yaml"], "needs a terminal"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_message(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("sai3tui: ")


def test_light_commands_import_nothing_heavy() -> None:
    code = """
    import sys
    from sai3tui import cli
    try:
        cli.main(["validate", "--help"])
    except SystemExit:
        pass
    heavy = {"textual", "rich", "grpc", "aioboto3", "botocore", "lmdb", "plotext", "numpy"} & set(sys.modules)
    sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def failing(error: Sai3Error, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        try:
            raise OSError("the disk said no")
        except OSError as below:
            raise error from below

    monkeypatch.setattr(configs, "_validate", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("this is wrong", hint="do that"), 2),
        (AgentLostError("this is wrong", hint="do that"), 1),
    ],
)
def test_an_error_is_told_with_cause_and_hint(
    error: Sai3Error, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error, monkeypatch)
    assert cli.main(["validate", "x"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sai3tui: this is wrong\n  because: OSError: the disk said no\n  hint: do that\n"


def test_verbose_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(ConfigError("this is wrong"), monkeypatch)
    assert cli.main(["-v", "validate", "x"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_file_called_like_a_command_needs_a_path(tmp_path: Path) -> None:
    parsed = cli.parse(["--results", "demo", "./plan"])
    assert parsed.config == Path("plan")
    assert parsed.results == Path("demo")


@pytest.mark.parametrize("arguments", [["-v", "results", "list"], ["results", "-v", "list"], ["results", "list", "-v"]])
def test_verbose_counts_wherever_it_stands(arguments: list[str]) -> None:
    assert cli.parse(arguments).verbose is True
    assert cli.parse([word for word in arguments if word != "-v"]).verbose is False
