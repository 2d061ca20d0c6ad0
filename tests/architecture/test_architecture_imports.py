"""Who may import whom: services, the rooms of shared, the rooms of the gateway."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.support.source_tree import PRODUCT, ROOT, imports, module, name, sources, within

SOURCES = sources(*PRODUCT)


def service_of(imported: str) -> str | None:
    parts = imported.split(".")
    return parts[1] if parts[0] == "services" and len(parts) > 1 else None


def test_services_never_import_each_other_and_shared_never_imports_services() -> None:
    wrong = []
    for path in SOURCES:
        top, own, *_ = path.relative_to(ROOT).parts
        if own != "cli":  # the command line starts services and hands over to them
            foreign = {m for m in imports(path) if service_of(m) and (top == "shared" or service_of(m) != own)}
            wrong += [f"{name(path)}: {m}" for m in foreign]
    assert not wrong


def test_app_alone_reads_settings() -> None:
    handlers = [path for path in SOURCES if "handlers" in path.name]
    assert not [name(path) for path in handlers if "shared.runtime.settings" in imports(path)]


# What some rooms of shared may import of shared: lower ones know nothing of higher ones.
MEDIA = ("shared.errors", "shared.media", "shared.messages")
ROOMS = {
    "shared/messages": ("shared.messages", "shared.runtime.lease", "shared.runtime.settings"),
    "shared/media": MEDIA,
    "shared/media/bitstream": ("shared.errors", "shared.media"),
    "shared/media/mp4": ("shared.errors", "shared.media"),
    "shared/media/seams": ("shared.errors", "shared.media"),
    "shared/media/transcode": ("shared.errors", "shared.media", "shared.messages.restreams"),  # what a flick is
    "shared/rtmp": ("shared.rtmp", "shared.errors", "shared.media"),
    "shared/srt": ("shared.srt", "shared.errors", "shared.runtime.logging", "shared.security"),
}


def test_rooms_of_shared_know_nothing_of_higher_ones() -> None:
    wrong = []
    for room, allowed in ROOMS.items():
        for path in sources(room):
            own = {m for m in imports(path) if within(m, "shared")}
            wrong += [f"{name(path)}: {m}" for m in own if not any(within(m, other) for other in allowed)]
    assert not wrong


# What each module of shared/store may import of it: adapters know the interface, and only `opening` knows adapters.
INTERFACE = {"shared.store", "shared.store.base"}
LIBRARY = {*INTERFACE, "shared.store.library"}
STORE = {
    "__init__": {"shared.store.base"}, "base": set(), "local": INTERFACE,
    "s3": {*INTERFACE, "shared.store.scratch"}, "scratch": set(), "names": set(),
    "library": INTERFACE, "library_store": LIBRARY,
    "library_folder": {*LIBRARY, "shared.store.names"},
    "opening": {*LIBRARY, *(f"shared.store.{name}" for name in ("library_folder", "library_store", "local", "s3"))},
    "reserve": INTERFACE, "watch": {*INTERFACE, "shared.store.opening"},
}  # fmt: skip


def test_store_adapters_import_the_interface_and_never_the_other_way() -> None:
    files = sources("shared/store")
    modules = {module(path) for path in files}
    assert {path.stem for path in files} == set(STORE)
    for path in files:
        assert imports(path) & modules <= STORE[path.stem], name(path)
        assert "shared.runtime.settings" not in imports(path) or path.stem in {"opening", "reserve", "watch"}


# What lies in shared though one service alone uses it, and why.
KEPT = {
    "shared.media.transcode": "playout's today; proxies and renditions are next",
}
# Programs of their own, and what only they use.
PROGRAMS = {
    "shared.broker.permissions",
    "shared.broker.provision",
    "shared.broker.upgrade",
    "shared.runtime.healthcheck",
}
LOADED = imports(ROOT / "shared/__init__.py")  # by every service


def users_of(start: str, importers: dict[str, set[str]]) -> set[str]:
    """List the services that use a module, and the modules of shared that do when no service does."""
    found, seen, queue = set(), {start}, [start]
    while queue:
        for user in importers[queue.pop()] - seen:
            seen.add(user)
            if service := service_of(user):
                found.add(service)
            else:
                queue.append(user)
    return found


def test_what_one_service_alone_uses_lies_in_it() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for imported in imports(path):
            importers[imported].add(module(path))
    alone = {
        module(path) for path in sources("shared")
        if path.name != "__init__.py" and len(users_of(module(path), importers) - {"cli"}) < 2
    } - PROGRAMS - LOADED  # fmt: skip
    assert not {m for m in alone if not any(within(m, kept) for kept in KEPT)}
    assert not {kept for kept in KEPT if not any(within(m, kept) for m in alone)}, "no exception any more"


GATEWAY = ROOT / "services/gateway"
# What the rooms of the gateway may not reach for: what is meant knows nothing of how it is asked for.
GATEWAY_ROOMS = {
    "domain": ("http", "identity", "native", "facades", "delivery", "app", "web"),
    "identity": ("native", "facades", "delivery", "app", "web"),
    "http": ("native", "facades", "delivery", "app", "web"),
    "delivery": ("native", "facades", "app", "web"),
    "native": ("facades", "app", "web"),
    "facades": ("native", "app", "web"),
}


def gateway_faults(path: Path) -> list[str]:
    room, *rest = path.relative_to(GATEWAY).parts
    foreign = [f"services.gateway.{other}" for other in GATEWAY_ROOMS.get(room, ())]
    foreign += ["fastapi", "starlette"] if room == "domain" else []
    found = [m for m in imports(path) if any(within(m, other) for other in foreign)]
    if room not in {"identity", "app.py"}:
        found += [m for m in imports(path) if m == "shared.runtime.settings.Settings"]
    if room == "facades" and len(rest) > 1:  # a vendor's facade knows no other's
        others = {m for m in imports(path) if m.startswith("services.gateway.facades.")}
        found += [m for m in others if m.split(".")[3] not in {rest[0], "facade"}]
    return found


def test_rooms_of_the_gateway_keep_to_themselves() -> None:
    assert not {name(path): faults for path in sources("services/gateway") if (faults := gateway_faults(path))}


def test_only_what_joins_the_rest_lies_at_the_root_of_the_gateway() -> None:
    found = {path.name for path in GATEWAY.glob("*.py")}
    assert found == {"__init__.py", "__main__.py", "app.py", "handlers.py", "web.py"}
