"""The model card of an export."""

from collections.abc import Mapping
from typing import Any

_CARD = """---
library_name: transformers
tags: [multi-task, concord]
---

# {name}

{description}

One encoder, fine-tuned for {count} tasks at once by concord (the package `concord-mtl`).

| task | kind | pairs | {columns} |
|---|---|---|{dashes}|
{rows}

Dev scores of the checkpoint after step {step}{mean}.

## Use

With its heads, for every task:

```python
import multitask

model = multitask.load("path/to/this/folder")
model.predict("{task}", {example})
```

The encoder alone, with `transformers` only:

```python
from transformers import {opener}, AutoTokenizer

encoder = {opener}.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

Sentence vectors are made by {pooling} pooling.{adapter} `concord.json` holds the whole config, the scores, and the hashes of data and weights.

## Training

Base encoder `{base}`, combination `{combination}`, learning rate {lr:g}, dropout {dropout:g}{head_dropout}, seed {seed}.

| data | sha256 |
|---|---|
{hashes}
"""

_ADAPTERS = {
    "none": "",
    "lora": " The low-rank updates (LoRA) that were trained are merged into the encoder.",
    "projected_attention": (
        " Each task's projected attention layers lie in `heads.safetensors`; the encoder alone is without them."
    ),
}


def model_card(description: Mapping[str, Any], opener: str) -> str:
    """Markdown with the front matter that model hubs read, from the values of `concord.json`.

    `opener`: the class of `transformers` that opens the encoder.
    """
    config, scores = description["config"], description["scores"]
    names = sorted({key.split("/")[2] for key in scores if key.count("/") == 2})
    rows = []
    for task, own in description["tasks"].items():
        values = [scores.get(f"dev/{task}/{name}") for name in names]
        cells = " | ".join("" if v is None else f"{v:.4f}" for v in values)
        encoding = (own["pair_encoding"] or {}).get("name", "single texts")
        rows.append(f"| {task} | {own['kind']['name']} | {encoding} | {cells} |")
    first, example = next(t for t in description["tasks"].items() if t[1]["kind"]["name"] != "contrastive")
    return _CARD.format(
        opener=opener,
        name=config["name"],
        description=config["description"],
        count=len(description["tasks"]),
        columns=" | ".join(names) or "score",
        dashes="|".join("---" for _ in names) or "---",
        rows="\n".join(rows),
        step=description["step"],
        mean=f", mean {scores['dev/mean']:.4f}" if "dev/mean" in scores else "",
        task=first,
        example='[("one text", "another")]' if example["pair"] else '["a text"]',
        pooling=config["encoder"]["pooling"],
        adapter=_ADAPTERS[config["encoder"]["adapter"]["name"]],
        base=config["encoder"]["name"],
        combination=config["combination"]["name"],
        lr=config["optimizer"]["lr"],
        dropout=config["encoder"]["dropout"],
        head_dropout="" if (own := config["head"]["dropout"]) is None else f" (heads {own:g})",
        seed=config["seed"],
        hashes="\n".join(f"| {name} | `{value}` |" for name, value in description["data_hashes"].items()),
    )
