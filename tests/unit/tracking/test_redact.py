import pytest

from cluster.tracking.redact import without_secrets


@pytest.mark.parametrize(
    "key", ["api_key", "WANDB_API_KEY", "token", "hf_token", "password", "client-secret", "access_key"]
)
def test_entries_that_name_a_secret_are_dropped_at_any_depth(key):
    assert without_secrets({"a": [{key: "x", "b": 1}]}) == {"a": [{"b": 1}]}


@pytest.mark.parametrize("key", ["tokenizer", "max_length", "tokens_per_s", "key", "seed", "secretary"])
def test_other_entries_stay(key):
    assert without_secrets({key: 1}) == {key: 1}


def test_credentials_in_uris_are_taken_out():
    assert without_secrets("s3://key:pass@bucket/data") == "s3://bucket/data"
    assert without_secrets(("https://x/y?sig=abc&n=1&secret_key=q",)) == ["https://x/y?sig=…&n=1&secret_key=…"]
    assert without_secrets("s3://bucket/a@b/train.csv") == "s3://bucket/a@b/train.csv"
