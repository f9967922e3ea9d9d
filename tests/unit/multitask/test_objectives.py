"""Contrastive losses and regularization beside straight implementations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.config.regularization import Bregman
from multitask.data import Batch
from multitask.model import build_model
from multitask.objectives import (
    RowObjective,
    Teacher,
    contrastive_losses,
    passes_per_row,
    row_dropout,
    row_noise,
    text_keys,
)
from tests.plain_losses import plain_smart


def _batch(labels: list[float], sequences: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 90, (len(labels) * sequences, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    ids[1, 4:] = 0
    rows = torch.arange(10, 10 + len(labels))
    return Batch(ids, mask, torch.zeros_like(ids), torch.tensor(labels), rows, sequences=sequences)


def _config(tree: dict[str, Any], **regularization: dict[str, float]) -> RunConfig:
    return parse_config(tree | {"regularization": regularization}, "test")


@pytest.mark.parametrize("texts", [2, 3])
def test_contrastive_loss_and_gradient_are_those_of_sentence_transformers(texts: int) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    own = torch.randn(texts, 6, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    keys = torch.arange(texts * 6).view(texts, 6)
    loss = contrastive_losses(own, keys, 0.05).mean()
    theirs = own.detach().clone().requires_grad_()
    module = MultipleNegativesRankingLoss(None, scale=20.0)  # type: ignore[arg-type]
    wanted = module.compute_loss_from_embeddings(list(theirs), torch.zeros(6))
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(own.grad, theirs.grad)


def test_temperature_sharpens(tiny_tasks: dict[str, Any]) -> None:
    """Equation 1 of SimCSE by hand for two rows."""
    u, v = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    half = 0.5**0.5
    wanted = [
        -torch.tensor([1.0, half]).div(0.5).log_softmax(0)[0],
        -torch.tensor([0.0, half]).div(0.5).log_softmax(0)[1],
    ]
    keys = torch.arange(4).view(2, 2)
    torch.testing.assert_close(contrastive_losses(torch.stack([u, v]), keys, 0.5), torch.stack(wanted))


# Texts of rows by name: what each row's anchor may be told from, written out.
NEGATIVES: list[tuple[list[str], list[str]]] = [
    (["ab", "cd", "ef"], ["df", "bf", "bd"]),
    # A text in two rows, as anchor, as positive, as either.
    (["ab", "ac", "de"], ["e", "e", "bc"]),
    (["ab", "cb", "de"], ["e", "e", "bb"]),
    (["ab", "bc", "de"], ["ce", "e", "bc"]),
    (["ab", "ca", "de"], ["e", "be", "ba"]),
    (["ab", "ab", "ba"], ["", "", ""]),
    # Unsupervised: a sentence that comes twice.
    (["aa", "bb", "aa"], ["b", "aa", "b"]),
    # With a negative of its own: b's of the first row is the second's positive, and the other way round.
    (["abc", "dcb"], ["cc", "bb"]),
    (["abx", "acy", "dby"], ["xyy", "xyy", "cxyy"]),
]


@pytest.mark.parametrize(("rows", "negatives"), NEGATIVES)
def test_a_text_is_no_negative_of_itself_nor_of_what_it_is_a_positive_of(rows: list[str], negatives: list[str]) -> None:
    keys = torch.tensor([[ord(row[place]) for row in rows] for place in range(len(rows[0]))])
    drawn = {text: torch.randn(5, generator=torch.Generator().manual_seed(ord(text))) for row in rows for text in row}
    embeddings = torch.stack([torch.stack([drawn[row[place]] for row in rows]) for place in range(len(rows[0]))])
    wanted = []
    for row, others in zip(rows, negatives, strict=True):
        logits = [functional.cosine_similarity(drawn[row[0]], drawn[text], dim=0) / 0.1 for text in row[1] + others]
        wanted.append(-torch.stack(logits).log_softmax(0)[0])
    torch.testing.assert_close(contrastive_losses(embeddings, keys, 0.1), torch.stack(wanted))


def test_keys_tell_texts_apart_and_do_not_depend_on_the_batch() -> None:
    """Orders of the same tokens, prefixes, and the same text in another batch, place, and padding."""
    texts = [[5, 6, 7], [6, 5, 7], [5, 6], [5, 6, 7, 0], [7], [5, 6, 7]]
    keys = []
    for longest in (4, 9):
        ids = torch.tensor([text + [3] * (longest - len(text)) for text in texts])
        mask = (torch.arange(longest) < torch.tensor([[len(text)] for text in texts])).long()
        pairs = Batch(ids, mask, ids, torch.zeros(3), torch.arange(3), sequences=2)
        keys.append(text_keys(pairs).flatten())
        singles = text_keys(Batch(ids, mask, ids, torch.zeros(6), torch.arange(6), sequences=1))
        assert torch.equal(singles, torch.stack([keys[0], keys[0]]))
    assert torch.equal(*keys)
    assert keys[0][0] == keys[0][5]
    assert len(keys[0].unique()) == 5
    every = torch.randint(0, 4, (100_000, 9), generator=torch.Generator().manual_seed(0))
    many = Batch(every, torch.ones_like(every), every, torch.zeros(100_000), torch.arange(100_000), sequences=1)
    assert len(text_keys(many)[0].unique()) == len(every.unique(dim=0))


def test_noise_belongs_to_the_row_and_not_to_its_place() -> None:
    batch = _batch([0.0, 1.0, 2.0])
    noise = row_noise(batch, 5, 0.1, 7, "smart", 4, "sst")
    turned = Batch(
        batch.input_ids.flip(0), batch.attention_mask.flip(0), batch.token_type_ids, batch.labels, batch.rows.flip(0), 1
    )
    torch.testing.assert_close(row_noise(turned, 5, 0.1, 7, "smart", 4, "sst"), noise.flip(0))
    assert noise[1, 4:].abs().sum() == 0
    assert noise[1, :4].abs().min() > 0
    assert not torch.equal(row_noise(batch, 5, 0.1, 7, "smart", 5, "sst"), noise)
    assert abs(row_noise(_batch([0.0] * 200), 32, 0.1, 1).std().item() - 0.1) < 0.01


SMART: dict[str, dict[str, Any]] = {
    "ours": {"step_size": 0.05},
    "two steps": {"step_size": 0.05, "steps": 2},
    "Jiang et al.": {"step_size": 0.05, "norm_level": "row", "radius": 0.02, "steps": 2},
    "MT-DNN": {"adversary": "mt_dnn", "step_size": 1e-5, "noise": 1e-5},
    "MT-DNN, two steps": {"adversary": "mt_dnn", "step_size": 0.5, "steps": 2},
}
LABELS = {"sst": [0.0, 4.0, 2.0], "quora": [1.0, 0.0, 1.0], "sts": [0.5, 4, 2]}


@pytest.mark.parametrize("dropout_key", ["row", "rank"])
@pytest.mark.parametrize("task", LABELS)
@pytest.mark.parametrize("setting", SMART)
def test_smart_is_the_straight_implementation_with_one_set_of_dropout_masks(
    tiny_tasks: dict[str, Any], setting: str, task: str, dropout_key: str
) -> None:
    tiny_tasks["encoder"] |= {"dropout": 0.3, "dropout_key": dropout_key}
    config = _config(tiny_tasks, smart={"weight": 3.0, "noise": 0.01, **SMART[setting]})
    model, batch = build_model(config).train(), _batch(LABELS[task])

    @contextmanager
    def masks() -> Iterator[None]:
        torch.manual_seed(4)
        with row_dropout(config, task, batch, 8):
            yield

    torch.manual_seed(4)
    found = RowObjective(config, model, None)(task, batch, step=8)
    wanted = plain_smart(model, config, task, batch, 8, masks)
    assert (wanted > 0).all()
    torch.testing.assert_close(found.terms["smart"], wanted, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.total, found.task + wanted, rtol=1e-3, atol=1e-6)
    parameters = [p for p in model.parameters() if p.requires_grad]
    own = torch.autograd.grad(found.terms["smart"].sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad(wanted.sum(), parameters, allow_unused=True)
    for a, b in zip(own, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()) + 1e-6)


@pytest.mark.parametrize("dropout_key", ["row", "rank"])
def test_smart_measures_the_noise_and_draws_no_masks_of_its_own(tiny_tasks: dict[str, Any], dropout_key: str) -> None:
    """Noise of nothing gives a term of nothing, and what is drawn afterwards is what is drawn without the term."""
    tiny_tasks["encoder"] |= {"dropout": 0.3, "dropout_key": dropout_key}
    batch, drawn, terms = _batch(LABELS["sst"]), [], dict[str, torch.Tensor]()
    for smart in ({}, {"smart": {"weight": 1.0, "noise": 1e-9, "step_size": 1e-9}}):
        config = _config(tiny_tasks, r_drop={"weight": 1.0}, **smart)
        model = build_model(config).train()
        torch.manual_seed(4)
        terms |= RowObjective(config, model, None)("sst", batch, 0).terms
        drawn.append(torch.rand(3))
    assert terms["smart"].abs().max() < 1e-9 < terms["r_drop"].min()
    assert torch.equal(*drawn)


def test_the_noise_stays_within_its_radius(tiny_tasks: dict[str, Any]) -> None:
    smart = {"weight": 1.0, "noise": 0.1, "step_size": 0.1, "radius": 0.03}
    config = _config(tiny_tasks, smart=smart)
    model, batch, seen = build_model(config).eval(), _batch(LABELS["sst"]), []
    model.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[3]))
    RowObjective(config, model, None)("sst", batch, 0)
    assert seen[-2].abs().max() > 0.1
    assert seen[-1].abs().max() == pytest.approx(0.03)


def test_smart_of_pairs_apart_disturbs_both_texts(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["quora"]["pair_encoding"] = {"name": "bi_encoder", "features": "cosine"}
    config = _config(tiny_tasks, smart={"weight": 1.0, "noise": 0.01, "step_size": 0.05})
    model, batch = build_model(config).eval(), _batch([1.0, 0.0, 1.0], sequences=2)
    noise = row_noise(batch, 32, 0.01, 1)
    assert noise[:3].abs().sum() > 0
    assert noise[3:].abs().sum() > 0
    assert not torch.equal(noise[0], noise[3])
    term = RowObjective(config, model, None)("quora", batch, 0).terms["smart"]
    assert (term > 0).all()


@pytest.mark.parametrize(("r_drop", "share"), [({}, 0.5), ({"task_loss": "mean"}, 0.5), ({"task_loss": "sum"}, 1.0)])
def test_r_drop_is_the_loss_of_two_passes_and_the_divergence_between_them(
    tiny_tasks: dict[str, Any], r_drop: dict[str, Any], share: float
) -> None:
    """½ (L₁ + L₂) as in the authors' code, or L₁ + L₂ as in equation 4 of the paper, and α ½ (KL + KL) either way."""
    tiny_tasks["encoder"] |= {"dropout": 0.2, "dropout_key": "rank"}
    config = _config(tiny_tasks, r_drop={"weight": 2.0, **r_drop})
    model, batch = build_model(config).train(), _batch([0.0, 4.0, 2.0])
    torch.manual_seed(5)
    found = RowObjective(config, model, None)("sst", batch, 0)
    torch.manual_seed(5)
    first, second = model("sst", batch), model("sst", batch)
    assert not torch.equal(first, second)
    wanted = sum(functional.cross_entropy(raw, batch.labels.long(), reduction="none") for raw in (first, second))
    torch.testing.assert_close(found.task, share * wanted)
    p, q = Categorical(logits=first), Categorical(logits=second)
    torch.testing.assert_close(found.terms["r_drop"], 2.0 * (kl_divergence(p, q) + kl_divergence(q, p)) / 2)


def test_bregman_draws_to_a_teacher_that_follows(tiny_tasks: dict[str, Any]) -> None:
    config = _config(tiny_tasks, bregman={"weight": 0.5, "momentum": 0.9})
    model, batch = build_model(config).eval(), _batch([0.0, 4.0, 2.0])
    bregman = config.regularization.bregman
    assert bregman is not None
    teacher = Teacher(model, bregman, steps=4)
    objective = RowObjective(config, model, teacher)
    torch.testing.assert_close(objective("sst", batch, 0).terms["bregman"], torch.zeros(3))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    teacher.follow(model, 0)
    weights = dict(model.named_parameters())
    for name, average in teacher.state_dict().items():
        torch.testing.assert_close(average, 0.9 * before[name] + 0.1 * weights[name].detach())
    term = objective("sst", batch, 0).terms["bregman"]
    p, q = Categorical(logits=model("sst", batch)), Categorical(logits=teacher.model("sst", batch))
    torch.testing.assert_close(term, 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)))
    gradients = torch.autograd.grad(term.sum(), [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)
    other = Teacher(build_model(config), bregman, steps=4)
    other.load_state_dict(teacher.state_dict())
    torch.testing.assert_close(other.model("sst", batch), teacher.model("sst", batch))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        # Jiang et al. 2020: "β = 0.99 for the first 10% of the updates (t ≤ 0.1T) and β = 0.999 for the rest".
        ({}, [0.99] * 2 + [0.999] * 18),
        ({"momentum": 0.5}, [0.5] * 20),
        ({"momentum": 0.9, "early_momentum": 0.2, "early": 0.5}, [0.2] * 10 + [0.9] * 10),
        ({"early": 0.0}, [0.999] * 20),
    ],
)
def test_momentum_of_the_teacher_over_the_updates(given: dict[str, float], wanted: list[float]) -> None:
    """Of a weight of 1 a teacher with 0 takes in 1 − β."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    teacher, found = Teacher(model, Bregman(**given), steps=20), []  # type: ignore[arg-type]
    for step in range(20):
        teacher.load_state_dict({"weight": torch.zeros(1, 1)})
        teacher.follow(model, step)  # type: ignore[arg-type]
        found.append(1 - teacher.state_dict()["weight"].item())
    assert found == pytest.approx(wanted, abs=1e-6)


def test_passes_are_counted(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"]["dropout"] = 0.1
    config = _config(tiny_tasks, smart={"steps": 2}, bregman={}, r_drop={})
    calls = 0
    model = build_model(config)
    teacher = Teacher(model, Bregman(), steps=1)

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for counted in (model, teacher.model):
        counted.encoder.register_forward_hook(count)
    RowObjective(config, model, teacher)("sst", _batch([0.0, 1.0]), 0)
    assert calls == passes_per_row(config.regularization) == 6
    assert passes_per_row(_config(tiny_tasks).regularization) == 1
