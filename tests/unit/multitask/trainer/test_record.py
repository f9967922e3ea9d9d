"""What is reported of training: means over the steps since the last record."""

import pytest
import torch

from multitask.trainer.progress import Progress
from multitask.trainer.record import TrainRecord
from multitask.trainer.result import StepResult


def _result(
    sst: float,
    sts: float | None,
    gramian: torch.Tensor | None = None,
    layers: dict[str, torch.Tensor] | None = None,
) -> StepResult:
    losses = {"sst": sst} | ({"sts": sts} if sts is not None else {})
    return StepResult(
        losses=losses,
        terms={"smart/sst": sst / 10},
        weights=dict.fromkeys(losses, 1.0),
        groups=(("sst",), ("sts", "quora")),
        gramian=gramian,
        norm=2.0,
        tokens=80,
        slots=100,
        extra_tokens=240,
        applied=True,
        layers=layers or {},
    )


def test_losses_are_means_of_the_steps_that_trained_the_task_since_the_last_record() -> None:
    """A public minBERT divides by a count that grows over the epoch, so that its loss seems to fall."""
    record = TrainRecord()
    for sst, sts in ((4.0, 1.0), (2.0, None), (3.0, 2.0)):
        record.add(_result(sst, sts), 1e-3)
    first = record.take(Progress(step=3, trained_steps={"sst": 3, "sts": 2}))
    assert (first["train/loss/sst"], first["train/loss/sts"]) == (3.0, 1.5)
    assert first["train/regularization/smart/sst"] == pytest.approx(0.3)
    assert first["train/share/sts"] == pytest.approx(2 / 3)
    assert first["throughput/padding"] == pytest.approx(0.2)
    assert first["throughput/regularization_tokens"] == pytest.approx(0.75)
    assert record.is_empty
    record.add(_result(10.0, None), 1e-3)
    assert record.take(Progress(step=4, trained_steps={"sst": 4}))["train/loss/sst"] == 10.0


def test_cosines_are_named_after_groups() -> None:
    record = TrainRecord()
    record.add(_result(1.0, 1.0, torch.tensor([[4.0, -3.0], [-3.0, 9.0]])), 1e-3)
    taken = record.take(Progress(step=1))
    assert taken["combination/cosine/sst-sts+quora"] == pytest.approx(-0.5)
    assert taken["combination/conflict_rate"] == 1.0
    assert (taken["combination/norm/sst"], taken["combination/norm/sts+quora"]) == (2.0, 3.0)


def test_cosines_of_layers_are_means_of_the_steps_that_looked() -> None:
    record, whole = TrainRecord(), torch.tensor([[4.0, -3.0], [-3.0, 9.0]])
    for low, high in ((1.0, -2.0), (0.0, -1.0)):
        layers = {
            "embeddings": torch.tensor([[1.0, low], [low, 4.0]]),
            "layer_01": torch.tensor([[1.0, high], [high, 4.0]]),
        }
        record.add(_result(1.0, 1.0, whole, layers), 1e-3)
    record.add(_result(1.0, 1.0, whole), 1e-3)
    taken = record.take(Progress(step=3))
    found = {key: value for key, value in taken.items() if "layer_cosine" in key}
    assert found == {
        "combination/layer_cosine/sst-sts+quora/embeddings": pytest.approx(0.25),
        "combination/layer_cosine/sst-sts+quora/layer_01": pytest.approx(-0.75),
    }
