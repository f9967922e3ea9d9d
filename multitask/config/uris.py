"""What a URI in a config may not hold: configs are kept, shown and tracked."""

from multitask.redaction import redacted


def without_secret(uri: str) -> str:
    """`uri`, which must not hold a secret.

    Raises:
        ValueError: it does; the secret is not told.
    """
    shown = redacted(uri)
    if shown != uri:
        raise ValueError(
            f"{shown} holds a key or password, which would be kept and shown with the config; "
            "leave it out, and give it to every host by its environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or role"
        )
    return uri
