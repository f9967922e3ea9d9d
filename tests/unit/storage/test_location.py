"""Places below URIs with a query, and URIs that hold a secret."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.storage.location import inside, last_name, places
from cluster.storage.storage import Storage
from multitask.config.uris import without_secret
from multitask.errors import UserError


@pytest.mark.parametrize(
    ("location", "path", "place"),
    [
        ("runs", "a/b", "runs/a/b"),
        ("runs/", "a", "runs/a"),
        ("what?", "a", "what?/a"),
        ("s3://b/p", "a", "s3://b/p/a"),
        ("s3://b/p/?endpoint_override=h:1&scheme=http", "a/b", "s3://b/p/a/b?endpoint_override=h:1&scheme=http"),
        ("s3://b/p?scheme=http", "", "s3://b/p?scheme=http"),
    ],
)
def test_query_of_a_uri_stays_at_its_end(location: str, path: str, place: str) -> None:
    assert inside(location, path) == place


def test_names_and_places() -> None:
    assert last_name("s3://b/p/sweep?scheme=http") == "sweep"
    assert last_name("runs/sweep/") == "sweep"
    assert places("s3://b/p", "runs") == ["s3://b/p"]
    assert places("x", "s3://b/p?scheme=http") == ["x", "s3://b/p/x?scheme=http"]


SECRETS = [
    ("s3://key:hush-hush@b/p?endpoint_override=h:1", "s3://b/p?endpoint_override=h:1"),
    ("s3://key:hush/hush@b/p", "s3://b/p"),
    ("s3://b/p?secret_key=hush-hush&scheme=http", "s3://b/p?secret_key=…&scheme=http"),
    ("abfs://c@a.dfs.core.windows.net/p?sig=hush-hush", "abfs://c@a.dfs.core.windows.net/p?sig=…"),
]


@pytest.mark.parametrize(("uri", "shown"), SECRETS)
def test_uri_with_a_secret_is_refused_without_telling_it(
    uri: str, shown: str, tiny_tasks: dict, concord: Callable[..., Any]
) -> None:
    from multitask.config import parse_config

    tiny_tasks["cluster"]["storage"] = uri
    with pytest.raises(UserError) as in_config:
        parse_config(tiny_tasks, "recipe.yaml")
    with pytest.raises(UserError) as in_command:
        Storage(uri)
    told = concord("export", uri)
    for text in (str(in_config.value), str(in_command.value), told.err):
        assert f"cluster.storage: {shown} holds a key or password" in text
        assert "hush" not in text
        assert len(text.splitlines()) == 1
    assert (told.code, told.out) == (2, "")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b/p?endpoint_override=h:9000&region=eu-west-1",
        "hdfs://host:8020/a@b",
        "sftp://me@host/p",
        "abfs://c@account.dfs.core.windows.net/p",
        "a:b@c/folder",
    ],
)
def test_uri_without_a_secret_is_taken(uri: str) -> None:
    assert without_secret(uri) == uri
