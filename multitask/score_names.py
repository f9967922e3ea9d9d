"""Names of scores: `dev/<task>/<metric>`, `dev/mean`, `dev_NAME/<task>/<metric>` of further dev sets, `train/<task>/<metric>`."""

# What records of training steps hold under `train/`.
_RECORDS = ("train/loss/", "train/regularization/", "train/share/")


def is_dev_score(key: str) -> bool:
    """Whether a metric is a score of dev rows."""
    return key.startswith(("dev/", "dev_")) and key != "dev/best"


def is_score(key: str) -> bool:
    """Whether a metric is a score of dev or training rows."""
    return is_dev_score(key) or (key.startswith("train/") and key.count("/") == 2 and not key.startswith(_RECORDS))
