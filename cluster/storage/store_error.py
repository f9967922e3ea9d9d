"""What an object store refuses or does not answer, as one line that says what to mend."""

import re

from multitask.errors import UserError

_NO_ACCESS = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN"
    "|REQUEST_TIME_TOO_SKEWED|HTTP status 40[13]|40[13] (?:Unauthorized|Forbidden)|lacked the necessary privileges"
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|Bucket '.*' not found|NoSuchBucket|INVALID_BUCKET|InvalidBucketName")
_ACCESS = (
    "it wants keys that may read, write, list and delete there: in each host's environment "
    "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), its profile or its role"
)


class StoreError(UserError, OSError):
    """An object store refuses, or has not answered for as long as it was asked: one line that names the key."""


def is_final(error: BaseException) -> bool:
    """Whether the store has answered, and will not answer otherwise if it is asked again."""
    return bool(_NO_ACCESS.search(str(error)) or _NO_BUCKET.search(str(error)))


def store_error(location: str, error: BaseException) -> StoreError:
    """What `error` means for the storage at `location`."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if _NO_BUCKET.search(str(error)):
        return StoreError(f"cluster.storage: {location}: the bucket is not there, make it first ({text})")
    if _NO_ACCESS.search(str(error)):
        return StoreError(f"cluster.storage: {location} refuses access ({text}); {_ACCESS}")
    return StoreError(
        f"cluster.storage: {location} does not answer as it should, though asked again and again ({text})"
    )
