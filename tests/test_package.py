"""The package as a whole: its names, and floors on which imports only go down."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import discretevae

ROOT = Path(discretevae.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    # from the ground up: a module imports from lower floors, or from its own package folder
    ("errors",),
    ("activations", "schedules"),
    ("config",),
    ("files", "randomness", "allocator", "ranks", "precision"),
    ("tensorfiles", "locks"),
    ("data", "augmentation"),
    ("neighbors",),
    ("families",),
    ("likelihoods", "networks", "convolutional"),
    ("estimators",),
    ("priors",),
    ("integrands",),
    ("model",),
    ("objectives", "onnx_graphs"),
    ("gradients", "gradient_reports"),
    ("usage",),
    ("evaluation",),
    ("checkpoint", "history", "averaging", "code_sizes", "information"),
    ("states", "tensorboard", "placement"),
    ("training", "prior_fitting"),
    ("codes",),
    ("exporting", "plots", "comparison_plots", "evaluation_plots", "outlier_plots", "retrieval"),
    ("runs", "sweep_plots", "comparison", "search_plots", "cluster_plots", "cards"),
    ("estimator_api",),
    ("refitting", "sharing"),
    ("reproduction",),
    ("sweep_plans",),
    ("sweeps",),
    ("explorer",),
    ("cli",),
)
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}

MODULES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", "."): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py" and path != ROOT / "__init__.py"
}


def imports(path: Path) -> list[tuple[str, list[str]]]:
    """Every module of ours that a file imports, anywhere in it, and the names taken from it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", [alias.name for alias in node.names]))
    return [(module, names) for module, names in found if module.split(".")[0] == "discretevae"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_the_floors(module):
    unit = module.split(".")[0]
    assert unit in FLOOR_OF, f"{unit} has no floor yet: give it one in this test"
    for imported, names in imports(MODULES[module]):
        if imported == "discretevae":
            # the package itself only to ask for its version
            source = MODULES[module].read_text()
            assert set(names) <= {"__version__"}
            assert source.count("discretevae.__version__") or names
            attributes = {
                node.attr
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "discretevae"
            }
            assert attributes <= {"__version__"}
            continue
        target = imported.split(".")[1]
        if target != unit:
            assert FLOOR_OF[target] < FLOOR_OF[unit], f"{module} imports {imported}"


def test_every_floor_is_inhabited():
    assert {module.split(".")[0] for module in MODULES} == set(FLOOR_OF)


def parsed() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What the block for type checkers imports, and what `_EXPORTS` says."""
    block: dict[str, list[str]] = {}
    for node in ast.parse((ROOT / "__init__.py").read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                assert all(alias.asname is None for alias in statement.names)
                module = (statement.module or "").removeprefix("discretevae.")
                block[module] = sorted(alias.name for alias in statement.names)
    return block, {module: sorted(names) for module, names in discretevae._EXPORTS.items()}


def test_type_checkers_see_the_same_names():
    block, exports = parsed()
    assert block == exports
    names = [name for names in discretevae._EXPORTS.values() for name in names]
    assert len(names) == len(set(names))
    assert discretevae.__all__ == ["__version__", *names]
    assert dir(discretevae) == sorted(discretevae.__all__)


@pytest.mark.parametrize("name", discretevae.__all__)
def test_every_name_loads(name):
    value = getattr(discretevae, name)
    if name != "__version__":
        module = importlib.import_module(f"discretevae.{discretevae._MODULE_OF[name]}")
        assert value is getattr(module, name)
        if "." not in discretevae._MODULE_OF[name]:
            assert name in getattr(module, "__all__", [name])


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'discretevae' has no attribute 'trane'"):
        discretevae.trane  # noqa: B018
    assert not hasattr(discretevae, "__wrapped__")


@pytest.mark.parametrize("module", MODULES)
def test_all_of_every_module_is_there_and_sorted(module):
    loaded = importlib.import_module(f"discretevae.{module.removesuffix('.__init__')}")
    names = getattr(loaded, "__all__", [])
    assert len(names) == len(set(names))
    assert all(hasattr(loaded, name) for name in names)


def test_the_package_imports_nothing_heavy(python):
    code = """
import sys
import discretevae
dir(discretevae)
discretevae.ConfigError, discretevae.TrainConfig, discretevae.parse_latent
print(sorted({"torch", "numpy", "matplotlib", "sklearn", "click"} & sys.modules.keys()))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
