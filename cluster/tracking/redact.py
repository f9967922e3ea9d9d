"""Keeps secrets out of what is sent to a tracking server."""

import re
from typing import Any

_SECRET_WORDS = {"password", "passwd", "secret", "token", "credential", "credentials", "apikey"}
_KEY_WORDS = {"api", "access", "private", "account", "secret"}
_USER_IN_URI = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_IN_QUERY = re.compile(r"([?&][^=&\s]*(?:key|token|secret|sig|password)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def without_secrets(value: Any) -> Any:
    """The same plain value without entries whose key names a secret, and without the credentials that a URI may carry."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items() if not _names_a_secret(str(key))}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    if isinstance(value, str):
        return _SECRET_IN_QUERY.sub(r"\1…", _USER_IN_URI.sub("", value))
    return value


def _names_a_secret(key: str) -> bool:
    words = set(re.split(r"[^a-z0-9]+", key.lower()))
    return bool(words & _SECRET_WORDS) or ("key" in words and bool(words & _KEY_WORDS))
