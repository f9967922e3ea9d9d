"""Each method that merges coordinates beside its definition and torchjd."""

from typing import Any

import pytest
import torch
from torchjd import aggregation

from multitask.combination import CoordinateCombination
from multitask.keys import generator_key
from tests.unit.multitask.combination.methods import build, drawn


def test_graddrop_keeps_one_sign_by_chance(tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    own, rows = build(tiny_tasks, "graddrop"), drawn(8, size=4000).float()
    assert isinstance(own, CoordinateCombination)
    merged = own.merge("weight", torch.arange(4000), list(rows), 2)
    up, down = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    is_up = merged == up
    assert (is_up | (merged == down)).all()
    # In the mean a coordinate is (Σ₊² − Σ₋²) / Σ| |.
    expected = (up * up - down * down) / (up - down)
    assert float(merged.mean()) == pytest.approx(float(expected.mean()), abs=4 * float(merged.std()) / 4000**0.5)
    assert not torch.equal(merged, own.merge("weight", torch.arange(4000), list(rows), 3))
    from multitask.combination.coordinates.combination import uniform

    numbers = uniform(generator_key(5, "graddrop", 2, "weight"), torch.arange(4000))
    monkeypatch.setattr(torch, "rand", lambda *shape, **kinds: numbers)
    torch.testing.assert_close(merged, aggregation.GradDrop()(rows))
    leaking = build(tiny_tasks, "graddrop", leak=0.25)
    assert isinstance(leaking, CoordinateCombination)
    torch.testing.assert_close(
        leaking.merge("weight", torch.arange(4000), list(rows), 2),
        aggregation.GradDrop(leak=torch.full((3,), 0.25))(rows),
    )
    counts = torch.histc(numbers, 10, 0, 1)
    assert float(((counts - 400) ** 2 / 400).sum()) < 27.9  # χ² of 9 degrees of freedom at one in a thousand


def test_numbers_are_the_hash_of_32_unsigned_bits() -> None:
    from multitask.combination.coordinates.combination import uniform

    key, places = 0x1234_5678_9ABC_DEF0, [0, 1, 77, 2**31 - 1, 2**31, 2**32 + 5, 3 * 2**32 + 1]
    for place, found in zip(places, uniform(key, torch.tensor(places)).tolist(), strict=True):
        bits = (place * 0x9E3779B9 + (key & 0x7FFFFFFF)) % 2**32
        for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (0x27D4EB2F, 16)):
            bits = ((bits ^ (bits >> shift)) * multiplier) % 2**32
        assert found == ((bits ^ (bits >> 16)) >> 8) / 2**24


def test_trimmed_mean_is_torchjds(tiny_tasks: dict[str, Any]) -> None:
    own, rows = build(tiny_tasks, "trimmed_mean"), drawn(9).float()
    assert isinstance(own, CoordinateCombination)
    assert torch.equal(
        own.merge("weight", torch.arange(rows.shape[1]), list(rows), 0), aggregation.TrimmedMean(1)(rows)
    )


@pytest.mark.parametrize(("count", "trim"), [(3, 1), (6, 1), (7, 2), (8, 3)])
def test_what_is_left_without_extremes_is_the_middle_of_the_sorted(count: int, trim: int) -> None:
    from multitask.combination.coordinates.combination import without_extremes

    rows = drawn(3, rows=count, size=500).float()
    rows[1, :50] = rows[0, :50]
    left = torch.stack(without_extremes(list(rows), trim)).sort(0).values
    assert torch.equal(left, rows.sort(0).values[trim : count - trim])
