"""The same three losses, summed, in Hugging Face's Trainer."""

import tempfile
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from multitask.config import RunConfig
from multitask.data import Batch
from multitask.model import build_model
from tests.gpu.row import Place

_WARM_UP = 3


class _Losses(nn.Module):
    """The sum of the losses of all task batches, as a Trainer wants a model."""

    def __init__(self, settings: RunConfig, whole: Mapping[str, Batch]) -> None:
        super().__init__()
        self.model, self.whole = build_model(settings), whole

    def forward(self, number: Tensor) -> dict[str, Tensor]:
        """Whatever the number is."""
        losses = [self.model.row_losses(task, batch).mean() for task, batch in self.whole.items()]
        return {"loss": torch.stack(losses).sum()}


class _Numbers(Dataset[dict[str, int]]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"number": number}


class _Clock(TrainerCallback):
    """Seconds from the end of the warm-up to the end."""

    def __init__(self, place: Place) -> None:
        self._place, self.began, self.ended = place, 0.0, 0.0

    def on_step_end(self, arguments: Any, state: Any, control: Any, **others: Any) -> None:
        """Read the clock after the warm-up and after the last step."""
        if state.global_step in (_WARM_UP, state.max_steps):
            if self._place.is_cuda:
                torch.cuda.synchronize()
            self.began, self.ended = self.ended, time.perf_counter()


def trainer_loop(settings: RunConfig, whole: Mapping[str, Batch], place: Place, steps: int) -> float:
    """Seconds of a step of Trainer."""
    clock = _Clock(place)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=_WARM_UP + steps,
            per_device_train_batch_size=1,
            learning_rate=1e-5,
            bf16=settings.precision != "fp32",
            optim="adamw_torch_fused",
            max_grad_norm=0.0,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not place.is_cuda,
        )
        trainer = Trainer(
            _Losses(settings, whole), arguments, train_dataset=_Numbers(_WARM_UP + steps), callbacks=[clock]
        )
        trainer.train()
    return (clock.ended - clock.began) / steps
