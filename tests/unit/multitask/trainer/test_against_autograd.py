"""The plain trainer beside straight autograd on whole batches, PCGrad on vectors, and torch's and the library's own optimizers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_optimizer import load_optimizer

from multitask.model import MultitaskModel
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.straight_autograd import straight_trajectory

STEPS = 4
CASES: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "pcgrad": {},
    "groups": {"combination": {"name": "pcgrad", "groups": [["sst", "sts"], ["quora"]]}},
    "pcgrad with heads": {"combination": {"scope": "all", "reduction": "mean"}},
    "groups with heads": {"combination": {"groups": [["sst", "sts"], ["quora"]], "scope": "all"}},
    "loss_weights": {"combination": {"name": "loss_weights", "loss_weights": {"sst": 0.5, "quora": 2.0, "sts": 1.0}}},
    "one task a step": {"combination": {"name": "sum"}, "phases": [{"sampling": {"name": "sequential"}}]},
    "no clipping": {"training": {"clip_norm": None}},
    "frozen": {"combination": {"name": "sum"}, "phases": [{"encoder": "frozen"}]},
    "layer decay": {"optimizer": {"layer_decay": 0.5}},
    "smart": {"regularization": {"smart": {"weight": 2.0, "noise": 0.01, "step_size": 0.05}}},
    "bregman": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}},
    "order": {
        "tasks": {
            "sts": {
                "pair_encoding": {"name": "bi_encoder", "features": "cosine"},
                "head": {"name": "scaled"},
                "loss": {"name": "cosent"},
            }
        }
    },
    "contrastive": {
        "tasks": {
            "ranking": {
                "kind": {"name": "contrastive", "temperature": 0.1},
                "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
                "files": {"train": ["quora-train.csv"]},
                "format": "cs224n",
                "batch_size": 7,
            }
        }
    },
}


def _tree(folder: Path, bert: Path, changes: dict[str, Any]) -> dict[str, Any]:
    base = tiny_config(
        folder,
        encoder={"name": str(bert)},
        training={"clip_norm": 1.0},
        # Adam divides rounding errors by their own size where a gradient is zero; eps keeps them small.
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )
    return merge(base, changes)


@pytest.mark.parametrize("case", CASES)
def test_trainer_equals_straight_autograd(case: str, folder: Path, tiny_bert: Path) -> None:
    tree = _tree(folder, tiny_bert, CASES[case])
    found, wanted = plain_trajectory(tree, STEPS), straight_trajectory(tree, STEPS)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        error = (found[name] - value).abs().max().item()
        assert error <= 1e-5 * value.abs().max().item() + 2e-7, f"{name}: {error:.2e}"


def test_every_case_ends_elsewhere_than_the_sum(folder: Path, tiny_bert: Path) -> None:
    """A step that forgets to project, or a term, would be seen."""
    ends = {
        case: straight_trajectory(_tree(folder, tiny_bert, CASES[case]), STEPS)
        for case in ("sum", "pcgrad", "groups", "pcgrad with heads", "groups with heads", "smart", "bregman")
    }
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    for case in ("pcgrad", "groups", "pcgrad with heads"):
        assert (ends[case][name] - ends["sum"][name]).abs().max() > 1e-4, case
    for case in ("smart", "bregman", "pcgrad with heads"):
        assert (ends[case][name] - ends["pcgrad"][name]).abs().max() > 1e-4, case
    head = "heads.quora.readout.linear.weight"
    assert (ends["groups with heads"][head] - ends["groups"][head]).abs().max() > 1e-5


LIBRARY: dict[str, dict[str, Any]] = {
    "lamb": {"eps": 1e-4},
    "adamax": {"eps": 1e-4},
    "qhadam": {"nus": [0.7, 1.0], "eps": 1e-4},
    "muon": {"adamw_eps": 1e-4},
    "adafactor": {"relative_step": False, "warmup_init": False, "scale_parameter": True},
    "lars": {},
}
LR, DECAY = 2e-3, 0.3
# The rate of what is no hidden matrix is to Muon's own as 3e-4 to .02, the library's defaults.
ADAMW_SHARE = 3e-4 / 0.02


def _library_optimizer(name: str, decay: str, model: MultitaskModel) -> torch.optim.Optimizer:
    """The library's own class on ordinary parameters; Muon on the encoder's matrices alone, as its authors say."""
    matrices = {n for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("encoder.") and ".layer." in n}
    groups = []
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            amount = DECAY if parameter.dim() > 1 else 0.0
            group: dict[str, Any] = {"params": [parameter], "weight_decay": amount if decay == "library" else 0.0}
            if name == "muon":
                is_matrix = parameter_name in matrices
                group |= {"use_muon": is_matrix, "scale": 1.0 if is_matrix else ADAMW_SHARE}
            groups.append(group)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in LIBRARY[name].items()}
    optimizer = load_optimizer(name)(groups, lr=LR, **options)

    @torch.no_grad()
    def decay_beside(*_: object) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.dim() > 1 and parameter.grad is not None:
                    parameter -= group["lr"] * DECAY * parameter

    if decay == "decoupled":
        optimizer.register_step_pre_hook(decay_beside)
    return optimizer


@pytest.mark.parametrize(
    ("name", "decay"), [*((name, "decoupled") for name in LIBRARY), ("adamax", "library"), ("lamb", "library")]
)
def test_trainer_steps_library_optimizers_as_the_library_does(
    name: str, decay: str, folder: Path, tiny_bert: Path
) -> None:
    tree = tiny_config(folder, encoder={"name": str(tiny_bert)}, training={"clip_norm": 1.0})
    own = {"name": name, "lr": LR, "weight_decay": DECAY, "decay": decay, "options": LIBRARY[name]}
    tree = merge(tree, {"optimizer": own})
    found = plain_trajectory(tree, STEPS)
    wanted = straight_trajectory(tree, STEPS, lambda model: {None: _library_optimizer(name, decay, model)})
    start = plain_trajectory(tree, 0)
    for parameter, value in wanted.items():
        moved, error = (value - start[parameter]).abs().max().item(), (found[parameter] - value).abs().max().item()
        # Muon's own iteration is in bf16, which turns rounding errors of its input into per cents.
        assert error <= (0.06 if name == "muon" else 2e-3) * moved + 4e-6, (
            f"{parameter}: {error:.2e}, moved {moved:.2e}"
        )


def test_trainer_gives_each_task_moments_as_separate_torch_optimizers_do(folder: Path, tiny_bert: Path) -> None:
    """Paper E's sequential training: one optimizer for each task, over the encoder and the task's head."""

    def separate(model: MultitaskModel) -> dict[str | None, torch.optim.Optimizer]:
        made: dict[str | None, torch.optim.Optimizer] = {}
        for task in model.heads:
            owned = [*model.shared_parameters().values(), *model.head_parameters(task).values()]
            groups = [{"params": [p], "weight_decay": 0.01 if p.dim() > 1 else 0.0} for p in owned]
            made[task] = torch.optim.AdamW(groups, lr=LR, eps=1e-4)
        return made

    tasks = {task: {"train_rows": 12} for task in ("sst", "quora", "sts")}
    phases = [{"sampling": {"name": "sequential"}, "epochs": 3}]
    tree = tiny_config(folder, encoder={"name": str(tiny_bert)}, tasks=tasks, phases=phases)
    tree |= {"optimizer": {"name": "adamw", "lr": LR, "eps": 1e-4, "per_task": True}, "combination": {"name": "sum"}}
    found, wanted = plain_trajectory(tree, 14), straight_trajectory(tree, 14, separate)
    shared = straight_trajectory(merge(tree, {"optimizer": {"per_task": False}}), 14)
    for name, value in wanted.items():
        error = (found[name] - value).abs().max().item()
        assert error <= 3e-5 * value.abs().max().item() + 2e-6, f"{name}: {error:.2e}"
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    assert (wanted[name] - shared[name]).abs().max() > 1e-4
