"""Who may import whom, read from the source: a module that is not placed here fails."""

import ast
import sys
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__file__).parent
ROOT = "exporter"

CONFIG = "config"
SIMULATOR = "simulator"
ANYONE = "anyone"

# For each room of the package the rooms whose modules it may import; its own it may always. A room is a
# module, or a package whose modules keep together. The root holds the version and nothing else.
ROOMS: dict[str, set[str] | str] = {
    "": set(),
    "errors": set(),
    CONFIG: {"durations", "errors", "files", "ratelimit", "sharding", "web.tls"},
    "durations": set(),
    "files": set(),
    "flags": {"durations", "logs", "sharding", "web.app", "web.server"},
    "logs": set(),
    "status": {"errors"},
    "schedule": set(),
    "sharding": set(),
    "ratelimit": set(),
    "patience": {"errors"},
    "store": {"errors", "pace", "status"},
    "packing": set(),
    "exposition": {"packing", "status", "store"},
    "query": {"errors"},
    "snapshot": {"errors", "store"},
    "overview": {"errors", "sharding", "snapshot", "store"},
    "advice": {"errors"},
    "judgement": {"advice", "errors", "overview", "ratelimit", "snapshot", "store"},
    "survey": {"judgement", "overview", "query", "sharding", "snapshot", "status", "store"},
    "pace": set(),
    "telemetry": {"errors", "sharding", "snapshot", "store", "tracking"},
    "journal": {"errors", "logs", "store"},
    "state_database": {"errors", "status", "store"},
    "state_file": {"errors", "files", "state_database", "store"},
    "tracking": {"errors", "files"},
    "transport": set(),
    "key_file": {"files"},
    "cortex": {"errors", "key_file", "status", "transport"},
    "poller": {
        *("cortex", "errors", "journal", "patience", "ratelimit", "schedule", "status", "store", "telemetry"),
        *("advice", "flights", "snapshot", "transport", "workers"),
    },
    "workers": set(),
    "flights": {"status", "transport"},
    "fleet": {
        *(CONFIG, "cortex", "exposition", "journal", "key_file", "poller", "state_file", "store", "telemetry"),
        *("flights", "snapshot", "tracking"),
    },
    "upkeep": {"files", "logs"},
    "web": set(),
    "web.tls": {"errors"},
    "web.token_bucket": set(),
    "web.passwords": {"errors", "key_file"},
    "web.policy": {"web.passwords", "web.token_bucket"},
    "web.access": {"errors", "logs", "web.complaints", "web.passwords", "web.policy"},
    "web_file": {CONFIG, "errors", "files", "web.passwords", "web.policy", "web.token_bucket"},
    "web.bars": {"status"},
    "web.words": set(),
    "web.links": {"overview", "query"},
    "web.page": {"overview", "query", "store", "web.bars", "web.links", "web.static", "web.words"},
    "web.static": set(),
    "web.document": {"overview", "query", "sharding", "status", "web.words"},
    "web.negotiation": set(),
    "web.packed": {"packing", "web.negotiation"},
    "web.actions": {"overview", "packing", "query", "web.document", "web.links", "web.packed", "web.page"},
    "web.app": {"overview", "query", "web.actions", "web.metrics", "web.static"},
    "web.room": set(),
    "web.complaints": set(),
    "web.guard": {"web.access", "web.complaints", "web.room"},
    "web.listener": {"web.complaints", "web.guard", "web.policy", "web.room"},
    "web.metrics": {"exposition", "packing", "web.negotiation", "web.packed"},
    "web.server": {
        *("errors", "logs", "web.complaints", "web.guard", "web.listener", "web.policy", "web.room"),
    },
    SIMULATOR: set(),
    "cli": ANYONE,
    "__main__": {"cli"},
    "probe": set(),
}

# Who may import what is neither ours nor the standard library's.
LIBRARIES = {
    "bcrypt": {"web.passwords"},
    "certifi": {"cortex"},
    "httptools": {SIMULATOR, "web.guard"},
    "isal": {"packing"},
    "jinja2": {"web.page"},
    "prometheus_client": {"telemetry"},
    "pydantic": {CONFIG, "cli"},
    "pydantic_core": {CONFIG},
    "requests": {"cortex", "transport"},
    "starlette": {
        "web.access",
        "web.actions",
        "web.app",
        "web.metrics",
        "web.negotiation",
        "web.packed",
        "web.server",
        "web.static",
    },
    "structlog": {
        *("cli", "fleet", "journal", "key_file", "logs", "state_file", "tracking", "upkeep", "web.complaints"),
        "web_file",
    },
    "urllib3": {"cortex", "transport"},
    "uvicorn": {"web.guard", "web.server"},
    "yaml": {CONFIG},
}

# Imports within functions, by how many: of what only some runs take, the demo and the page among them, and of the
# command itself, which is loaded without the collector of garbage.
HIDDEN = {"__main__": 1, "cli": 5, "web.app": 1, "web.page": 1}

# What decides and renders has no input, no output, no clock and no threads; the last renders for several.
PURE = (
    *("status", "schedule", "ratelimit", "patience", "store", "exposition"),
    *("pace", "web.token_bucket", "query", "snapshot", "overview", "advice", "judgement", "survey", "web.bars"),
    "sharding",
)
IMPURE = {
    *("asyncio", "concurrent", "contextvars", "datetime", "http", "io", "logging", "multiprocessing", "os"),
    *("pathlib", "queue", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl"),
    *("subprocess", "sys", "tempfile", "threading", "time", "urllib", "warnings"),
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
"""Every module of the package, by its dotted name below the root."""


def room_of(module: str) -> str:
    """Return the room that a module is in."""
    for package in (CONFIG, SIMULATOR):
        if module == package or module.startswith(f"{package}."):
            return package
    return module


def parsed(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported_by(module: str) -> set[str]:
    """Return the dotted names that a module imports, anywhere in it.

    Of ``from package import name`` the name is part, where it is a module of ours.
    """
    names = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full.removeprefix(f"{ROOT}.") in MODULES else str(node.module))
    return names


def ours(module: str) -> set[str]:
    """Return the modules of this package that a module imports, by their names below the root."""
    return {
        name.removeprefix(ROOT).removeprefix(".")
        for name in imported_by(module)
        if name == ROOT or name.startswith(f"{ROOT}.")
    }


def theirs(module: str) -> set[str]:
    """Return the top packages of others that a module imports, the standard library's among them."""
    return {name.partition(".")[0] for name in imported_by(module)} - {ROOT}


def test_every_module_has_its_place() -> None:
    """The table lists all rooms that there are, and no other."""
    assert {room_of(module) for module in MODULES} == set(ROOMS)


def test_every_import_of_ours_is_of_a_module() -> None:
    """What is imported from this package exists in it."""
    assert {name for module in MODULES for name in ours(module)} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_rooms_that_it_may(module: str) -> None:
    """Imports point one way, as the table draws it; the root, for the version, is open to all."""
    room = room_of(module)
    may = ROOMS[room]
    if may != ANYONE:
        assert {room_of(name) for name in ours(module)} - {room, ""} <= set(may)


def test_drawing_has_no_cycle() -> None:
    """The rooms can be put in an order in which each imports only earlier ones."""
    left = {room: set(ROOMS) - {room, "__main__"} if may == ANYONE else set(may) for room, may in ROOMS.items()}
    while ready := {room for room, may in left.items() if not may & set(left)}:
        left = {room: may for room, may in left.items() if room not in ready}
    assert left == {}


@pytest.mark.parametrize("room", [CONFIG, "cli"])
def test_composition_root_alone_imports(room: str) -> None:
    """The configurations are taken up by cli, its fleet and the web file; cli by the package's entry alone."""
    importers = {room_of(module) for module in MODULES for name in ours(module) if room_of(name) == room}
    assert importers - {room} == ({"__main__"} if room == "cli" else {"cli", "fleet", "web_file"})


def test_libraries_are_imported_where_they_belong() -> None:
    """Each library of others has its rooms, and is imported in no other."""
    imported: dict[str, set[str]] = {}
    for module in MODULES:
        for library in theirs(module) - sys.stdlib_module_names:
            imported.setdefault(library, set()).add(room_of(module))
    assert imported == LIBRARIES


def test_cli_imports_nothing_of_pydantic_but_its_secret() -> None:
    """The command line holds secrets, and no models."""
    names = {
        alias.name
        for node in ast.walk(parsed("cli"))
        if isinstance(node, ast.ImportFrom) and node.module == "pydantic"
        for alias in node.names
    }
    assert names == {"SecretStr"}
    assert "pydantic" not in {
        alias.name for node in ast.walk(parsed("cli")) if isinstance(node, ast.Import) for alias in node.names
    }


@pytest.mark.parametrize("module", PURE)
def test_pure_module_does_no_input_or_output(module: str) -> None:
    """What decides and renders imports nothing that could touch the world, and no library of others."""
    allowed = {"threading"} if module == "exposition" else set()
    assert theirs(module) & IMPURE <= allowed
    assert theirs(module) <= sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_at_its_top(module: str) -> None:
    """Imports within functions hide cycles; a few there are, of what many starts do without, each in one place."""
    hidden = {
        node.lineno
        for function in ast.walk(parsed(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert len(hidden) == HIDDEN.get(module, 0)
