"""The arrows between the packages point one way, and what is learned knows nothing of where it runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = {"ray", "deepspeed", "wandb"}
FORBIDDEN = {"multitask": RUNTIME | {"cluster", "tune_spaces"}, "tune_spaces": {"cluster"}}
MODULES = [path for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py"))]


def imported_packages(source: str) -> set[str]:
    """The top-level packages that absolute imports in `source` name, wherever in it they stand."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_no_package_above_its_own(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not imported_packages(path.read_text("utf-8")) & FORBIDDEN[package]


def test_importing_all_of_multitask_loads_no_ray_deepspeed_or_wandb() -> None:
    script = (
        "import importlib, sys\n"
        f"for name in {multitask_modules()!r}: importlib.import_module(name)\n"
        f"print(sorted({RUNTIME!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def multitask_modules() -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for path in MODULES]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if name.split(".")[0] == "multitask"]
