"""Skips every test of hosts, with the reason, where this machine allows none."""

import pytest

from tests.hosts.network import why_not_here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if item.path.parent.name == "hosts"]
    if own and (reason := why_not_here()):
        for item in own:
            item.add_marker(pytest.mark.skip(reason=reason))
