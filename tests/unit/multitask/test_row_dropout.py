"""Dropout keyed by the row: the masks are random, and those of a row depend on nothing but it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config import parse_config
from multitask.data import Batch
from multitask.errors import UserError
from multitask.model import build_model
from multitask.model.dropout import TableDropout
from multitask.model.row_dropout import RowDropout
from multitask.objectives import RowObjective, row_dropout
from multitask.objectives.contrastive import embed_texts

ROWS = 6


def _batch(rows: list[int], sequences: int = 1, length: int = 7) -> Batch:
    """Rows whose tokens and sizes depend on their numbers, padded to `length`."""
    count = len(rows) * sequences
    ids, mask = torch.zeros(count, length, dtype=torch.int64), torch.zeros(count, length, dtype=torch.int64)
    for sequence in range(count):
        place, at = divmod(sequence, len(rows))
        size = 3 + (rows[at] + place) % 4
        mask[sequence, :size] = 1
        ids[sequence, :size] = torch.arange(5, 5 + size) + rows[at] + place
    labels = torch.tensor([float(row % 2) for row in rows])
    return Batch(ids, mask, torch.zeros_like(ids), labels, torch.tensor(rows), sequences)


def _masks(
    shape: tuple[int, ...], p: float, key: int = 1, calls: int = 1, rows: list[int] | None = None
) -> list[Tensor]:
    """What is kept of ones of this shape in `calls` calls, as 0 and 1."""
    with RowDropout(_batch(rows or list(range(shape[0]))), key):
        return [functional.dropout(torch.ones(shape), p) * (1 - p) for _ in range(calls)]


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_masks_are_random(p: float) -> None:
    """Shares of zeros in all, in rows, tokens and features, and of neighbours both zero, within five deviations."""
    first, second = _masks((64, 40, 96), p, calls=2)
    zero = first == 0
    torch.testing.assert_close(first[~zero], torch.ones(int((~zero).sum())))

    def check(share: Tensor, wanted: float, number: int) -> None:
        assert ((share - wanted).abs() < 5 * math.sqrt(wanted * (1 - wanted) / number)).all()

    check(zero.float().mean(), p, zero.numel())
    for kept_dimension in range(3):
        others = [d for d in range(3) if d != kept_dimension]
        check(zero.float().mean(others), p, zero.numel() // zero.shape[kept_dimension])
        size = zero.shape[kept_dimension] - 1
        both = zero.narrow(kept_dimension, 0, size) & zero.narrow(kept_dimension, 1, size)
        check(both.float().mean(), p * p, both.numel())
    check((zero & (second == 0)).float().mean(), p * p, zero.numel())
    check((zero & (_masks((64, 40, 96), p, key=2)[0] == 0)).float().mean(), p * p, zero.numel())


@pytest.mark.parametrize("shape", [(ROWS, 5), (ROWS, 5, 8), (ROWS, 2, 5, 5)])
def test_mask_of_a_row_does_not_depend_on_padding_or_on_the_rows_beside_it(shape: tuple[int, ...]) -> None:
    rows = [3, 1, 4, 15, 9, 2]
    whole = _masks(shape, 0.4, calls=2, rows=rows)
    padded = _masks((ROWS, *(size + 3 for size in shape[1:])), 0.4, calls=2, rows=rows)
    turned = _masks((3, *shape[1:]), 0.4, calls=2, rows=[2, 15, 3])
    for mask, longer, part in zip(whole, padded, turned, strict=True):
        torch.testing.assert_close(mask, longer[tuple(slice(size) for size in shape)])
        torch.testing.assert_close(part, mask[[5, 3, 0]])


def test_texts_of_a_row_have_masks_of_their_own_and_so_have_its_features() -> None:
    with RowDropout(_batch([0, 1, 2], sequences=2), 1):
        texts, features = functional.dropout(torch.ones(6, 400)), functional.dropout(torch.ones(3, 400))
    drawn = torch.cat([texts, features]) > 0
    same = (drawn[:, None] == drawn[None]).float().mean(-1)
    assert (same[~torch.eye(9, dtype=torch.bool)] < 0.65).all()


@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_attention_drops_its_weights(mask: str | None) -> None:
    """The values are unit vectors, so that the weights themselves come out."""
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 2, 5, 3), torch.randn(4, 2, 5, 3), torch.eye(5).expand(4, 2, 5, 5)
    allowed = torch.ones(4, 1, 5, 5, dtype=torch.bool)
    allowed[..., 4] = False
    options: dict[str, Any] = {}
    if mask == "causal":
        options["is_causal"] = True
    elif mask:
        options["attn_mask"] = allowed if mask == "bool" else torch.zeros(4, 1, 5, 5).masked_fill(~allowed, -1e9)
    weights = functional.scaled_dot_product_attention(query, key, value, **options)
    with RowDropout(_batch([0, 1, 2, 3]), 1):
        plain = functional.scaled_dot_product_attention(query, key, value, **options)
        dropped = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.4, **options)
    torch.testing.assert_close(plain, weights)
    torch.testing.assert_close(dropped, torch.where(dropped > 0, weights / 0.6, 0.0))
    assert 0.25 < (dropped[weights > 0] == 0).float().mean() < 0.55


def test_attention_of_grouped_queries() -> None:
    query, key = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 3, 8)
    wanted = functional.scaled_dot_product_attention(query, key, key, enable_gqa=True, scale=0.3)
    with RowDropout(_batch([0, 1]), 1):
        found = functional.scaled_dot_product_attention(query, key, key, dropout_p=1e-9, enable_gqa=True, scale=0.3)
    torch.testing.assert_close(found, wanted)


def test_dropout_outside_of_training_or_of_nothing_is_none() -> None:
    ones = torch.ones(2, 50)
    with RowDropout(_batch([0, 1]), 1):
        assert functional.dropout(ones, 0.5, training=False) is ones
        assert functional.dropout(ones, 0.0) is ones
        inside = functional.dropout(torch.ones(2, 50), 0.5)
        assert functional.dropout(ones, 0.5, inplace=True) is ones
    assert 0 < (ones == 0).float().mean() < 1
    assert not torch.equal(ones, inside)


def test_mask_of_a_table_is_the_same_beside_one_row_and_many() -> None:
    table, found = torch.ones(5, 40), []
    for rows in ([3], [1, 4], [0, 1, 2, 3, 4]):
        with RowDropout(_batch(rows), 1):
            found.append(TableDropout(0.4)(table))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert 0.25 < (found[0] == 0).float().mean() < 0.55
    torch.testing.assert_close(found[0][found[0] > 0], torch.tensor(1 / 0.6).expand(int((found[0] > 0).sum())))


def test_shape_that_hides_the_rows_is_refused() -> None:
    with RowDropout(_batch([0, 1]), 1), pytest.raises(UserError, match=r"\(14, 3\).*say encoder\.dropout_key=rank"):
        functional.dropout(torch.ones(14, 3))


@pytest.mark.parametrize("dropouts", [(0.3, None), (0.1, 0.4), (0.0, 0.4)])
@pytest.mark.parametrize("pairing", ["cross_encoder", "bi_encoder"])
def test_losses_of_rows_are_the_same_in_any_batch(
    tiny_tasks: dict[str, Any], pairing: str, dropouts: tuple[float, float | None]
) -> None:
    tiny_tasks["encoder"]["dropout"], tiny_tasks["head"] = dropouts[0], {"dropout": dropouts[1]}
    tiny_tasks["tasks"]["quora"]["pair_encoding"] = {"name": pairing}
    config = parse_config(tiny_tasks | {"regularization": {"r_drop": {"weight": 1.0}}}, "test")
    model, sequences = build_model(config).train(), 2 if pairing == "bi_encoder" else 1
    objective = RowObjective(config, model, None)
    whole = objective("quora", _batch([0, 1, 2, 3], sequences, 9), step=3)
    parts = [objective("quora", _batch(rows, sequences), step=3) for rows in ([2], [3, 0, 1])]
    torch.testing.assert_close(torch.cat([part.total for part in parts]), whole.total[[2, 3, 0, 1]])
    assert (objective("quora", _batch([0, 1, 2, 3], sequences, 9), step=4).task - whole.task).abs().max() > 1e-4
    assert whole.terms["r_drop"].min() > 0


def test_text_that_is_embedded_twice_is_dropped_in_two_ways_and_the_same_again(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"]["dropout"] = 0.3
    config = parse_config(tiny_tasks, "test")
    model, batch = build_model(config).train(), _batch([0, 1, 2])
    found = []
    for _ in range(2):
        with row_dropout(config, "sst", batch, 0):
            found.append(embed_texts(model, "sst", batch))
    torch.testing.assert_close(found[0], found[1])
    assert (found[0][0] - found[0][1]).abs().max() > 1e-3


def test_rank_leaves_torch_its_own_kernels(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"] |= {"dropout": 0.3, "dropout_key": "rank"}
    dropout = nn.Dropout(0.3)
    drawn = []
    for entered in (True, False):
        torch.manual_seed(0)
        with row_dropout(parse_config(tiny_tasks, "test"), "sst", _batch([0, 1]), 0) if entered else torch.no_grad():
            drawn.append(dropout(torch.ones(2, 50)))
    assert torch.equal(*drawn)


def test_a_task_and_a_step_have_masks_of_their_own(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"]["dropout"] = 0.3
    drawn = []
    for task, step, seed in (("sst", 1, 1), ("sts", 1, 1), ("sst", 2, 1), ("sst", 1, 2)):
        with row_dropout(parse_config(tiny_tasks | {"seed": seed}, "test"), task, _batch([0, 1]), step):
            drawn.append(functional.dropout(torch.ones(2, 500)) > 0)
    same = (torch.stack(drawn)[:, None] == torch.stack(drawn)).float().mean((-2, -1))
    assert (same[~torch.eye(4, dtype=torch.bool)] < 0.6).all()
