from pathlib import Path

import fsspec
import pytest

import multitask
from multitask.data import location, resolve_location
from multitask.data.location import locate, open_binary
from multitask.errors import UserError


def test_package_name_is_a_path_inside_the_installed_package() -> None:
    folder = Path(multitask.__file__).parent
    assert Path(resolve_location("package:multitask/recipes/main.yaml")) == folder / "recipes" / "main.yaml"
    assert Path(resolve_location("package:multitask")) == folder


@pytest.mark.parametrize("name", ["bert-base-uncased", "/a/b", "s3://bucket/x"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert resolve_location(name) == name


def test_missing_package_and_missing_file_are_named() -> None:
    with pytest.raises(UserError, match=r"package:no_such_pkg/x: the Python package 'no_such_pkg' is not installed"):
        resolve_location("package:no_such_pkg/x")
    with pytest.raises(UserError, match=r"package:multitask/none\.csv: .* holds no 'none\.csv'"):
        resolve_location("package:multitask/none.csv")
    with pytest.raises(UserError, match="is not installed"):
        resolve_location("package:")


@pytest.mark.parametrize(
    ("root", "file", "expected"),
    [
        ("data", "a.csv", "data/a.csv"),
        ("data", "/abs/a.csv", "/abs/a.csv"),
        ("data", "memory://x/a.csv", "memory://x/a.csv"),
        ("s3://bucket/sub/", "a/b.csv", "s3://bucket/sub/a/b.csv"),
        ("s3://bucket", "/abs/a.csv", "/abs/a.csv"),
    ],
)
def test_relative_names_are_joined_to_the_root(root: str, file: str, expected: str) -> None:
    assert locate(root, file) == expected


def test_root_and_file_may_lie_in_a_package() -> None:
    expected = str(Path(multitask.__file__).parent / "recipes" / "main.yaml")
    assert locate("package:multitask/recipes", "main.yaml") == expected
    assert locate("anywhere", "package:multitask/recipes/main.yaml") == expected


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert locate("~/data", "a.csv") == "/somewhere/data/a.csv"
    assert locate("data", "~/a.csv") == "/somewhere/a.csv"


def test_fsspec_uri_is_read() -> None:
    with fsspec.open("memory://location/a.txt", "wb") as file:
        file.write(b"one\ntwo")
    with open_binary("memory://location/a.txt") as stream:
        assert list(stream) == [b"one\n", b"two"]


def test_pyarrow_reads_what_fsspec_has_no_driver_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo")

    def no_driver(uri: str) -> None:
        raise ImportError("install a driver")

    monkeypatch.setattr(location, "url_to_fs", no_driver)
    with open_binary(f"file://{tmp_path}/a.txt") as stream:
        assert list(stream) == [b"one\n", b"two"]
    with pytest.raises(UserError, match="there is no file"), open_binary(f"file://{tmp_path}/b.txt"):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "there is no file .*none.csv"),
        ("memory://location/none.csv", "there is no file memory://location/none.csv"),
        ("nosuchscheme://x/a.csv", "cannot read nosuchscheme://x/a.csv: .*nosuchscheme"),
        ("", "cannot read .*: Is a directory"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    full = name if "://" in name else str(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught, open_binary(full):
        pass
    assert "\n" not in str(caught.value)
