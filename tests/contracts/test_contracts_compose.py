"""compose/compose.yaml against the code: every service, port, variable and health path that it names exists."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from shared.permissions import OPERATOR, USERS, password_variable
from shared.settings import Settings
from shared.streams import CONSUMERS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
DOCKERFILE = (ROOT / "compose/Dockerfile").read_text()
SERVICES = {
    "gateway", "scheduler", "ingester", "proxy-encoder", "archiver", "clipper", "exporter", "restreamer", "notifier",
}  # fmt: skip
FOREIGN_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ROOT_ACCESS_KEY", "ROOT_SECRET_KEY", "SERVICE"}


def ours() -> dict[str, dict[str, Any]]:
    return {name: s for name, s in COMPOSE["services"].items() if "build" in s}


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
        built = service["build"]["args"]["SERVICE"]
        assert built in extras
        assert importlib.util.find_spec(f"services.{built.replace('-', '_')}.__main__")
        if name != "provision":
            assert built == name


def test_commands_name_modules_that_exist() -> None:
    modules = [*re.findall(r'"-m", "([\w.]+)"', DOCKERFILE), ours()["provision"]["command"][-1]]
    assert set(modules) == {"shared.healthcheck", "shared.provision"}
    for module in modules:
        assert importlib.util.find_spec(module)


def test_every_variable_is_a_setting() -> None:
    named = {key for s in COMPOSE["services"].values() for key in s.get("environment", {})}
    named |= set(re.findall(r"\b(REELAY_\w+)=", DOCKERFILE))
    named -= set(COMPOSE["services"]["nats"]["environment"])
    assert named - FOREIGN_VARIABLES <= settings_variables()


def test_each_service_connects_as_its_own_user_and_the_broker_knows_their_passwords() -> None:
    users = {name: service["environment"]["REELAY_NATS_URL"] for name, service in ours().items()}
    assert users == {name: f"nats://{name}:${{{password_variable(name)}}}@nats:4222" for name in users}
    broker = COMPOSE["services"]["nats"]
    assert broker["environment"] == {v: f"${{{v}:?}}" for v in map(password_variable, USERS)}
    assert set(users) == set(USERS) - {OPERATOR}
    assert broker["command"] == ["-c", "/etc/reelay/server.conf", "-sd", "/data"]
    assert "./nats:/etc/reelay:ro" in broker["volumes"]


def test_ports_are_the_defaults() -> None:
    published = {
        name: {p.split(":")[1].removesuffix("/udp") for p in s["ports"]} for name, s in ours().items() if "ports" in s
    }
    default = {name: str(field.default) for name, field in Settings.model_fields.items() if name.endswith("_port")}
    assert published == {"gateway": {default["http_port"]}, "ingester": {default["rtmp_port"], default["srt_port"]}}
    assert "8890:8890/udp" in ours()["ingester"]["ports"]


def test_health_paths_exist() -> None:
    health = (ROOT / "shared/health.py").read_text()
    probe = (ROOT / "shared/healthcheck.py").read_text()
    for path in re.findall(r'"(/\w+z)"', probe):
        assert f'b"{path}"' in health
    assert "shared.healthcheck" in DOCKERFILE


def test_volumes_and_dependencies_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / "compose" / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
        for dependency in service.get("depends_on", {}):
            assert dependency in COMPOSE["services"]
    assert COMPOSE["services"]["s3"]["profiles"] == ["s3"]


def test_nats_in_compose_knows_message_schedules() -> None:
    major, minor = COMPOSE["services"]["nats"]["image"].split(":")[1].split("-")[0].split(".")
    assert (int(major), int(minor)) >= (2, 12)
