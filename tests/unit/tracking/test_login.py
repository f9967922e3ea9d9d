import pytest

from cluster.tracking.login import choose_mode, logged_in


@pytest.fixture(autouse=True)
def logged_out(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_auto_is_offline_without_a_login_and_online_with_one(monkeypatch):
    assert choose_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert choose_mode("auto") == "online"


def test_a_netrc_entry_for_wandb_is_a_login_and_others_are_not(logged_out):
    logged_out.write_text("machine example.org login u password p\n")
    assert not logged_in()
    logged_out.write_text("machine api.wandb.ai login user password " + "x" * 40 + "\n")
    assert logged_in()
    logged_out.write_text("nonsense here")
    assert not logged_in()


@pytest.mark.parametrize(
    ("variable", "mode"),
    [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("online", "missing")],
)
def test_the_environment_decides_for_auto(monkeypatch, variable, mode):
    monkeypatch.setenv("WANDB_MODE", variable)
    assert choose_mode("auto") == mode


@pytest.mark.parametrize(
    ("configured", "mode"), [("online", "missing"), ("offline", "offline"), ("disabled", "disabled")]
)
def test_an_explicit_mode_wins_over_the_environment(monkeypatch, configured, mode):
    monkeypatch.setenv("WANDB_MODE", "offline" if configured != "offline" else "disabled")
    assert choose_mode(configured) == mode
