"""What `concord profile` found, on a screen."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from cluster.profile.profile_run import Profile

_NAMES = {"communicate": "exposed communication", "combine": "Gramian and combination"}


def show_profile(found: Profile, console: Console) -> None:
    """Print where the time went, what came of it, and the longest operations."""
    workers = "1 worker" if found.workers == 1 else f"{found.workers} workers"
    console.print(f"{found.recipe}: {found.steps} steps on {workers}, {found.device}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for part, share in sorted(found.shares.items(), key=lambda item: -item[1]):
        table.add_row(_NAMES.get(part, part), f"{share:.1%}")
    table.add_section()
    for name, value in _figures(found):
        table.add_row(name, value)
    console.print(table)
    console.print(_operations(found))
    console.print(
        f"trace: {found.trace} (chrome://tracing or ui.perfetto.dev opens it)", highlight=False, soft_wrap=True
    )


def _figures(found: Profile) -> Iterator[tuple[str, str]]:
    figures = found.figures
    yield "step", f"{found.step_s * 1e3:,.1f} ms"
    yield "tokens a second and worker", f"{figures['throughput/tokens_per_s'] / found.workers:,.0f}"
    share = figures.get("throughput/mfu")
    yield "share of the peak (MFU)", "unknown: cluster.peak_tflops" if share is None else f"{share:.1%}"
    yield "padding", f"{figures['throughput/padding']:.1%}"
    yield "peak memory", f"{figures['throughput/peak_memory_gib']:.2f} GiB"
    if (rank := figures.get("throughput/slowest_rank")) is not None:
        yield "slowest worker", f"rank {rank:.0f}, {figures['throughput/slowest_over_mean']:.2f} times the mean"


def _operations(found: Profile) -> Table:
    table = Table("operation", box=box.SIMPLE_HEAD)
    for heading in ("share", "calls a step"):
        table.add_column(heading, justify="right")
    for own in found.operations:
        table.add_row(own.name, f"{own.share:.1%}", f"{own.calls:,.0f}")
    return table
