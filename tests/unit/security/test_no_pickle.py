"""Nothing that comes from a file is unpickled, evaluated or unpacked, in any module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "torch.load"}
CALLS |= {"torch.save", "np.load", "numpy.load", "pd.read_pickle", "os.system", "os.popen"}
METHODS = {"read_pickle", "to_pickle", "extractall", "unpack_archive", "unsafe_load"}
# Why each of these is none: both read YAML by a subclass of yaml.SafeLoader.
ALLOWED = {("multitask/config/yaml_text.py", "yaml.load")}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def found_in(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.add(str(node.module))
        elif isinstance(node, ast.Call):
            name = _name(node.func)
            if name in CALLS or name.rpartition(".")[2] in METHODS:
                found.add(name)
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in {("trust_remote_code", True), ("allow_pickle", True), ("shell", True)}:
                    found.add(f"{name}({keyword.arg})")
                if (keyword.arg, value) == ("weights_only", False):
                    found.add(f"{name}({keyword.arg})")
    return found


def test_no_module_reads_what_could_run_code() -> None:
    found = set()
    for package in ("multitask", "cluster", "tune_spaces"):
        for path in (ROOT / package).rglob("*.py"):
            file = path.relative_to(ROOT).as_posix()
            found |= {(file, name) for name in found_in(path.read_text(encoding="utf-8"))}
    assert found == ALLOWED


def test_encoders_and_tokenizers_are_loaded_without_their_own_code() -> None:
    loading = []
    for path in (own for package in ("multitask", "cluster") for own in (ROOT / package).rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        loading += [call for call in calls if _name(call.func).endswith(".from_pretrained")]
    assert len(loading) > 2
    for call in loading:
        assert {k.arg: getattr(k.value, "value", None) for k in call.keywords}["trust_remote_code"] is False


def test_recipes_are_read_by_safe_loaders() -> None:
    import yaml

    from multitask.config import yaml_text
    from multitask.errors import UserError

    assert issubclass(yaml_text._Loader, yaml.SafeLoader)
    with pytest.raises(UserError, match="not valid YAML"):
        yaml_text.read_value("!!python/object/apply:os.getcwd []")


@pytest.mark.parametrize(
    "code", ["import pickle", "from joblib import load", "torch.load(f)", "eval(x)", "yaml.load(t)", "a.extractall()"]
)
def test_the_search_finds(code: str) -> None:
    assert found_in(code)
