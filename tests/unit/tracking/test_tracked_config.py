import pytest

from cluster.tracking.tracked_config import agent_settings, levels, tracked_config
from multitask.redaction import without_secrets
from tests.unit.training.samples import run_info


def test_every_dot_of_a_name_is_a_level():
    assert levels({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


def test_a_name_that_begins_another_is_kept_whichever_comes_first():
    for flat in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        assert levels(flat) == {"a": {"": 1, "b": 2}}


def test_the_phases_samplings_are_named_once_each():
    phases = [{"sampling": {"name": name}} for name in ("proportional", "annealed", "proportional")]
    config = tracked_config(run_info(config={"phases": phases, "combination": {"name": "sum"}}), {})
    assert config["run"]["sampling"] == "proportional+annealed"
    assert config["run"]["combination"] == "sum"
    assert config["phases"] == phases


def test_an_agent_is_one_that_names_sweep_and_run(monkeypatch):
    for name in ("SWEEP_ID", "RUN_ID", "PROJECT", "ENTITY"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "r")
    assert agent_settings() == {}
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert agent_settings() == {"run_id": "r", "sweep_id": "s"}


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
