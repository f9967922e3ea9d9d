"""Jobs as a table."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cluster.terminal.narrow_tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table


def job_list(jobs: Iterable[Mapping[str, Any]]) -> "Table":
    """One line for each job, of Ray's details: id, status, when it began, and its command."""
    table = plain_table("job", "status", "began", "command", right=False)
    for job in jobs:
        began = datetime.fromtimestamp(job["start_time"] / 1000).strftime("%Y-%m-%d %H:%M") if job["start_time"] else ""
        table.add_row(job["submission_id"], job["status"].lower(), began, job["entrypoint"])
    return table
