"""The command `concord`."""

from cluster.cli.app import main

__all__ = ["main"]
