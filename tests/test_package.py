"""The package as a whole: its names, and rooms from which imports only go down."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

import discretevae

ROOT = Path(discretevae.__file__).parent
PAGE = Path(__file__).resolve().parent.parent / "docs" / "design.md"

MAX_ENTRIES = 24
MAX_FLOORS = 12
GROUND = ("errors", "version")
"""Modules that every room may import."""


def rooms() -> list[str]:
    """Return the rooms that the page on the design lists, from the top."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| room, from the top |") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


ROOMS = rooms()

MODULES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", "."): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py" and path != ROOT / "__init__.py"
}


@functools.cache
def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module or "")
            # a name of a package may be a module of it
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    prefix = "discretevae."
    inside = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    assert "discretevae" not in found or inside, f"{module} imports the package itself"
    return frozenset(
        name if name in MODULES else f"{name}.__init__"
        for name in inside
        if name in MODULES or f"{name}.__init__" in MODULES
    ) - {module}


def test_the_page_lists_every_room_once():
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert sorted(ROOMS) == sorted(folders)
    assert len(ROOMS) == len(set(ROOMS)) == 20


def test_the_root_is_not_crowded():
    entries = {
        path.name
        for path in ROOT.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert len(entries) <= MAX_ENTRIES, sorted(entries)
    assert {"__init__.py", "__main__.py", "errors.py", "version.py"} == entries - set(ROOMS)


def is_below(imported: str, module: str) -> bool:
    """Return whether a module may import another."""
    room, other = module.split(".")[0], imported.split(".")[0]
    if room in GROUND:
        return False
    return other in (room, *GROUND) or ROOMS.index(room) < ROOMS.index(other)


def test_imports_go_down():
    upward = [
        f"{module} imports {imported}"
        for module in MODULES
        for imported in imported_modules(module)
        if not is_below(imported, module)
    ]
    assert upward == []


def test_there_are_at_most_twelve_floors():
    @functools.cache
    def floor(room: str) -> int:
        below = {
            imported.split(".")[0]
            for module in MODULES
            if module.split(".")[0] == room
            for imported in imported_modules(module)
        } - {room}
        return 1 + max((floor(other) for other in below), default=0)

    floors = {room: floor(room) for room in ROOMS}
    assert max(floors.values()) <= MAX_FLOORS, floors


def circle_from(module: str, trail: tuple[str, ...], done: set[str]) -> tuple[str, ...] | None:
    """Return the first circle of imports that is met from a module, or None."""
    if module in trail:
        return (*trail[trail.index(module) :], module)
    if module in done:
        return None
    for imported in sorted(imported_modules(module)):
        # a package's face is loaded with any of its files, and names only what lies in it
        if imported.endswith("__init__"):
            continue
        circle = circle_from(imported, (*trail, module), done)
        if circle is not None:
            return circle
    done.add(module)
    return None


def test_no_files_import_each_other():
    done: set[str] = set()
    for module in MODULES:
        circle = circle_from(module, (), done)
        assert circle is None, " imports ".join(circle or ())


def test_type_checkers_and_python_see_the_same_names():
    stub = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    names = []
    for node in stub.body[1:]:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        assert all(alias.asname == alias.name for alias in node.names)
        names += [alias.name for alias in node.names]
    assert len(names) == len(set(names))
    assert sorted(discretevae.__all__) == sorted(names) == dir(discretevae)


def test_every_name_loads():
    assert all(getattr(discretevae, name) is not None for name in discretevae.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No discretevae attribute trane"):
        discretevae.trane  # noqa: B018
    assert not hasattr(discretevae, "__wrapped__")


def test_all_of_every_module_is_there_once():
    for module in MODULES:
        loaded = importlib.import_module(f"discretevae.{module.removesuffix('.__init__')}")
        names = getattr(loaded, "__all__", [])
        assert len(names) == len(set(names)), module
        assert [name for name in names if not hasattr(loaded, name)] == [], module


def test_the_package_imports_nothing_heavy(python):
    code = """
import sys
import discretevae
dir(discretevae)
discretevae.ConfigError, discretevae.TrainConfig, discretevae.LatentSpec
print(sorted({"torch", "numpy", "matplotlib", "sklearn", "click"} & sys.modules.keys()))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
