"""Secrets are kept out of what is written and shown: by the names of keys, and by what URIs carry."""

import re
from typing import Any

_SECRET_WORDS = {"password", "passwd", "secret", "token", "credential", "credentials", "apikey"}
_KEY_WORDS = {"api", "access", "private", "account", "secret"}
# A user alone is a token on the web, but a container in abfs://c@account; what looks like a password may be a port, as in
# hdfs://host:8020/a@b. Keys of S3 hold slashes.
_USER_IN_URI = re.compile(r"(https?://)[^/?#\s'\"]*@|(://)[^/?#@\s'\"]*:(?!\d+/)[^?#\s'\"]*@")
_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:key|token|secret|sig|password|credential)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE
)


def redacted(text: str) -> str:
    """The text without the users, passwords and keys that URIs in it carry."""
    return _SECRET_IN_QUERY.sub(r"\1…", _USER_IN_URI.sub(r"\1\2", text))


def redact_uris(value: Any) -> Any:
    """The same plain value, every text of it `redacted`."""
    if isinstance(value, dict):
        return {key: redact_uris(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_uris(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def without_secrets(value: Any) -> Any:
    """The same plain value without texts and numbers whose key names a secret, and without what URIs carry.

    Switches stay, and trees: `token_types` is no secret, and neither is a task that is called `token`.
    """
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items() if not _is_secret(str(key), item)}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def _is_secret(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool | dict):
        return False
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()))
    return bool(words & _SECRET_WORDS) or ("key" in words and bool(words & _KEY_WORDS))
