"""Names of the scores of dev rows: `dev/<task>/<metric>`, `dev/mean`, and `dev_NAME/<task>/<metric>` of further dev sets."""


def is_dev_score(key: str) -> bool:
    """Whether a metric is a score of dev rows."""
    return key.startswith(("dev/", "dev_")) and key != "dev/best"
