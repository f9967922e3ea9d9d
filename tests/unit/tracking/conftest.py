import pytest
import wandb

from tests.wandb_server import log_in, own_environment, serving


@pytest.fixture(autouse=True)
def own_wandb(monkeypatch, tmp_path):
    own_environment(monkeypatch, tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    """W&B's server on loopback, logged in to."""
    with serving() as server:
        log_in(monkeypatch, server.url)
        yield server
