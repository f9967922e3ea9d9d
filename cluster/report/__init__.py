"""One self-contained HTML page about a run, about several side by side, or about a sweep."""

from cluster.report.page import write_report

__all__ = ["write_report"]
