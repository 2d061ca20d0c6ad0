"""What set-up decides on machines of all kinds, made up here; no command is run."""

import json
from pathlib import Path

import pytest

from shared.srt.library import SONAMES
from tests.support.setup_scripts import FakeHost, setup_clients, setup_env, setup_host, setup_peers, setup_servers

APT = ("apt-get", "apt-cache", "dpkg-deb")
VENV = setup_env.venv_package()
PYTHON_RUNS = {"platform.python_version": "3.11.2\n"}
INSTALLS = {"pip install": True, **PYTHON_RUNS}


def made(tmp_path: Path, host: FakeHost, *, allowed: bool = True) -> setup_env.Setup:
    """A set-up of a checkout; the .venv appears when the venv module is run."""
    for name in setup_env.INPUTS:
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv").mkdir(exist_ok=True)
    return setup_env.Setup(tmp_path, "/usr/bin/python3", host, setup_host.Apt(host, allowed=allowed))


def pip_appears_after(host: FakeHost, part: str) -> None:
    """The Python of .venv has pip once a command with `part` was run."""
    host.answers["-sEm pip --version"] = lambda: host.did(part)


def test_a_second_run_finds_the_stamp(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, "-sEm pip --version": "pip 26", **INSTALLS})
    setup = made(tmp_path, host)
    assert not setup.ready()
    setup.make()
    assert setup.ready()
    assert not setup.unfinished.exists()


@pytest.mark.parametrize("name", setup_env.INPUTS)
def test_a_changed_lock_or_project_is_installed_into_the_same_venv(tmp_path: Path, name: str) -> None:
    host = FakeHost({"-m venv": True, "-sEm pip --version": "pip 26", "sys.exit": True, **INSTALLS})
    setup = made(tmp_path, host)
    setup.make()
    (tmp_path / name).write_text("changed")
    assert not setup.ready()
    setup.make()
    assert setup.ready()
    assert not host.did("-m venv")


def test_another_python_behind_the_venv_is_noticed(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, "-sEm pip --version": "pip 26", **INSTALLS})
    setup = made(tmp_path, host)
    setup.make()
    host.answers["platform.python_version"] = "3.13.5\n"
    assert not setup.ready()
    host.answers["platform.python_version"] = False
    assert not setup.ready()


def test_a_moved_checkout_is_set_up_anew(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    assert made(one, FakeHost({})).inputs() != made(other, FakeHost({})).inputs()


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"inputs": "other", "python": "3.11.2"})])
def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, content: str) -> None:
    setup = made(tmp_path, FakeHost(PYTHON_RUNS))
    setup.stamp.write_text(content)
    assert not setup.ready()


def test_a_failed_install_leaves_no_stamp_and_the_next_run_starts_from_nothing(tmp_path: Path) -> None:
    answers = {"-m venv": True, "-sEm pip --version": "pip 26", "sys.exit": True, **INSTALLS}
    host = FakeHost(answers | {"--require-hashes": False})
    setup = made(tmp_path, host)
    with pytest.raises(setup_host.SetupError, match="try again"):
        setup.make()
    assert not setup.stamp.exists()
    host.answers["--require-hashes"] = True
    setup.make()
    assert host.did("-m venv --without-pip --clear")
    assert setup.ready()


def test_pip_comes_from_ensurepip_when_python_has_it(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, "ensurepip": True, **INSTALLS}, programs=APT)
    pip_appears_after(host, "ensurepip")
    made(tmp_path, host).make()
    assert not host.did("apt-get")


def test_pip_comes_from_the_wheel_that_debian_keeps(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, **INSTALLS}, programs=APT)
    wheel = setup_host.PYTHON_WHEELS / "pip-23.0.1-py3-none-any.whl"
    host.wheels[setup_host.PYTHON_WHEELS] = [wheel]
    pip_appears_after(host, f"{wheel}/pip install")
    made(tmp_path, host).make()
    assert not host.did("apt-get")


def test_pip_comes_from_the_pip_of_the_system(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, "/usr/bin/python3 -m pip": True, **INSTALLS}, programs=APT)
    pip_appears_after(host, "/usr/bin/python3 -m pip --python")
    made(tmp_path, host).make()
    assert not host.did("apt-get")


def test_pip_comes_from_a_package_that_is_unpacked_but_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeHost({"-m venv": True, "dpkg-deb -x": True, **INSTALLS}, programs=APT)

    def fetch(package: str, folder: Path) -> bool:
        assert package == "python3-pip-whl"
        wheels = folder / "usr/share/python-wheels"
        host.wheels[wheels] = [wheels / "pip-1-py3-none-any.whl"]
        return True

    setup = made(tmp_path, host)
    monkeypatch.setattr(setup.apt, "fetch", fetch)
    pip_appears_after(host, "pip-1-py3-none-any.whl/pip install")
    setup.make()
    assert not host.did("apt-get install")


def test_root_without_any_pip_gets_the_venv_package(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, f"install -y --no-install-recommends {VENV}": True, **INSTALLS}, programs=APT)
    host.root = True
    host.answers["ensurepip"] = lambda: host.did(VENV)
    pip_appears_after(host, VENV)
    made(tmp_path, host).make()
    assert not host.did("sudo")


def test_without_rights_the_exact_command_is_told(tmp_path: Path) -> None:
    host = FakeHost({"-m venv": True, **INSTALLS}, programs=APT)
    with pytest.raises(setup_host.SetupError, match=rf"sudo apt-get install -y {VENV}$"):
        made(tmp_path, host).make()
    assert not host.did(f"install -y --no-install-recommends {VENV}")


def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(setup_host.SetupError, match=rf"no venv module.*apt-get install -y {VENV}$"):
        made(tmp_path, FakeHost({})).make()


def test_the_users_pip_settings_stay_but_those_that_would_miss_the_venv_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")
    monkeypatch.setenv("PIP_CERT", "/some/bundle.pem")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    environment = setup_env.pip_environment()
    assert (environment["PIP_INDEX_URL"], environment["PIP_CERT"]) == ("https://example.org/simple", "/some/bundle.pem")
    assert environment["PIP_USER"] == "0"
    assert "PIP_TARGET" not in environment


def test_libsrt_is_left_alone_when_it_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = FakeHost({}, programs=APT, root=True)
    host.libraries = {SONAMES[0]}
    made(tmp_path, host).check_libsrt(install=True)
    assert not host.commands
    assert not capsys.readouterr().err


def test_root_gets_the_libsrt_that_the_distribution_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = "libsrt1.4-gnutls - Secure Reliable Transport\nlibsrt1.5-gnutls - Secure Reliable Transport\n"
    host = FakeHost({"apt-cache search": found}, programs=APT, root=True)

    def install() -> bool:
        host.libraries = {SONAMES[0]}
        return True

    host.answers["install -y --no-install-recommends libsrt1.5-gnutls"] = install
    made(tmp_path, host).check_libsrt(install=True)
    assert "is missing" not in capsys.readouterr().err


def test_old_package_lists_are_renewed_once(tmp_path: Path) -> None:
    host = FakeHost({"apt-get": True}, programs=(*APT, "sudo"))
    host.answers["sudo -n true"] = True
    host.answers["apt-cache search"] = lambda: "libsrt1.5-gnutls - SRT\n" if host.did(" update") else ""
    host.answers["install -y --no-install-recommends"] = False
    made(tmp_path, host).check_libsrt(install=True)
    assert sum(" update" in command for command in host.commands) == 1
    assert all(command.startswith("sudo -n ") for command in host.commands if "apt-get" in command)


@pytest.mark.parametrize(
    ("root", "programs", "allowed", "command"),
    [
        (False, APT, True, "sudo apt-get install -y libsrt1.5-gnutls"),
        (True, (), True, "apt-get install -y libsrt1.5-gnutls"),
        (True, APT, False, "apt-get install -y libsrt1.5-gnutls"),
    ],
)
def test_who_may_not_install_is_told_how_and_set_up_goes_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    root: bool,
    programs: tuple[str, ...],
    allowed: bool,
    command: str,
) -> None:
    host = FakeHost({}, programs=programs, root=root)
    made(tmp_path, host, allowed=allowed).check_libsrt(install=True)
    text = capsys.readouterr().err
    assert "RTMP works, SRT does not" in text
    assert text.strip().endswith(f": {command}")
    assert not host.did("install -y")


def test_set_up_looks_for_libsrt_under_the_names_that_the_ingester_loads() -> None:
    assert set(setup_host.LIBSRT_NAMES) == set(SONAMES)


def test_the_tests_server_is_fetched_but_never_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = FakeHost({"apt-get": ""}, programs=APT, root=True)
    assert setup_peers.fetch_nginx(host, setup_host.Apt(host), tmp_path)
    assert not host.commands  # it is there
    host.exists = lambda path: False  # type: ignore[method-assign]
    assert not setup_peers.fetch_nginx(host, setup_host.Apt(host), tmp_path)
    assert host.did("download nginx")
    assert not host.did(" install ")
    assert capsys.readouterr().err.strip().endswith("apt-get install -y nginx libnginx-mod-rtmp")
    assert not setup_peers.fetch_dav(host, setup_host.Apt(host), tmp_path)
    assert capsys.readouterr().err.strip().endswith("apt-get install -y libnginx-mod-http-dav-ext")
    assert not list(tmp_path.iterdir())


def test_ftp_and_sftp_servers_are_fetched_but_never_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = FakeHost({"apt-get": ""}, programs=APT, root=True)
    assert setup_servers.fetch_servers(host, setup_host.Apt(host), tmp_path)
    assert not host.commands  # they are there
    host.exists = lambda path: False  # type: ignore[method-assign]
    assert not setup_servers.fetch_servers(host, setup_host.Apt(host), tmp_path)
    assert all(host.did(f"download {packages[0]}") for _, packages, _ in setup_servers.SERVERS)
    assert not host.did(" install ")
    assert "apt-get install -y vsftpd\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_vendors_client_is_fetched_beside_the_environment_by_its_hashes(tmp_path: Path) -> None:
    host = FakeHost({})
    assert setup_clients.fetch_kaltura(host, tmp_path)
    assert not host.commands  # it is there
    host.exists = lambda path: False  # type: ignore[method-assign]
    assert not setup_clients.fetch_kaltura(host, tmp_path)
    assert host.did("--require-hashes")
    assert host.did(f"--target {tmp_path}")
    assert not list(tmp_path.iterdir())
