"""What a URI in a config may not hold: configs are kept, shown and tracked."""

import re

# A user name alone is none; nor is a port, as in hdfs://host:8020/a@b. Keys of S3 hold slashes.
_PASSWORD = re.compile(r"(?<=://)[^/?#@]*:(?!\d+/)[^?#]*@")
_SECRET = re.compile(r"([?&][^=&]*(?:key|token|secret|sig|password|credential)[^=&]*=)[^&]*", re.IGNORECASE)


def without_secret(uri: str) -> str:
    """`uri`, which must not hold a secret.

    Raises:
        ValueError: it does; the secret is not told.
    """
    shown = _SECRET.sub(r"\1…", _PASSWORD.sub("…@", uri)) if "://" in uri else uri
    if shown != uri:
        raise ValueError(
            f"{shown} holds a key or password, which would be kept and shown with the config; "
            "leave it out, and give it to every host by its environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or role"
        )
    return uri
