"""A sweep in the terminal: how far it is, its best trials, and what went wrong."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.step.clock import clock
from cluster.sweeps.records import Status, Sweep, Trial
from cluster.terminal.json_output import print_json

SHOWN = 10
_STYLES = {"running": "cyan", "failed": "red", "stopped": "dim", "waiting": "yellow"}
_METHODS = {"sampling.name", "combination.name"}


class SweepDisplay:
    """Shows a sweep while it runs: live in a terminal, a line for each change elsewhere, JSON for programs."""

    def __init__(self, *, json: bool) -> None:
        self._console, self._json = Console(), json
        self._known: dict[str, tuple[str, int]] = {}
        self._told: set[str] = set()
        self._live: Live | None = None

    def __call__(self, sweep: Sweep) -> None:
        """Show how the sweep stands."""
        if self._console.is_terminal and not self._json:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=2, transient=True)
                self._live.start()
            self._live.update(sweep_view(sweep))
            return
        for trial in sweep.trials:
            state = (trial.status, len(trial.reports))
            if self._known.get(trial.run) != state and (trial.attempts or trial.has_ended):
                self._known[trial.run] = state
                self._say(sweep, trial)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, sweep: Sweep, trial: Trial) -> None:
        if self._json:
            print_json({"event": "trial", **trial.to_dict()})
            return
        best = trial.best(sweep.options.selection)
        score = f"  {sweep.options.selection} {best.scores[sweep.options.selection]:.3f}" if best else ""
        # What it tries is said once, when it starts or goes on.
        what = f"  {describe_sample(trial)}" if trial.run not in self._told else ""
        self._told.add(trial.run)
        reason = f"  {trial.reason}" if trial.reason else ""
        self._console.print(
            f"{trial.run}  {trial.status}  {_done(trial)}{score}{what}{reason}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def sweep_view(sweep: Sweep, limit: int = SHOWN) -> RenderableType:
    """Heading, the trials that run, the best of the others, and failures with their reasons."""
    parts: list[RenderableType] = [heading(sweep), trial_table(sweep, _shown(sweep, limit))]
    failures = Counter(trial.reason for trial in sweep.trials if trial.status == "failed")
    parts += [Text(f"{count} failed: {reason}", style="red") for reason, count in failures.most_common(3)]
    if failures:
        first = next(trial.run for trial in sweep.trials if trial.status == "failed")
        more = f"concord sweep status {sweep.name} {first.removeprefix(f'{sweep.name}-')}"
        parts.append(Text(f"what a trial failed with: {more}", style="dim"))
    return Group(*parts)


def watch_sweep(read: Callable[[], Sweep], console: Console) -> None:
    """Show what `read` gives every second, until the sweep ends."""
    with Live(console=console, refresh_per_second=2) as live:
        while True:
            sweep = read()
            live.update(sweep_view(sweep))
            if sweep.status != "running":
                return
            time.sleep(1)


def sweep_list(found: Sequence[Mapping[str, Any]]) -> Table:
    """One line a sweep, of what `describe_status` tells."""
    table = Table("sweep", "space", "search", "state", "trials", "best", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for own in found:
        best = "" if own["best_score"] is None else f"{own['best_score']:.3f}"
        table.add_row(own["name"], own["space"], own["search"], own["status"], own["progress"], best)
    return table


def space_list(spaces: Mapping[str, str]) -> Table:
    """One line a space: its name and what it answers."""
    table = Table("space", "what it answers", box=None, padding=(0, 2, 0, 0))
    for name, about in spaces.items():
        table.add_row(name, about)
    return table


def heading(sweep: Sweep) -> Text:
    """One line: what, how many, how long."""
    counts = Counter(trial.status for trial in sweep.trials)
    states = [f"{counts[s]} {w}" for s, w in _WORDS.items() if counts[s]]
    left = seconds_left(sweep)
    parts = [sweep.name, f"{sweep.options.search}/{sweep.options.scheduler} over {sweep.space['name']}", *states]
    parts.append(f"{clock(sweep.elapsed)} so far" + (f", about {clock(left)} left" if left else ""))
    return Text("  ".join(parts), style="bold")


_WORDS: dict[Status, str] = {
    "running": "running",
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "waiting": "waiting",
}


def trial_table(sweep: Sweep, trials: Sequence[Trial]) -> Table:
    """Trials with the scores of their best checkpoint."""
    metrics = score_columns(sweep)
    table = Table("trial", "state", "evals", box=None, padding=(0, 1, 0, 0), expand=True)
    table.columns[0].no_wrap = True
    for metric in metrics:
        table.add_column(_column(metric), justify="right")
    table.add_column("what", no_wrap=True, overflow="ellipsis", ratio=1)
    for trial in trials:
        best = trial.best(sweep.options.selection)
        scores = [_number(best.scores.get(metric) if best else None) for metric in metrics]
        name = trial.run.removeprefix(f"{sweep.name}-")
        what = describe_sample(trial)
        style = _STYLES.get(trial.status, "")
        table.add_row(name, trial.status, _done(trial), *scores, Text(what), style=style)
    return table


def score_columns(sweep: Sweep) -> list[str]:
    """The scores to show: each task's own, and the mean."""
    found: dict[str, None] = {}
    for trial in sweep.trials:
        for report in trial.reports[:1]:
            for key in report.scores:
                if trial.role != "baseline" and key.count("/") == 2:
                    found.setdefault(key)
    tasks: dict[str, str] = {}
    for key in found:
        own = sweep.base["tasks"].get(key.split("/")[1], {})
        wanted = own.get("metric")
        if key.split("/")[1] not in tasks or (wanted and key.endswith(f"/{wanted}")):
            tasks[key.split("/")[1]] = key
    return [*tasks.values(), "dev/mean"]


def describe_sample(trial: Trial) -> str:
    """The sample in a few words: names of methods first."""
    if trial.role == "recipe":
        return "the recipe"
    if trial.role == "baseline":
        return f"{trial.sample['task']} alone"
    if trial.role == "confirm":
        return f"{trial.number:03d} again, with a fresh seed" if trial.number else "the recipe again, with a fresh seed"
    sample = trial.current_sample
    shorts = Counter(_short(key) for key in sample)
    names = {key: _short(key) if shorts[_short(key)] == 1 else key for key in sample}
    ordered = sorted(sample, key=lambda key: key not in _METHODS)
    text = " ".join(("" if key in _METHODS else f"{names[key]}=") + _value(sample[key]) for key in ordered)
    return f"{text} from {trial.generations[-1].donor}" if trial.generations else text


def _short(key: str) -> str:
    return key.split(".", 1)[-1]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def seconds_left(sweep: Sweep) -> float | None:
    """Seconds until all trials are through, at the pace so far; None while it is not known."""
    begun = [trial for trial in sweep.trials if trial.reports]
    done = sum(trial.rows for trial in begun)
    ended = [trial for trial in begun if trial.has_ended and trial.planned_rows]
    if not done or not sweep.elapsed or sweep.status != "running":
        return None
    share = sum(t.rows / t.planned_rows for t in ended) / len(ended) if ended else 1.0
    mean = sum(trial.planned_rows for trial in begun) / len(begun)
    going = sum(t.planned_rows - t.position.rows for t in begun if t.position and not t.has_ended)
    number = sweep.options.trials * sweep.options.repeats
    settled = sum(bool(t.reports) or t.has_ended for t in sweep.trials if t.role in ("recipe", "sample"))
    coming = max(0, number - settled) * mean + sum(t.planned_rows for t in sweep.trials if _is_to_confirm(t))
    return (going + coming) * share * sweep.elapsed / done


def _is_to_confirm(trial: Trial) -> bool:
    return trial.role == "confirm" and not trial.reports and not trial.has_ended


def _shown(sweep: Sweep, limit: int) -> list[Trial]:
    selection = sweep.options.selection

    def score(trial: Trial) -> float:
        best = trial.best(selection)
        return best.scores[selection] if best else -2.0

    running = [trial for trial in sweep.trials if trial.status == "running"]
    others = [trial for trial in sweep.trials if trial.status != "running" and trial.reports]
    return running + sorted(others, key=score, reverse=True)[:limit]


def _done(trial: Trial) -> str:
    return f"{trial.iteration}/{trial.planned_iterations}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _column(metric: str) -> str:
    """A score's task, and its dev set where that is not the first."""
    split, task, *_ = metric.split("/")
    return task if split == "dev" else f"{task} {split}"
