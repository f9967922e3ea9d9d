"""Every family of the table in docs/encoders.md trains, exports and loads back; the table says what was seen."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, AutoTokenizer, BertConfig, BertModel

import multitask
from multitask.config import parse_config
from multitask.config.model import EncoderConfig
from multitask.errors import UserError
from multitask.model import Encoder, auto_class, build_model, load_encoder
from multitask.model.layers import encoder_layers, layer_numbers
from multitask.model.lora import lora_targets
from multitask.model.padding import Padding
from multitask.model.probing import check_encoder
from tests.distributed.one_process import plain_trajectory
from tests.encoder_families import (
    FAMILIES,
    REFUSED,
    STEPS,
    family_tree,
    prepare_folder,
    refused_row,
    save_family,
    table_row,
)
from tests.encoder_families import train_family as train
from tests.straight_autograd import straight_trajectory

PAGE = Path(__file__).parents[3] / "docs" / "encoders.md"
TEXT = "a superb film, and the actor is charming"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    prepare_folder(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_family_trains_exports_and_loads_back(name: str, folder: Path) -> None:
    family = FAMILIES[name]
    config = parse_config(family_tree(folder, save_family(family, folder, name), **family.needs), name)
    trainer, start = train(config)
    trained = trainer._trained("finished")
    moved = [n for n, value in trained.weights.items() if not torch.equal(value, start[n])]
    assert any(n.startswith("encoder.") for n in moved)
    export = trained.export(folder / f"{name} export")
    opener = auto_class(trainer.model.encoder.model.config)
    assert f"encoder = {opener.__name__}.from_pretrained(" in (export / "README.md").read_text(encoding="utf-8")
    assert opener is (AutoModelForTextEncoding if "T5" in name else AutoModel)
    plain, loading = opener.from_pretrained(export, output_loading_info=True)
    assert {key: value for key, value in loading.items() if value} == {}
    tokenizer = AutoTokenizer.from_pretrained(export)
    inputs = tokenizer(TEXT, return_tensors="pt", padding=family.needs.get("padding", False), max_length=32)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        states, mask = plain.eval()(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(
        torch.from_numpy(trained.predictor.embed([TEXT])), (states * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=1e-5
    )
    assert table_row(name, trainer) in PAGE.read_text(encoding="utf-8").splitlines(), "run `make reference`"


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.needs])
def test_what_a_family_needs_is_said_by_its_refusal(name: str, folder: Path) -> None:
    ((key, value),) = FAMILIES[name].needs.items()
    tree = family_tree(folder, save_family(FAMILIES[name], folder, f"{name} alone"))
    with pytest.raises(UserError, match=rf"^encoder\.{key}: .* say encoder\.{key}={value}$"):
        build_model(parse_config(tree, name))


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.not_in])
def test_precision_that_a_family_cannot_run_in_is_refused(name: str, folder: Path) -> None:
    family = FAMILIES[name]
    tree = family_tree(folder, save_family(family, folder, f"{name} half"), **family.needs)
    for precision in ("autocast", "fp16") if family.not_in == "autocast" else (family.not_in,):
        with pytest.raises(UserError, match=rf"^precision: .* does not run in {precision}: ") as error:
            build_model(parse_config(tree | {"precision": precision}, name))
        assert len(str(error.value).splitlines()) == 1
    build_model(parse_config(tree | {"precision": "bf16" if family.not_in == "autocast" else "autocast"}, name))


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_is_what_the_config_says_and_no_other(name: str, folder: Path) -> None:
    path = save_family(FAMILIES[name], folder, f"{name} dropped")
    ids = torch.arange(20, 104).view(4, 21)
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    without, some = (load_encoder(EncoderConfig(name=str(path), dropout=p), 32).train() for p in (0.0, 0.4))
    eager = {module.p for module in some.modules() if isinstance(module, nn.Dropout)}
    assert eager <= {0.4}
    with torch.no_grad():
        torch.testing.assert_close(without(*inputs), without.eval()(*inputs))
        assert not torch.allclose(some(*inputs), some(*inputs))


@pytest.mark.parametrize("name", ["DeBERTa v2, v3", "FNet", "GPT-2", "T5 encoder", "XLNet"])
def test_unusual_families_equal_autograd_on_whole_batches(name: str, folder: Path) -> None:
    family = FAMILIES[name]
    tree = family_tree(folder, save_family(family, folder, f"{name} straight"), **family.needs | {"dropout": 0.0})
    tree["optimizer"]["eps"] = 1e-4
    found, wanted = plain_trajectory(tree, STEPS), straight_trajectory(tree, STEPS)
    assert set(found) == set(wanted)
    for parameter, value in wanted.items():
        error = (found[parameter] - value).abs().max().item()
        assert error <= 1e-5 * value.abs().max().item() + 2e-7, f"{parameter}: {error:.2e}"


def test_noise_needs_words_that_are_a_plain_embedding(folder: Path) -> None:
    tree = family_tree(folder, save_family(FAMILIES["I-BERT"], folder, "I-BERT smart"))
    with pytest.raises(UserError, match=r"^regularization\.smart: a ibert's words are no plain embedding"):
        build_model(parse_config(tree | {"regularization": {"smart": {"weight": 1.0}}}, "test"))


def test_noise_reaches_the_words_of_a_t5(folder: Path) -> None:
    encoder = load_encoder(EncoderConfig(name=str(save_family(FAMILIES["T5 encoder"], folder, "noisy"))), 32).eval()
    ids = torch.arange(20, 30).view(2, 5)
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    noise = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    noisy = encoder(*inputs, noise)
    embedded = encoder.model.shared(ids) + noise
    wanted = encoder.model(inputs_embeds=embedded, attention_mask=inputs[1]).last_hidden_state.mean(1)
    torch.testing.assert_close(noisy, wanted)


def test_fixed_length_hides_what_a_batch_is_padded_with(folder: Path) -> None:
    """An FNet sees its padding; a tokenizer's may have another id."""
    path = save_family(FAMILIES["FNet"], folder, "padded")
    encoder = load_encoder(EncoderConfig(name=str(path), padding="max_length"), 32).eval()
    ids, mask, types = torch.arange(20, 30).view(2, 5), torch.ones(2, 5, dtype=torch.int64), torch.zeros(2, 5).long()
    wide, wide_mask = nn.functional.pad(ids, (0, 3), value=77), nn.functional.pad(mask, (0, 3))
    found = encoder(wide, wide_mask, torch.zeros_like(wide))
    torch.testing.assert_close(found, encoder(ids, mask, types))
    whole = nn.functional.pad(ids, (0, 27), value=encoder.pad_id)
    torch.testing.assert_close(found, encoder.model(input_ids=whole).last_hidden_state[:, :5].mean(1))


def test_big_bird_attends_to_all_from_its_first_batch_to_its_export(folder: Path, tmp_path: Path) -> None:
    config = parse_config(family_tree(folder, save_family(FAMILIES["BigBird"], folder, "all")), "test")
    assert json.loads((folder / "all" / "config.json").read_text())["attention_type"] == "block_sparse"
    model = load_encoder(config.encoder, 32).model
    assert model.attention_type == "original_full"
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["attention_type"] == "original_full"


def test_embedding_to_which_no_rows_can_be_added(folder: Path) -> None:
    path = save_family(FAMILIES["I-BERT"], folder, "I-BERT more")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens([f"word{number}" for number in range(200)])
    tokenizer.save_pretrained(path)
    with pytest.raises(UserError, match=r"^encoder\.resize_embeddings: .*I-BERT"):
        build_model(parse_config(family_tree(folder, path, resize_embeddings=True), "test"))


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_first_token_of_a_decoder_is_no_vector_of_a_text(name: str, folder: Path) -> None:
    path = save_family(FAMILIES[name], folder, f"{name} pooled")
    with pytest.raises(UserError, match=r"^encoder\.pooling: the first token of a \w+ has seen no other one; use last"):
        build_model(parse_config(family_tree(folder, path, pooling="cls"), "test"))
    build_model(parse_config(family_tree(folder, path, pooling="last"), "test"))


class _MixesRows(BertModel):
    """Every row sees the mean of all."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        output = super().forward(*arguments, **named)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(0, keepdim=True)
        return output


def test_encoder_that_mixes_rows_is_refused_whatever_it_is_padded_to(folder: Path) -> None:
    model = _MixesRows(BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    config = parse_config(family_tree(folder, folder / "bert"), "test")
    with pytest.raises(
        UserError, match=r"^encoder\.name: the vector of a row changes in a bert with the rows beside it"
    ):
        check_encoder(Encoder(model, "mean", padding=Padding("max_length", 32)), config)


def test_looking_at_an_encoder_leaves_its_mode(folder: Path) -> None:
    config = parse_config(family_tree(folder, folder / "bert"), "test")
    encoder = load_encoder(config.encoder, 32)
    before = [module.training for module in encoder.modules()]
    check_encoder(encoder, config)
    assert [module.training for module in encoder.modules()] == before


LORA = ("DeBERTa", "DistilBERT", "GPT-2", "Llama", "ModernBERT", "MPNet", "T5 encoder", "XLM")


@pytest.mark.parametrize("name", LORA)
def test_low_rank_updates_find_queries_and_values_and_merge(name: str, folder: Path, tmp_path: Path) -> None:
    encoder = save_family(FAMILIES[name], folder, f"{name} lora")
    tree = family_tree(folder, encoder, adapter={"name": "lora", "rank": 2})
    trainer, start = train(parse_config(tree, name))
    trained = trainer._trained("finished")
    shared = [n for n in start if n.startswith("encoder.")]
    assert {n.rpartition(".lora_")[1] for n in shared} == {".lora_"}
    assert all(not torch.equal(trained.weights[n], start[n]) for n in shared if ".lora_B." in n)
    merged, loading = auto_class(trainer.model.encoder.model.config).from_pretrained(
        trained.export(tmp_path / "export"), output_loading_info=True
    )
    assert {key: value for key, value in loading.items() if value} == {}
    before = auto_class(merged.config).from_pretrained(encoder).state_dict()
    targets = lora_targets(merged)
    moved = {n for n, value in merged.state_dict().items() if not torch.equal(value, before[n])}
    assert moved
    assert all(n.removesuffix(".weight").endswith(targets) for n in moved)
    again = multitask.load(tmp_path / "export", "cpu")
    assert abs(again.embed([TEXT]) - trained.predictor.embed([TEXT])).max() < 1e-5


@pytest.mark.parametrize("name", ["FNet", "SqueezeBERT", "XLNet"])
def test_families_without_known_queries_and_values_are_told_what_there_is(name: str, folder: Path) -> None:
    family = FAMILIES[name]
    tree = family_tree(folder, save_family(family, folder, f"{name} lora"), **family.needs, adapter={"name": "lora"})
    with pytest.raises(UserError, match=r"^encoder\.adapter") as error:
        build_model(parse_config(tree, name))
    assert ("have none" if name == "SqueezeBERT" else "names: ") in str(error.value)


# Of two layers each: parts of one in several lists, lists in a list, a list in each layer that is as long or longer.
LAYERS: dict[str, dict[str, int]] = {
    "XLM": {
        "layer_norm_emb.weight": 0,
        "attentions.0.q_lin.weight": 1,
        "layer_norm2.0.bias": 1,
        "ffns.1.lin1.weight": 2,
    },
    "Funnel": {
        "embeddings.layer_norm.weight": 0,
        "encoder.blocks.0.0.ffn.linear_1.weight": 1,
        "encoder.blocks.1.0.ffn.linear_1.weight": 2,
        "decoder.layers.0.ffn.linear_1.weight": 3,
    },
    "T5 encoder": {
        "shared.weight": 0,
        "encoder.block.0.layer.1.DenseReluDense.wi.weight": 1,
        "encoder.block.1.layer.0.SelfAttention.q.weight": 2,
        "encoder.final_layer_norm.weight": 3,
    },
    "MobileBERT": {"encoder.layer.0.ffn.2.intermediate.dense.bias": 1, "encoder.layer.1.ffn.0.output.dense.weight": 2},
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_unusual_builds_are_numbered(name: str) -> None:
    model = FAMILIES[name].build()
    assert len(encoder_layers(model)) == 2
    numbers = layer_numbers(model)
    assert {parameter: numbers[parameter] for parameter in LAYERS[name]} == LAYERS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_family_is_refused_in_one_line(name: str, folder: Path) -> None:
    tree = family_tree(folder, save_family(REFUSED[name][0], folder, name))
    with pytest.raises(UserError, match=r"^encoder\.name: ") as error:
        build_model(parse_config(tree, name))
    assert len(str(error.value).splitlines()) == 1
    assert refused_row(name) in PAGE.read_text(encoding="utf-8").splitlines()


def test_page_has_no_row_of_other_families() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `\w+` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows == [*FAMILIES, *REFUSED]
