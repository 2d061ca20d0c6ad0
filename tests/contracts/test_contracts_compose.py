"""compose/compose.yaml against the code: every service, port, variable and health path that it names exists."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from services.cli.broker import MAX_FILE_STORE, MAX_MEMORY_STORE, SYNC_INTERVAL
from shared.broker.permissions import OPERATOR, USERS, password_variable
from shared.broker.streams import CONSUMERS
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
DOCKERFILE = (ROOT / "compose/Dockerfile").read_text()
SERVICES = {
    "gateway", "scheduler", "ingester", "proxy-encoder", "archiver", "clipper", "exporter", "restreamer", "notifier",
}  # fmt: skip
STORE_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
SECRET_KEY = "REELAY_SECRET_KEY"
PROXY_NETS = "REELAY_PROXY_NETS"
NOT_IN_CONTAINERS = {
    "REELAY_NATS_PORT",  # of the broker that `reelay up` embeds
    "REELAY_INSTANCE",  # each container has its own: its host name
    "REELAY_LOG_SIZE",  # the engine keeps the logs
    "REELAY_LOG_FILES",
}
FOREIGN_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ROOT_ACCESS_KEY", "ROOT_SECRET_KEY", "SERVICE"}


def ours() -> dict[str, dict[str, Any]]:
    return {name: s for name, s in COMPOSE["services"].items() if "build" in s}


def environment(name: str) -> dict[str, str]:
    found: dict[str, str] = COMPOSE["services"][name].get("environment", {})
    return found


def mounts(name: str) -> dict[str, tuple[str, bool]]:
    """Volumes of a service by where they are mounted, and whether it may write."""
    parts = [volume.split(":") for volume in COMPOSE["services"][name].get("volumes", [])]
    return {part[1]: (part[0], "ro" not in part[2:]) for part in parts}


def settings_variables() -> set[str]:
    return {f"REELAY_{name.upper()}" for name in Settings.model_fields}


def test_the_nine_services_and_the_provisioning_are_there() -> None:
    assert set(ours()) == SERVICES | {"provision"}
    assert {c.service for c in CONSUMERS} <= set(ours())


def test_each_is_built_from_the_one_dockerfile_and_its_module_and_extra_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, service in ours().items():
        assert (ROOT / "compose" / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        base = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
        assert base
        assert service["build"]["args"]["BASE_IMAGE"] == f"${{BASE_IMAGE:-{base[1]}}}"
        built = service["build"]["args"]["SERVICE"]
        assert built in extras
        assert importlib.util.find_spec(f"services.{built.replace('-', '_')}.__main__")
        if name != "provision":
            assert built == name


def test_commands_name_modules_that_exist() -> None:
    modules = [*re.findall(r'"-m", "([\w.]+)"', DOCKERFILE), ours()["provision"]["command"][-1]]
    assert set(modules) == {"shared.runtime.healthcheck", "shared.broker.provision"}
    for module in modules:
        assert importlib.util.find_spec(module)


def test_every_variable_is_a_setting() -> None:
    named = {key for s in COMPOSE["services"].values() for key in s.get("environment", {})}
    named |= set(re.findall(r"\b(REELAY_\w+)=", DOCKERFILE))
    named -= set(COMPOSE["services"]["nats"]["environment"])
    named |= set(re.findall(r"\bREELAY_\w+_PORT\b", (ROOT / "compose/haproxy.cfg").read_text()))
    assert named - FOREIGN_VARIABLES <= settings_variables()


def test_each_service_connects_as_its_own_user_and_the_broker_knows_their_passwords() -> None:
    users = {name: service["environment"]["REELAY_NATS_URL"] for name, service in ours().items()}
    nodes = "${NATS_NODES:-nats:4222}"
    assert users == {name: f"nats://{name}:${{{password_variable(name)}}}@{nodes}" for name in users}
    broker = COMPOSE["services"]["nats"]
    assert broker["environment"] == {v: f"${{{v}:?}}" for v in map(password_variable, USERS)}
    assert set(users) == set(USERS) - {OPERATOR}
    assert broker["command"] == ["-c", "/etc/reelay/server.conf", "-sd", "/data"]
    assert "./nats:/etc/reelay:ro" in broker["volumes"]


def test_every_setting_reaches_some_service_with_the_default_of_the_code() -> None:
    passed = {key for s in ours() for key in environment(s)}
    passed |= set(re.findall(r"\b(REELAY_\w+)=", DOCKERFILE))
    assert settings_variables() - passed == NOT_IN_CONTAINERS
    for name in ours():
        for key, value in environment(name).items():
            if not key.startswith("REELAY_") or key in {"REELAY_NATS_URL", "REELAY_PUBLIC_URL", PROXY_NETS, SECRET_KEY}:
                continue
            variable, default = re.fullmatch(r"\$\{(\w+):-(.*)\}", value).groups()  # type: ignore[union-attr]
            assert variable == key
            field = key.removeprefix("REELAY_").lower()
            made = Settings.model_validate({field: default})
            assert getattr(made, field) == Settings.model_fields[field].default, key


def test_a_service_gets_each_setting_that_it_reads() -> None:
    shared = "".join(path.read_text() for path in (ROOT / "shared/store").glob("*.py"))
    always = {"data_dir", "host", "health_port", "log_json", "nats_url", "nats_port", "nats_replicas", "instance"}
    indirect = {"base_url": "public_url", "allowed_networks": "allow_nets", "srt_out_spans": "srt_out_ports",
                "disk_reserve_bytes": "disk_reserve", "source_spool_bytes": "source_spool",
                "proxy_networks": "proxy_nets"}  # fmt: skip
    for name in SERVICES:
        code = "".join(p.read_text() for p in (ROOT / "services" / name.replace("-", "_")).rglob("*.py"))
        if "open_store" in code:
            code += shared
        read = set(re.findall(r"\bsettings\.(\w+)", code))
        fields = {indirect.get(field, field) for field in read} & set(Settings.model_fields)
        missing = {f"REELAY_{field.upper()}" for field in fields - always} - set(environment(name))
        assert not missing, name


def test_secrets_go_only_where_they_are_used() -> None:
    for name in SERVICES:
        code = "".join(p.read_text() for p in (ROOT / "services" / name.replace("-", "_")).rglob("*.py"))
        assert (SECRET_KEY in environment(name)) == ("service.vault" in code), name
        assert set(environment(name)) >= STORE_KEYS if "open_store" in code else not STORE_KEYS & set(environment(name))
    for name in COMPOSE["services"].keys() - SERVICES:
        assert SECRET_KEY not in environment(name)
        assert not STORE_KEYS & set(environment(name)) or name == "provision"  # makes the bucket


def test_media_and_library_are_writable_only_where_they_are_written() -> None:
    media = {name: mounts(name)["/data/media"] for name in ours() if "/data/media" in mounts(name)}
    assert media == {
        "ingester": ("media", True), "archiver": ("media", True), "clipper": ("media", True),
        "gateway": ("media", False), "exporter": ("media", False), "restreamer": ("media", False),
    }  # fmt: skip
    library = {name: mounts(name)["/data/library"] for name in ours() if "/data/library" in mounts(name)}
    readers = dict.fromkeys(("gateway", "clipper", "restreamer"), ("library", False))
    assert library == {"exporter": ("library", True), **readers}
    own = {name: mounts(name)["/data"] for name in ours() if "/data" in mounts(name)}
    assert own == {name: (name, True) for name in ("gateway", "ingester", "restreamer")}
    made = re.search(r"install -d -o reelay (.*)", DOCKERFILE)
    assert made
    assert {"/data", "/data/media", "/data/library"} <= set(made[1].split())


def test_every_container_is_hardened_and_has_a_limit() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges" in service["security_opt"], name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name


def test_the_balancers_publish_the_ports_and_the_services_none() -> None:
    published = {name: s["ports"] for name, s in COMPOSE["services"].items() if "ports" in s}
    default = {name: field.default for name, field in Settings.model_fields.items() if name.endswith("_port")}

    def port(name: str) -> str:
        return f"${{REELAY_{name}_PORT:-{default[name.lower() + '_port']}}}"

    assert published == {
        "haproxy": [f"{port('HTTP')}:{port('HTTP')}", f"{port('RTMP')}:{port('RTMP')}"],
        "srt": [f"{port('SRT')}:{port('SRT')}/udp"],
    }
    haproxy = (ROOT / "compose/haproxy.cfg").read_text()
    for service, name in (("gateway", "HTTP"), ("ingester", "RTMP")):
        assert f'server-template {service} 1-20 "{service}:${{REELAY_{name}_PORT}}"' in haproxy
        assert f'bind ":${{REELAY_{name}_PORT}}"' in haproxy
        assert f"REELAY_{name}_PORT" in environment("haproxy")
        assert f"REELAY_{name}_PORT" in environment(service)
    health = re.search(r"REELAY_HEALTH_PORT=(\d+)", DOCKERFILE)
    assert health
    assert haproxy.count("send-proxy-v2 check") == haproxy.count("server-template")
    for service in SERVICES:  # whom the balancer speaks to believes it, and nobody else
        assert (PROXY_NETS in environment(service)) == (service in {"gateway", "ingester"})
    assert set(re.findall(r"check port (\d+)", haproxy)) == {health[1]}
    assert "ingester:$REELAY_SRT_PORT" in (ROOT / "compose/srt.sh").read_text()


def test_the_broker_flushes_as_ours_does_and_its_health_sees_failed_writes() -> None:
    conf = (ROOT / "compose/nats/server.conf").read_text()
    assert f'sync_interval: "{SYNC_INTERVAL}"' in conf
    assert f"max_file_store: {MAX_FILE_STORE >> 30}GiB" in conf
    assert f"max_memory_store: {MAX_MEMORY_STORE >> 20}MiB" in conf
    assert COMPOSE["services"]["nats"]["healthcheck"]["test"][-1].endswith("/healthz")


def test_health_paths_exist() -> None:
    health = (ROOT / "shared/runtime/health.py").read_text()
    probe = (ROOT / "shared/runtime/healthcheck.py").read_text()
    for path in re.findall(r'"(/\w+z)"', probe):
        assert f'b"{path}"' in health
    assert "shared.runtime.healthcheck" in DOCKERFILE


def test_volumes_and_dependencies_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / "compose" / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        for dependency in service.get("depends_on", {}):
            assert dependency in COMPOSE["services"]
    assert COMPOSE["services"]["s3"]["profiles"] == ["s3"]


def test_nats_in_compose_knows_message_schedules() -> None:
    default = re.fullmatch(r"\$\{NATS_IMAGE:-nats:(\d+)\.(\d+)-alpine\}", COMPOSE["services"]["nats"]["image"])
    assert default
    assert (int(default[1]), int(default[2])) >= (2, 12)


def test_the_check_says_what_is_missing_where_there_is_no_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/compose_check.py"],
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "docker: not installed" in done.stderr
    assert "podman: not installed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_check_builds_and_scales_what_compose_has() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        check = importlib.import_module("compose_check")
    finally:
        sys.path.pop(0)
    assert set(check.SERVICES) == SERVICES
    stages = set(re.findall(r" AS (\w+)$", (ROOT / "compose/check/Dockerfile").read_text(), re.MULTILINE))
    assert {f"{name.upper()}_IMAGE" for name in stages} <= set(re.findall(r"\$\{(\w+_IMAGE):-", str(COMPOSE)))
