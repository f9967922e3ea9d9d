"""An object that one of several processes creates, in a store that puts on a condition."""

import os
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pyarrow import fs

from cluster.storage.store_error import StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, S3Config

# What pyarrow calls the stores whose own clients it knows.
STORES = ("s3", "gcs", "abfs")
_TIMEOUT = "30s"


def put_once(filesystem: fs.FileSystem, location: str, target: str, data: bytes) -> bool:
    """Put the object `target` (bucket and key) if it is not there; gives whether this process has done so.

    `data` must be this process's alone: what an earlier try of its own has put counts as its own. pyarrow, which does all
    else, cannot tell a store a condition.

    Raises:
        StoreError: the store takes no notice of conditions, so nothing there can have one owner.
        obstore.exceptions.BaseError: it cannot be put.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError

    bucket, _, key = target.partition("/")
    store = _open(filesystem, location, bucket)
    try:
        obstore.put(store, key, data, mode="create")
    except AlreadyExistsError:
        # The answer to an earlier try may have been lost on its way; or it is the store's way to miss the bucket.
        with filesystem.open_input_stream(target) as stream:
            return bool(stream.read() == data)
    try:
        obstore.put(store, key, data, mode="create")
    except AlreadyExistsError:
        return True
    raise StoreError(
        f"cluster.storage: {location}: this store takes no notice of If-None-Match, "
        "so two processes could own a run at once; use one that does, or a folder that all workers share"
    )


def _open(filesystem: fs.FileSystem, location: str, bucket: str) -> "ObjectStore":
    """The store as pyarrow's file system reaches it: same endpoint and region, keys from the same environment or role."""
    from obstore.store import S3Store, from_url

    # A store that fails is asked again by who calls.
    options: dict[str, Any] = {"retry_config": {"max_retries": 0}}
    if filesystem.type_name != "s3":
        parts = urlsplit(location)
        return from_url(f"{parts.scheme}://{parts.netloc}", client_options={"timeout": _TIMEOUT}, **options)
    endpoint = _endpoint(location)
    client: ClientConfig = {"timeout": _TIMEOUT, "allow_http": (endpoint or "").startswith("http:")}
    config: S3Config = {"region": filesystem.region, **_profile_keys()}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(bucket, config=config, client_options=client, **options)


def _endpoint(location: str) -> str | None:
    """The server as pyarrow finds it: named by the URI, else by the environment; None for Amazon's own."""
    query = {key: values[-1] for key, values in parse_qs(urlsplit(location).query).items()}
    if named := query.get("endpoint_override"):
        return named if "://" in named else f"{query.get('scheme', 'https')}://{named}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _profile_keys() -> "S3Config":
    """The keys of the user's profile, which pyarrow reads and obstore does not; none where the environment has keys."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    profiles = ConfigParser(interpolation=None)
    profiles.read(Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser())
    profile = os.environ.get("AWS_PROFILE", "default")
    found = dict(profiles.items(profile)) if profiles.has_section(profile) else {}
    keys: S3Config = {}
    if "aws_access_key_id" in found and "aws_secret_access_key" in found:
        keys = {"access_key_id": found["aws_access_key_id"], "secret_access_key": found["aws_secret_access_key"]}
        if "aws_session_token" in found:
            keys["session_token"] = found["aws_session_token"]
    return keys
