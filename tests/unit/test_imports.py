"""The arrows between packages and folders point down, and what is learned knows nothing of where it runs."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = {"ray", "deepspeed", "wandb"}
PACKAGES = ("multitask", "tune_spaces", "infra", "cluster")
FORBIDDEN = {
    "multitask": RUNTIME | {"cluster", "tune_spaces", "infra"},
    "tune_spaces": {"cluster", "infra"},
    "infra": RUNTIME | {"torch", "transformers", "multitask", "tune_spaces", "cluster"},
}
# The folders of `cluster`, from the top floor down; those of one floor do not know each other.
FLOORS = (
    {"cli"},
    {"api"},
    {"report", "tracking", "terminal", "jobs"},
    {"analysis"},
    {"sweeps"},
    {"launch", "scale", "profile"},
    {"training"},
    {"step", "storage"},
    {"zero"},
)
LEVEL = {folder: level for level, floor in enumerate(FLOORS) for folder in floor}
WITHOUT_RAY = {"training", "step", "storage", "zero"}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported_modules(path: Path) -> Iterator[str]:
    """All that absolute imports in `path` name, late ones and those for types, too; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str | None:
    """The folder of `cluster` in which a module lies."""
    parts = module.split(".")
    return parts[1] if parts[0] == "cluster" and len(parts) > 1 and parts[1] in LEVEL else None


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_module_imports_no_package_above_its_own(path: Path) -> None:
    packages = {module.split(".")[0] for module in imported_modules(path)}
    assert not packages & FORBIDDEN.get(path.relative_to(ROOT).parts[0], set())


@pytest.mark.parametrize("path", [p for p in MODULES if folder_of(module_name(p))], ids=module_name)
def test_module_imports_lower_floors_only(path: Path) -> None:
    own = folder_of(module_name(path))
    assert own is not None
    above = {
        module
        for module in imported_modules(path)
        if (other := folder_of(module)) and other != own and LEVEL[other] <= LEVEL[own]
    }
    assert not above


@pytest.mark.parametrize("path", [p for p in MODULES if folder_of(module_name(p)) in WITHOUT_RAY], ids=module_name)
def test_training_and_what_lies_below_know_no_ray(path: Path) -> None:
    assert "ray" not in {module.split(".")[0] for module in imported_modules(path)}


def test_only_zero_knows_deepspeed() -> None:
    knowing = {module_name(p) for p in MODULES if "deepspeed" in {m.split(".")[0] for m in imported_modules(p)}}
    assert {folder_of(module) for module in knowing} == {"zero"}


def test_only_tracking_knows_wandb() -> None:
    known = {"wandb", "wandb_workspaces"}
    knowing = {module_name(p) for p in MODULES if known & {m.split(".")[0] for m in imported_modules(p)}}
    assert {folder_of(module) for module in knowing} == {"tracking"}


def test_every_folder_of_cluster_has_a_floor_and_a_line_of_purpose() -> None:
    folders = {path.parent.name for path in (ROOT / "cluster").glob("*/__init__.py")}
    assert folders == set(LEVEL)
    for folder in folders:
        assert ast.get_docstring(ast.parse((ROOT / "cluster" / folder / "__init__.py").read_text()))


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = _graph()
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def _graph() -> dict[str, set[str]]:
    """Module to the modules that it names; a package's `__init__` stands for itself alone."""
    known = {module_name(path): path for path in MODULES}
    graph: dict[str, set[str]] = defaultdict(set)
    for name, path in known.items():
        named = set(imported_modules(path))
        graph[name] = {
            module
            for module in named & set(known)
            if module != name
            and not (
                known[module].name == "__init__.py" and any(n.startswith(f"{module}.") and n in known for n in named)
            )
        }
    return graph


def test_names_of_modules_occur_once_in_cluster() -> None:
    names = Counter(path.name for path in MODULES if path.relative_to(ROOT).parts[0] == "cluster")
    twice = {name for name, count in names.items() if count > 1}
    assert twice == {"__init__.py"}


# Processes on the way to a first step, and what each must not load before it: every second counts for each trial anew.
HEAVY = {"torch", "transformers", "tokenizers", "scipy.stats", "sklearn", "optuna", "wandb", "matplotlib", "deepspeed"}
LATE = {
    "cluster.cli.app": HEAVY | {"ray", "pandas", "pyarrow", "jinja2"},
    "cluster.launch.launch": HEAVY | {"ray", "pandas"},
    "cluster.launch.trainer": HEAVY | {"ray.tune"},
    "cluster.launch.run_controller": HEAVY | {"ray.tune"},
    "cluster.launch.process_group": HEAVY | {"ray.tune"},
    "cluster.sweeps.trial_actor": HEAVY,
    "cluster.sweeps.driver": HEAVY,
    "cluster.launch.ray_session": HEAVY - {"torch", "transformers", "tokenizers"} | {"ray.tune"},
    "cluster.training.worker": HEAVY - {"torch", "transformers", "tokenizers"} | {"ray"},
}


@pytest.mark.parametrize("module", LATE)
def test_process_on_the_way_to_a_step_loads_nothing_that_it_does_not_need(module: str) -> None:
    script = f"import sys, {module}\nprint(sorted({LATE[module]!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_all_of_multitask_loads_no_ray_deepspeed_or_wandb() -> None:
    names = [module_name(path) for path in MODULES if path.relative_to(ROOT).parts[0] == "multitask"]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted({RUNTIME!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
