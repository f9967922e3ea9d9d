"""Options that cannot work, refused before anything starts."""

from cluster.sweeps.optuna_samplers import check_sampler
from cluster.sweeps.records import Options
from cluster.sweeps.search import Search
from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError

SEARCHES = ("random", "grid", "tpe", "gp", "cmaes", "qmc", "nsga2")
SCHEDULERS = ("fifo", "asha", "median", "pbt")
# The command line refuses smaller numbers by itself.
LEAST = {"trials": 1, "repeats": 1, "evaluations": 1, "grace": 1, "reduction": 2, "seed": 0, "keep": 1, "concurrent": 1}


def check_options(options: Options, search: Search) -> None:
    """Raises:
    UserError: a name is unknown, a number makes no sense, or two choices do not go together.
    """
    _known("--search", options.search, SEARCHES)
    _known("--scheduler", options.scheduler, SCHEDULERS)
    for name, least in LEAST.items():
        if (given := getattr(options, name)) is not None and given < least:
            raise UserError(f"--{name} must be {least} or more, got {given}")
    for metric in options.metrics:
        _known("--metric", metric, reported_metrics(search.base))
    if len(set(options.metrics)) != len(options.metrics):
        raise UserError(f"--metric names the same score twice: {', '.join(options.metrics)}")
    if options.search == "grid":
        search.space.grid()
    check_sampler(options, search.space)
    if options.scheduler == "pbt":
        _check_population(options, search)
    if options.scheduler != "fifo" and len(options.metrics) > 1:
        raise UserError(
            f"--scheduler {options.scheduler} compares trials by one score, --metric names {len(options.metrics)}: "
            "give one of them, or use --scheduler fifo"
        )
    if options.scheduler in ("asha", "median") and options.grace >= options.evaluations:
        raise UserError(
            f"--grace {options.grace}: a trial has {options.evaluations} evaluations, and at its last one it is through: "
            "nothing would be stopped"
        )


def reported_metrics(base: RunConfig) -> list[str]:
    """The dev scores that trials of the recipe report."""
    return list(base.score_names)


def _check_population(options: Options, search: Search) -> None:
    changing = [name for name in search.space.mutable if name in search.space.parameters]
    if not changing:
        raise UserError(
            f"--scheduler pbt: nothing in the space {search.spec} may change in the middle of a run; use --space population"
        )
    if options.trials < 4:
        raise UserError(f"--scheduler pbt needs a population of 4 trials or more, got --trials {options.trials}")
    if options.repeats > 1:
        raise UserError(
            "--scheduler pbt changes a trial on its way, so there is no configuration to repeat: leave --repeats out"
        )


def _known(option: str, given: str, names: tuple[str, ...] | list[str]) -> None:
    if given not in names:
        raise UserError(f"{option}: unknown {given!r}; {valid_names(given, names)}")
