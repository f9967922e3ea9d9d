"""What a store says, as one line that tells what to mend; what it did not mean for good is waited for."""

from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from cluster.storage import retry
from cluster.storage.conditional_put import _endpoint, _profile_keys
from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError, is_final, store_error

DENIED = (
    "When getting information for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation: No body"
)
AWAY = "AWS Error NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: 7, Could not connect to server"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DENIED, "s3://b/p refuses access .*AWS_ACCESS_KEY_ID"),
        ("AWS Error SIGNATURE_DOES_NOT_MATCH during PutObject operation", "refuses access"),
        ("\nError performing PUT http://h/b/k - 403 Forbidden: <Error>\nmore", "refuses access"),
        ("AWS Error NO_SUCH_BUCKET during PutObject operation", "the bucket is not there, make it first"),
        (
            "Bucket 'b' not found. To create buckets, enable the allow_bucket_creation option.",
            "the bucket is not there",
        ),
        (AWAY, "does not answer as it should"),
    ],
)
def test_error_of_a_store_is_one_line_with_its_key(text: str, told: str) -> None:
    error = store_error("s3://b/p", OSError(text))
    assert isinstance(error, OSError)
    assert str(error).startswith("cluster.storage: s3://b/p")
    assert len(str(error).splitlines()) == 1
    with pytest.raises(StoreError, match=told):
        raise error
    assert is_final(OSError(text)) == (text != AWAY)


class _Failing:
    """A store's file system that fails as long as `error` is set."""

    type_name = "s3"

    def __init__(self) -> None:
        self.error: Exception | None = None

    def get_file_info(self, path: Any) -> Any:
        if self.error:
            raise self.error
        return fs.FileInfo("a", fs.FileType.File)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> tuple[Storage, _Failing, list[float]]:
    pauses: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", pauses.append)
    storage = Storage("memory://x")
    storage._fs = failing = _Failing()
    return storage, failing, pauses


def test_store_that_has_answered_is_waited_for_longer(store: tuple[Storage, _Failing, list[float]]) -> None:
    storage, failing, pauses = store
    failing.error = OSError(AWAY)
    with pytest.raises(StoreError, match="does not answer"):
        storage.exists("a")
    assert pauses == list(retry.FIRST_PAUSES_S)
    failing.error = None
    assert storage.below("run").exists("a")
    failing.error = OSError(AWAY)
    for waited in (retry.STORE_PAUSES_S, retry.FIRST_PAUSES_S):
        pauses.clear()
        with pytest.raises(StoreError):
            storage.exists("a")
        assert pauses == list(waited)
    assert sum(retry.STORE_PAUSES_S) > 60


def test_refusal_is_taken_at_once_and_a_fault_of_ours_stays_one(store: tuple[Storage, _Failing, list[float]]) -> None:
    storage, failing, pauses = store
    failing.error = OSError(DENIED)
    with pytest.raises(StoreError, match="refuses access"):
        storage.exists("a")
    failing.error = TypeError("ours")
    with pytest.raises(TypeError):
        storage.exists("a")
    assert pauses == []


def test_condition_is_put_to_the_server_that_pyarrow_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h:1")
    assert _endpoint("s3://b/p") == "http://h:1"
    assert _endpoint("s3://b/p?endpoint_override=g:2") == "https://g:2"
    assert _endpoint("s3://b/p?endpoint_override=g:2&scheme=http") == "http://g:2"
    assert _endpoint("s3://b/p?endpoint_override=http%3A%2F%2Fg%3A2") == "http://g:2"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s:3")
    assert _endpoint("s3://b/p") == "http://s:3"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name)
    assert _endpoint("s3://b/p") is None


def test_keys_of_a_profile_are_read_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n"
        "[team]\naws_access_key_id = d\naws_secret_access_key = e\naws_session_token = f\n[sso]\nregion = x\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert _profile_keys() == {"access_key_id": "a", "secret_access_key": "b%c"}
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert _profile_keys() == {"access_key_id": "d", "secret_access_key": "e", "session_token": "f"}
    monkeypatch.setenv("AWS_PROFILE", "sso")
    assert _profile_keys() == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "own")
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert _profile_keys() == {}
