"""What is said of gradients that are known: a signal and noise of a known size."""

import numpy as np
import pytest
import torch

from multitask.diagnosis.batch_size import batches_apart
from multitask.diagnosis.conflicts import noise, pairs
from multitask.diagnosis.probe import Look
from multitask.diagnosis.verdict import verdict

TASKS = ("a", "b")
SIZE = 400


def _looks(number: int, cosine: float, level: float, seed: int = 0, length: float = 1.0) -> list[Look]:
    """Gradients of two tasks: directions with this cosine, the second `length` long, and on each half noise of `level` times its length."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.zeros(SIZE).double(), torch.zeros(SIZE).double()
    first[0], second[0], second[1] = 1, length * cosine, length * (1 - cosine**2) ** 0.5
    found = []
    for step in range(number):
        halves = [
            torch.stack(
                [
                    g + level * g.norm() * torch.randn(SIZE, generator=generator).double() / SIZE**0.5
                    for g in (first, second)
                ]
            )
            for _ in (0, 1)
        ]
        rows = torch.cat(halves)
        inner = (rows @ rows.T)[None].unflatten(2, (2, 2)).unflatten(1, (2, 2)).transpose(2, 3)
        assert torch.allclose(inner[0, 0, 1, 0, 1], halves[0][0] @ halves[1][1])
        found.append(Look(step, TASKS, inner, torch.tensor([1.0, 1.0]).double(), (16, 16)))
    return found


def test_without_noise_the_cosine_is_the_cosine() -> None:
    (pair,) = pairs(_looks(5, -0.3, 0.0), TASKS)
    assert (pair.cosine, pair.error, pair.true_cosine) == (
        pytest.approx(-0.3),
        pytest.approx(0, abs=1e-9),
        pytest.approx(-0.3),
    )
    assert (pair.rate, pair.both, pair.is_real) == (1, 1, True)
    assert pair.layers == (pytest.approx(-0.3),)


def test_noise_is_taken_off_the_cosine_and_told() -> None:
    looks = _looks(400, -0.4, 3.0)
    (pair,) = pairs(looks, TASKS)
    # A half's noise has 9 times the square of the signal, the mean of two 4.5 times: cosines shrink to 1 / 5.5.
    assert pair.cosine == pytest.approx(-0.4 / 5.5, abs=0.02)
    assert pair.true_cosine == pytest.approx(-0.4, abs=0.08)
    assert pair.is_real
    for own in noise(looks, TASKS):
        assert own.noise == pytest.approx(4.5 / 5.5, abs=0.02)
        assert own.balanced_rows == pytest.approx(16 * 4.5, rel=0.15)


@pytest.mark.parametrize("cosine", [0.0, -0.5])
def test_noise_alone_is_rarely_taken_for_conflict(cosine: float) -> None:
    real = [pairs(_looks(25, cosine, 3.0, seed), TASKS)[0].is_real for seed in range(120)]
    assert np.mean(real) <= 0.1 if cosine == 0 else np.mean(real) >= 0.9


@pytest.mark.parametrize(("cosine", "level"), [(-0.3, 6.0), (-0.15, 4.0), (0.4, 8.0)])
def test_batches_of_the_size_told_have_the_sign_in_95_of_100(cosine: float, level: float) -> None:
    (pair,) = pairs(_looks(1500, cosine, level), TASKS)
    assert pair.sign == np.sign(cosine)
    assert pair.sign_rows is not None
    times = pair.sign_rows[0] / 16
    assert times > 1.5
    # The noise of a mean over so many times as many rows.
    larger = _looks(3000, cosine, level / times**0.5, seed=1)
    right = [np.sign(float(look.whole[0, 0, 1])) == np.sign(cosine) for look in larger]
    assert np.mean(right) == pytest.approx(0.95, abs=0.03)


def test_of_gradients_without_noise_any_batch_has_the_sign() -> None:
    (pair,) = pairs(_looks(5, -0.3, 0.0), TASKS)
    assert (pair.sign, pair.rows, pair.sign_rows) == (-1, (16, 16), (2, 2))
    assert "19 of 20 of today's batches show (16 and 16 rows)" in " ".join(verdict([pair], [], []))


def test_what_is_not_told_has_a_lowest_batch() -> None:
    (pair,) = pairs(_looks(50, 0.0, 6.0), TASKS)
    assert (pair.sign, pair.is_real) == (0, False)
    assert pair.sign_rows is not None
    assert min(pair.sign_rows) > 32
    told = " ".join(verdict([pair], [], []))
    assert f"only from more rows than these on: a {pair.sign_rows[0]:,} with b {pair.sign_rows[1]:,}" in told


def test_the_lowest_batch_is_rarely_higher_than_what_is_needed() -> None:
    """Of a cosine that is there and not told from 0; what is needed follows from its true value and the noise of many looks."""
    cosine, level, many = -0.1, 3.0, 1000
    needed = batches_apart(_looks(many, cosine, level), [(0, 1)] * many, cosine)
    assert needed is not None
    probed = [pairs(_looks(12, cosine, level, seed), TASKS)[0] for seed in range(100, 180)]
    told = [pair.sign_rows[0] for pair in probed if pair.sign == 0 and pair.sign_rows]
    assert len(told) > 40
    assert np.mean([rows <= 16 * needed + 1 for rows in told]) >= 0.95


def test_agreement_is_no_conflict_at_any_size() -> None:
    (pair,) = pairs(_looks(50, 0.5, 2.0), TASKS)
    assert pair.sign == 1
    assert "No batch size would show conflict" in " ".join(verdict([pair], [], []))


def test_halves_of_noise_agree_by_chance_alone() -> None:
    (pair,) = pairs(_looks(800, 0.0, 3.0), TASKS)
    assert pair.rate == pytest.approx(0.5, abs=0.06)
    assert pair.both == pytest.approx(pair.chance, abs=0.05)
    assert "the noise of batches" in " ".join(verdict([pair], noise(_looks(50, 0.0, 3.0), TASKS), []))


def test_a_long_gradient_is_told() -> None:
    told = " ".join(verdict([], noise(_looks(10, 0.5, 0.1, length=8.0), TASKS), []))
    assert "The gradient of b is 8.0 times as long as that of a" in told


def test_a_task_that_is_not_always_there_counts_where_it_is() -> None:
    looks = _looks(6, -0.3, 0.0)
    alone = Look(9, ("c", "a"), looks[0].inner, looks[0].losses, (16, 16))
    (pair,) = pairs([*looks, alone], ("a", "b", "c"))
    assert (pair.first, pair.second, pair.looks) == ("a", "b", 6)
    assert [own.task for own in noise([*looks, alone], ("a", "b", "c"))] == ["a", "b", "c"]
