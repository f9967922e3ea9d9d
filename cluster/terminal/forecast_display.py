"""What `concord plan` found, on a screen."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from cluster.scale.forecast import Forecast

_GIB = 2**30


def show_forecast(found: Forecast, console: Console) -> None:
    """Print the step, its collectives, and what to change."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for row in _rows(found):
        table.add_row(*row)
    console.print(table)
    console.print(_collectives(found))
    for sentence in found.change:
        console.print(f"• {sentence}", highlight=False)
    console.print(f"• {found.machine.name}: {found.machine.source}.", highlight=False)


def _rows(found: Forecast) -> Iterator[tuple[str, str, str]]:
    plan, time, memory = found.plan, found.plan.time, found.plan.memory
    sent, outside, messages = plan.sent
    parts = {
        "passes": time.compute,
        "gradients and optimizer": time.memory,
        "network": time.network,
        "hidden under passes": time.hidden,
    }
    yield "step", _seconds(time.total), ", ".join(f"{name} {_seconds(own)}" for name, own in parts.items())
    yield (
        "efficiency",
        f"{found.efficiency:.0%}",
        f"of {plan.gpus:,} times one GPU; {plan.share_of_peak:.1%} of the peak",
    )
    yield (
        "tokens a second",
        f"{plan.tokens_per_s:,.0f}",
        f"{plan.tokens_per_s / plan.gpus:,.0f} a GPU, {plan.work.rows:,} rows a step",
    )
    parts_held = {name: getattr(memory, name) for name in ("weights", "optimizer", "gradients", "activations")}
    yield (
        "memory of a GPU",
        f"{memory.total / _GIB:.1f} GiB",
        ", ".join(f"{n} {own / _GIB:.1f}" for n, own in parts_held.items()),
    )
    yield "sent by a GPU", _bytes(sent), f"in {messages:,} messages; {_bytes(outside)} out of a host"
    yield (
        "the run",
        f"{found.hours:,.2f} h",
        f"{found.steps:,} steps on {plan.hosts:,} host{'s' if plan.hosts > 1 else ''}, without evaluations and saves",
    )
    if found.cost is not None:
        yield "cost", f"{found.cost:,.2f}", f"of {found.hours * plan.gpus:,.1f} GPU hours"


def _collectives(found: Forecast) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for number, heading in enumerate(("collective", "kind", "bytes of a GPU", "messages")):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number == 0)
    for call in found.plan.collectives:
        table.add_row(call.name, call.kind.replace("_", "-"), f"{int(call.sent.max()):,}", f"{call.messages:,}")
    return table


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
