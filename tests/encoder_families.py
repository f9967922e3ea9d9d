"""Tiny random encoders of many families, and what comes out when one is trained, exported and loaded back.

`python -m tests.encoder_families docs/encoders.md` writes the table of that page.
"""

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel

from multitask.config import RunConfig, parse_config
from multitask.data import prepare_tables
from multitask.errors import UserError
from multitask.model import tap_embedding
from multitask.model.lora import lora_targets
from multitask.trainer.trainer import Trainer
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks

STEPS = 3
_BEGIN, _END = "<!-- written by make reference: -->", "<!-- to here -->"

_HEADER = (
    "| family | class | attention | word rows | dropout by row | LoRA by default | needs |",
    "|---|---|---|---|---|---|---|",
)
_REFUSED_HEADER = ("| refused | class | why |", "|---|---|---|")


@dataclass(frozen=True)
class Family:
    """How to build a tiny encoder, what `encoder` must say for it besides its name, and a precision that it cannot run in."""

    build: Callable[[], PreTrainedModel]
    needs: dict[str, str]
    not_in: str


def _of(
    kind: str, *, needs: dict[str, str] | None = None, not_in: str = "", model: str = "Model", **shape: Any
) -> Family:
    """The model of class `kind` + `model` with its config `kind` + `Config` of this shape."""

    def build() -> PreTrainedModel:
        config = getattr(transformers, f"{kind}Config")(pad_token_id=0, **shape)
        made: PreTrainedModel = getattr(transformers, f"{kind}{model}")(config)
        return made

    return Family(build, needs or {}, not_in)


_WORDS = {"vocab_size": 200}
_SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# With the usual 0.02 a network this narrow passes hardly any signal.
_SHAPE = _WORDS | _SIZE | {"max_position_embeddings": 64, "initializer_range": 0.1}
_NO_TYPES = _SHAPE | {"type_vocab_size": 1}
_XLM = _WORDS | {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64, "pad_index": 0}
_T5 = _WORDS | {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
_FUNNEL = _WORDS | {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1]}
_GROUPED = _SHAPE | {"num_key_value_heads": 1}
_RELATIVE = _SHAPE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_FIXED, _BY_RANK = {"padding": "max_length"}, {"dropout_key": "rank"}

FAMILIES: dict[str, Family] = {
    "ALBERT": _of("Albert", **_SHAPE, embedding_size=8),
    "BERT": _of("Bert", **_SHAPE),
    "BigBird": _of("BigBird", **_SHAPE, attention_type="block_sparse", block_size=4, num_random_blocks=1),
    "BLOOM": _of("Bloom", **_WORDS, hidden_size=16, n_layer=2, n_head=2),
    "CamemBERT": _of("Camembert", **_NO_TYPES),
    "ConvBERT": _of("ConvBert", **_SHAPE, embedding_size=16, needs=_FIXED),
    "data2vec text": _of("Data2VecText", **_NO_TYPES),
    "DeBERTa": _of("Deberta", **_RELATIVE, not_in="autocast"),
    "DeBERTa v2, v3": _of("DebertaV2", **_RELATIVE, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True),
    "DistilBERT": _of("DistilBert", **_WORDS, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64),
    "ELECTRA": _of("Electra", **_SHAPE, embedding_size=8),
    "ERNIE": _of("Ernie", **_SHAPE),
    "ESM": _of("Esm", **_SHAPE, mask_token_id=4),
    "EuroBERT": _of("EuroBert", **_GROUPED),
    "FlauBERT": _of("Flaubert", **_XLM, layerdrop=0.5),
    "FNet": _of("FNet", **{n: v for n, v in _SHAPE.items() if n != "num_attention_heads"}, needs=_FIXED, not_in="bf16"),
    "Funnel": _of("Funnel", **_FUNNEL, num_decoder_layers=1, needs=_FIXED),
    "Gemma": _of("Gemma", **_GROUPED, head_dim=8),
    "Gemma 3 text": _of("Gemma3Text", **_GROUPED, head_dim=8),
    "GPT-2": _of("GPT2", **_WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=64, n_inner=32),
    "GPT-NeoX": _of("GPTNeoX", **_SHAPE),
    "GTE": _of("Gte", **_SHAPE),
    "I-BERT": _of("IBert", **_NO_TYPES),
    "Jina v3": _of("JinaEmbeddingsV3", **_SHAPE),
    "Llama": _of("Llama", **_GROUPED),
    "Longformer": _of("Longformer", **_SHAPE, attention_window=4),
    "LUKE": _of("Luke", **_SHAPE, entity_vocab_size=10, entity_emb_size=8),
    "Megatron-BERT": _of("MegatronBert", **_SHAPE),
    "Mistral": _of("Mistral", **_GROUPED),
    "MobileBERT": _of("MobileBert", **_SHAPE, embedding_size=8, intra_bottleneck_size=8),
    "ModernBERT": _of("ModernBert", **_SHAPE, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
    "MPNet": _of("MPNet", **_SHAPE),
    "mT5": _of("MT5", model="EncoderModel", **_T5),
    "NomicBERT": _of("NomicBert", **_SHAPE),
    "Nyströmformer": _of("Nystromformer", **_SHAPE, needs=_FIXED),
    "OPT": _of("OPT", **_SHAPE, ffn_dim=32, word_embed_proj_dim=16, needs=_BY_RANK),
    "Qwen2": _of("Qwen2", **_GROUPED),
    "Qwen3": _of("Qwen3", **_GROUPED, head_dim=8),
    "RemBERT": _of("RemBert", **_SHAPE, input_embedding_size=8),
    "RoBERTa": _of("Roberta", **_NO_TYPES),
    "RoBERTa-PreLayerNorm": _of("RobertaPreLayerNorm", **_NO_TYPES),
    "RoFormer": _of("RoFormer", **_SHAPE, embedding_size=16),
    "SqueezeBERT": _of("SqueezeBert", **_SHAPE, embedding_size=16),
    "T5 encoder": _of("T5", model="EncoderModel", **_T5),
    "UMT5 encoder": _of("UMT5", model="EncoderModel", **_T5),
    "X-MOD": _of("Xmod", **_NO_TYPES, default_language="en_XX", not_in="autocast"),
    "XLM": _of("XLM", **_XLM),
    "XLM-RoBERTa": _of("XLMRoberta", **_NO_TYPES),
    "XLM-RoBERTa-XL": _of("XLMRobertaXL", **_NO_TYPES),
    "XLNet": _of("XLNet", **_WORDS, d_model=16, n_layer=2, n_head=2, d_inner=32, needs=_BY_RANK),
}

# Family to how the line begins by which its encoder is refused, and why, for the table.
REFUSED: dict[str, tuple[Family, str]] = {
    "BART": (
        _of(
            "Bart",
            **_WORDS,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        ),
        "an encoder-decoder without a class for its encoder",
    ),
    "CANINE": (_of("Canine", **_SIZE), "has no embedding of tokens: it reads characters"),
    "Funnel base": (
        _of("Funnel", model="BaseModel", **_FUNNEL),
        "gives states of shorter sequences than it is given",
    ),
    "OPT 350M": (
        _of("OPT", **_SHAPE, ffn_dim=32, word_embed_proj_dim=8),
        "gives narrower states than its config's `hidden_size`",
    ),
}


def prepare_folder(folder: Path) -> None:
    """Three tiny tasks, and a tokenizer that all families share."""
    write_tiny_tasks(folder, rows=12, dev_rows=4)
    build_tiny_bert(folder / "bert")


def save_family(family: Family, folder: Path, name: str) -> Path:
    """Save a random encoder with the shared tokenizer below `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        family.build().save_pretrained(folder / name)
    AutoTokenizer.from_pretrained(folder / "bert").save_pretrained(folder / name)
    return folder / name


def family_tree(folder: Path, encoder: Path, **needs: Any) -> dict[str, Any]:
    """A config over `folder` that trains for `STEPS` steps, all three tasks in each, with PCGrad and dropout."""
    tree = tiny_config(folder, encoder={"name": str(encoder), "dropout": 0.1, **needs}, data={"batch_size": 4})
    return tree | {"phases": [{"sampling": {"name": "round_robin"}, "steps_per_epoch": STEPS}]}


def train_family(config: RunConfig) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """The plain trainer after its steps, and the weights that it started from."""
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    start = trainer.step.weights.copy()
    for _ in range(STEPS):
        assert trainer.train_step().applied
    return trainer, start


def table_row(name: str, trainer: Trainer) -> str:
    """What the table says of the family `name`, seen in the trainer's model."""
    model = trainer.model
    inner, needs = model.encoder.model, FAMILIES[name].needs
    batch = trainer.source.share(trainer.schedule.round(0)).batches["sst"][0].batch
    cells = (
        name,
        f"`{type(inner).__name__}`",
        {"sdpa": "SDPA", "eager": "its own"}[inner.config._attn_implementation],
        "yes" if tap_embedding(model, batch) else "no",
        "no" if needs.get("dropout_key") == "rank" else "yes",
        _targets(inner),
        ", ".join([*(f"`encoder.{key}={value}`" for key, value in needs.items()), *_other_precision(name)]),
    )
    return f"| {' | '.join(cells)} |"


def _other_precision(name: str) -> list[str]:
    return [f"no `precision={unable}`"] if (unable := FAMILIES[name].not_in) else []


def refused_row(name: str) -> str:
    """What the second table says of a family that is refused."""
    family, why = REFUSED[name]
    return f"| {name} | `{type(family.build()).__name__}` | {why} |"


def _targets(model: PreTrainedModel) -> str:
    try:
        return ", ".join(f"`{target}`" for target in lora_targets(model))
    except UserError as error:
        return "none" if str(error).startswith("encoder.adapter: ") else "say which"


def _tables(folder: Path) -> str:
    prepare_folder(folder)
    rows = []
    for name, family in FAMILIES.items():
        tree = family_tree(folder, save_family(family, folder, name), **family.needs)
        rows.append(table_row(name, train_family(parse_config(tree, name))[0]))
    return "\n".join([*_HEADER, *rows, "", *_REFUSED_HEADER, *map(refused_row, REFUSED)])


if __name__ == "__main__":
    page = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        tables = _tables(Path(temporary))
    text = re.sub(f"(?s){_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n\n{tables}\n\n{_END}", page.read_text("utf-8"))
    page.write_text(text, encoding="utf-8")
