"""Commands to copy, which run as they are printed."""

import shlex

from cluster.analysis.rules import MEAN
from cluster.sweeps.confirmation import Question
from cluster.sweeps.records import Sweep
from cluster.sweeps.sweep_place import sweep_argument


def best_command(sweep: Sweep, question: Question, *more: str) -> str:
    """`concord best` with the same question and the options `more`."""
    options = [] if question.by == sweep.options.selection == MEAN else ["--by", question.by]
    for option, given in (("--weight", question.weights), ("--baseline", question.baselines)):
        options += [text for task, value in given.items() for text in (option, f"{task}={value:g}")]
    options += ["--margin", f"{question.margin:g}"] if question.margin else []
    return f"concord best {sweep_argument(sweep)} {shlex.join([*options, *more])}".rstrip()


def try_command(sweep: Sweep, sample: tuple[str, ...]) -> str:
    """`concord sweep resume` that tries a configuration, given as `KEY=VALUE` texts."""
    return f"concord sweep resume {sweep_argument(sweep)} --try {shlex.quote(shlex.join(sample))}"
