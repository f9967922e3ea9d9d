"""Names that keys and choices had in older versions: refused in what people write, read in what those versions wrote."""

from collections.abc import Mapping

# Where a key stood, `*` for any name or position, and what its last part is called now.
_KEYS = {
    "tasks.*.rows_per_epoch": "rows_per_pass",
    "phases.*.sampling.batches_per_step": "merged_batches",
    "phases.*.sampling.weights": "draw_weights",
    "combination.weights": "loss_weights",
}
# What a key says, and what that is called now.
_VALUES = {
    "phases.*.sampling.name": {"proportional_batches": "scaled_batch_sizes", "weights": "draw_weights"},
    "combination.name": {"weights": "loss_weights"},
}


def renamed_key(path: str) -> str | None:
    """The dotted key that `path` is now; None if it was never another."""
    found = next((new for old, new in _KEYS.items() if _covers(old, path)), None)
    return f"{path.rpartition('.')[0]}.{found}" if found else None


def renamed_value(path: str, value: object) -> str | None:
    """What `value` of the dotted key `path` is called now; None if it was never anything else."""
    values = next((new for old, new in _VALUES.items() if _covers(old, path)), {})
    return values.get(value) if isinstance(value, str) else None


def with_present_names(tree: Mapping) -> dict:
    """The plain values of a whole config that any version wrote, with the names of this one."""
    present = {key: _present(value, str(key)) for key, value in tree.items()}
    if isinstance(source := present.get("source"), Mapping):
        present["source"] = {**source, **_by_split(source)}
    return present


def _by_split(source: Mapping) -> dict[str, object]:
    """Published scores, which were of dev rows alone, by split."""
    scores, overall = source.get("scores") or {}, source.get("overall") or {}
    of_tasks = any(not isinstance(own, Mapping) for own in scores.values())
    return {
        "scores": {"dev": scores} if of_tasks else scores,
        "overall": overall if isinstance(overall, Mapping) else {"dev": overall},
    }


def _present(node: object, path: str) -> object:
    if isinstance(node, Mapping):
        below = {key: f"{path}.{key}" for key in node}
        return {
            (renamed_key(below[key]) or below[key])[len(path) + 1 :]: _present(value, below[key])
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [_present(value, f"{path}.{number}") for number, value in enumerate(node)]
    return renamed_value(path, node) or node


def _covers(pattern: str, path: str) -> bool:
    wanted, given = pattern.split("."), path.split(".")
    return len(wanted) == len(given) and all(own in ("*", part) for own, part in zip(wanted, given, strict=True))
