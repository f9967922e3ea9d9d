"""`concord wandb publish`, with a stand-in for the wandb module: its artifacts need a whole server."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from typer.testing import CliRunner

from cluster.cli.wandb import wandb as command
from multitask.config import load_recipe
from multitask.errors import UserError


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "runs" / "main" / "export"
    folder.mkdir(parents=True)
    config = load_recipe("c-b1", ["name=main", "tracking.project=theirs"]).to_dict()
    (folder / "concord.json").write_text(json.dumps({"config": config}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder.parent / "run.json").write_text("{}")
    return folder


class FakeArtifact:
    qualified_name = "me/theirs/main:v0"

    def __init__(self, name, type):
        self.name, self.type, self.files = name, type, []

    def add_file(self, path, name, policy, skip_cache):
        assert Path(path).is_file()
        self.files.append(name)

    def wait(self):
        return self


class FakeRun:
    """A run that keeps what it is told; it may refuse the link."""

    def __init__(self, refuse=False):
        self.refuse, self.logged, self.links = refuse, [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def log_artifact(self, artifact, aliases):
        self.logged.append((artifact.name, artifact.type, artifact.files, aliases))
        return artifact

    def link_artifact(self, artifact, target, aliases):
        if self.refuse:
            raise ValueError("no such registry\nwith details")
        self.links.append((target, aliases))


@pytest.fixture
def online(monkeypatch):
    """Puts a stand-in for the parts of wandb that publish; gives its run and the arguments of `init`."""

    def put(run):
        calls = []
        monkeypatch.setattr("cluster.tracking.publish.sign_in", lambda remains: "me")
        monkeypatch.setattr(wandb, "init", lambda **arguments: calls.append(arguments) or run)
        monkeypatch.setattr(wandb, "Artifact", FakeArtifact)
        return SimpleNamespace(run=run, calls=calls)

    return put


def publish(name, *arguments):
    return CliRunner().invoke(command, ["publish", str(name), *arguments])


def test_the_model_is_sent_and_linked_and_not_twice(export, online):
    fake = online(FakeRun())
    result = publish(export.parent, "--registry", "model", "--collection", "encoders")
    assert result.exit_code == 0
    assert result.output == "published: me/theirs/main:v0 in wandb-registry-model/encoders\n"
    assert fake.run.logged == [("main", "model", ["concord.json", "model.safetensors"], ["best"])]
    assert fake.run.links == [("wandb-registry-model/encoders", ["best"])]
    (call,) = fake.calls
    assert (call["entity"], call["project"], call["mode"]) == ("me", "theirs", "online")
    again = publish(export, "--collection", "encoders")
    assert again.output.startswith("published before, unchanged: me/theirs/main:v0")
    assert len(fake.run.links) == 1


def test_a_changed_model_another_collection_or_another_alias_is_published_again(export, online):
    fake = online(FakeRun())
    publish(export)
    assert fake.run.links == [("wandb-registry-model/theirs", ["best"])]
    publish(export, "--collection", "other")
    publish(export, "--collection", "other", "--alias", "best", "--alias", "production")
    (export / "model.safetensors").write_bytes(b"other weights")
    publish(export, "--collection", "other", "--alias", "best", "--alias", "production")
    assert len(fake.run.links) == 4
    (export / "published.json").write_text("{")
    publish(export, "--collection", "other", "--alias", "best", "--alias", "production")
    assert len(fake.run.links) == 5


def test_a_refused_link_is_one_line_and_not_taken_for_done(export, online):
    online(FakeRun(refuse=True))
    error = publish(export).exception
    assert isinstance(error, UserError)
    assert str(error).endswith("was not published to wandb-registry-model/theirs: ValueError: no such registry")
    assert not (export / "published.json").exists()


def test_offline_it_is_said_what_remains_and_no_link_is_tried(export, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was begun"))
    error = publish(export).exception
    assert isinstance(error, UserError)
    later = f"{export} is exported and not yet published; `concord wandb publish {export}` does it later"
    assert str(error) == f"W&B: not logged in (`wandb login`); {later}"


def test_what_is_not_exported_names_the_command_that_does_it(export):
    (export / "concord.json").unlink()
    error = publish(export.parent).exception
    assert isinstance(error, UserError)
    assert str(error) == f"{export}: no exported model; `concord export {export.parent}` writes it"
