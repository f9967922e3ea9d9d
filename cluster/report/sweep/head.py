"""What was searched, and what became of it."""

from datetime import UTC, datetime

from cluster.report.sweep.cost import spent_by_status
from cluster.report.sweep.view import STATUS, View, listed
from cluster.sweeps.sweep_place import sweep_argument


def facts(view: View) -> dict[str, str]:
    """Term to words."""
    sweep, options = view.sweep, view.sweep.options
    parts = spent_by_status(view)
    rows, tokens, seconds = (
        sum(getattr(own, name) for own in parts.values()) for name in ("rows", "tokens", "seconds")
    )
    found = {
        "recipe": sweep.recipe,
        "space": f"{sweep.space['name']}: {sweep.space['about']}",
        "searched": listed(list(view.parameters)) if view.parameters else "nothing",
        "search": options.search,
        "scheduler": options.scheduler,
        "metric": listed(options.metrics) + (", their Pareto front" if len(options.metrics) > 1 else ""),
        "trials": _counts(view),
        "seeds": "one for each configuration" if options.repeats < 2 else f"{options.repeats} for each configuration",
        "time": f"{_duration(sweep.elapsed)}; its trials together {_duration(seconds)}",
        "compute": f"{rows:,} training rows, {tokens:,} tokens",
        "begun": datetime.fromtimestamp(sweep.created, UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return found


def _counts(view: View) -> str:
    statuses = [trial.status for trial in view.searched]
    counts = [f"{statuses.count(status)} {name}" for status, name in STATUS.items() if status in statuses]
    names = {"baseline": "baselines", "refit": "refits", "confirm": "trials that confirm the winner"}
    others = [name for role, name in names.items() if any(trial.role == role for trial in view.sweep.trials)]
    return f"{len(statuses)}: {', '.join(counts) or 'none has begun'}" + (
        f"; beside them {listed(others)}" if others else ""
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def notes(view: View) -> list[str]:
    """Sentences about what the reader must know first."""
    sweep, found = view.sweep, []
    name = sweep_argument(sweep)
    if sweep.status == "running":
        found.append(
            "This sweep is still running, or its driver was killed: what follows is what is known so far. "
            f"`concord sweep status {name}` says which; `concord sweep resume {name}` goes on."
        )
    if sweep.status == "stopped":
        found.append(f"This sweep was stopped before its end; `concord sweep resume {name}` goes on.")
    if not view.points:
        found.append("No trial has a score yet, so there is nothing to compare and no winner.")
    elif len(view.points) == 1:
        found.append("Only one trial has a score so far, so there is nothing to compare it with.")
    elif not any(trial.status == "finished" for trial in view.searched):
        found.append("No trial was trained to its end: the scores are those of the evaluations so far.")
    return found
