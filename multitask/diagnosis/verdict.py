"""What the numbers come to, in plain words."""

from collections.abc import Sequence

from multitask.diagnosis.conflicts import Pair, TaskNoise
from multitask.diagnosis.replay import ALIKE, Replayed

_IMBALANCE, _NOISY, _MOST, _MOST_PAIRS = 3.0, 0.5, 6, 3


def verdict(pairs: Sequence[Pair], noise: Sequence[TaskNoise], methods: Sequence[Replayed]) -> list[str]:
    """One sentence for each thing that was found."""
    return [*_conflicts(pairs), *_batch_sizes(pairs), *_noise(noise), *_balance(noise), *_methods(methods)]


def worth_trying(pairs: Sequence[Pair], methods: Sequence[Replayed]) -> list[str]:
    """The sum, and one of each kind of method that would have done something else: at most six others, the nearest to the sum first."""
    others = [own.name for own in methods if own.like is None and own.name != "sum" and own.fallbacks < 0.5]
    if any(pair.is_real for pair in pairs) and "pcgrad" not in others and any(own.name == "pcgrad" for own in methods):
        others.insert(0, "pcgrad")
    return ["sum", *others[:_MOST]]


def _conflicts(pairs: Sequence[Pair]) -> list[str]:
    real = [pair for pair in pairs if pair.is_real]
    if real:
        named = ", ".join(f"{pair.first} and {pair.second} ({pair.cosine:+.3f} ± {pair.error:.3f})" for pair in real)
        return [f"Tasks pull against each other beyond the noise of batches: {named}. Surgery can matter here."]
    seen = [pair for pair in pairs if pair.rate > 0]
    if not seen:
        return ["No two tasks ever pulled against each other: surgery has nothing to do here."]
    most = max(seen, key=lambda pair: pair.rate)
    return [
        f"Cosines below 0 are seen, most often between {most.first} and {most.second} ({most.rate:.0%} of looks), but their mean is not "
        f"below 0 ({most.cosine:+.3f} ± {most.error:.3f}); on both halves of the batches at once they are in {most.both:.0%}, by chance it "
        f"would be {most.chance:.0%}. What surgery acts on here is the noise of batches."
    ]


def _batch_sizes(pairs: Sequence[Pair]) -> list[str]:
    """With which batches a step would see the conflict that there is."""
    real = [pair for pair in pairs if pair.sign < 0 and pair.sign_rows is not None]
    if real:
        return [f"That {own.first} and {own.second} are at odds, {_seen(own)}." for own in real[:_MOST_PAIRS]]
    if not pairs:
        return []
    if all(pair.sign > 0 for pair in pairs):
        return [
            "No batch size would show conflict: all pairs pull the same way, the more clearly the larger the batch."
        ]
    open_ = [pair for pair in pairs if pair.sign == 0 and pair.sign_rows is not None]
    told = ", ".join(
        f"{own.first} {own.sign_rows[0]:,} with {own.second} {own.sign_rows[1]:,}"
        for own in open_[:_MOST_PAIRS]
        if own.sign_rows
    )
    looks = min((pair.looks for pair in open_), default=0)
    return (
        [
            f"Whether they are at odds at all {looks} looks do not tell; if they are, one batch shows it only from more rows than these on: {told}."
        ]
        if told
        else []
    )


def _seen(pair: Pair) -> str:
    assert pair.sign_rows is not None
    if all(wanted <= rows for wanted, rows in zip(pair.sign_rows, pair.rows, strict=True)):
        return f"19 of 20 of today's batches show ({pair.rows[0]:,} and {pair.rows[1]:,} rows)"
    times = max(wanted / rows for wanted, rows in zip(pair.sign_rows, pair.rows, strict=True))
    return (
        f"one batch shows reliably (19 of 20) from about {pair.sign_rows[0]:,} and {pair.sign_rows[1]:,} rows on, {times:.1f} times today's "
        f"{pair.rows[0]:,} and {pair.rows[1]:,}"
    )


def _noise(noise: Sequence[TaskNoise]) -> list[str]:
    noisy = [own for own in noise if own.noise > _NOISY]
    if not noisy:
        return []
    words = ", ".join(f"{own.task} {own.noise:.0%}" for own in noisy)
    sentences = [f"Most of a batch's gradient is noise: {words}."]
    if names := ", ".join(f"{own.task} {own.balanced_rows:,}" for own in noisy if own.balanced_rows is not None):
        sentences.append(f"Half of it would be, with so many rows in a batch: {names}.")
    return [" ".join(sentences)]


def _balance(noise: Sequence[TaskNoise]) -> list[str]:
    known = [own for own in noise if own.norm > 0]
    if len(known) < 2:
        return []
    short, long = min(known, key=lambda own: own.norm), max(known, key=lambda own: own.norm)
    ratio = long.norm / short.norm
    if ratio < _IMBALANCE:
        return [
            f"Gradients are of like length ({ratio:.1f} times from {short.task} to {long.task}): balancing them has little to do."
        ]
    return [
        f"The gradient of {long.task} is {ratio:.1f} times as long as that of {short.task} and leads the sum: methods that balance "
        "lengths differ most from it."
    ]


def _methods(methods: Sequence[Replayed]) -> list[str]:
    same = [own.name for own in methods if own.like == "sum"]
    sentences = []
    if same:
        sentences.append(
            f"With these gradients {', '.join(same)} would move as the sum does (cosine {ALIKE:g} and more)."
        )
    for own in methods:
        alike = [other.name for other in methods if other.like == own.name]
        if own.name != "sum" and alike:
            sentences.append(f"{', '.join(alike)} would do what {own.name} does: sweeping both is waste.")
    failing = [own.name for own in methods if own.fallbacks > 0]
    if failing:
        sentences.append(f"Without weights at some looks: {', '.join(failing)}.")
    return sentences
