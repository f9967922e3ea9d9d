"""Rows of the sample in other roles, for recipes whose own data may not be shipped, and sentences of Wikipedia."""

import random
from pathlib import Path

import pyarrow as pa

SEED = 11711
REVIEWS = {"train": 300, "dev": 60}
LONGEST_REVIEW = 24
TRIPLETS = 600
SENTENCES = 1000


def make_polarity(sst: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Long reviews, good (1) or bad (0): 1 to `LONGEST_REVIEW` sentences of one polarity in a row.

    `sst`: split to table. The dev reviews are of dev sentences alone.
    """
    schema = pa.schema([("id", pa.string()), ("sentence", pa.string()), ("sentiment", pa.int64())])
    tables = {}
    for split, number in REVIEWS.items():
        generator = random.Random(f"{SEED}-polarity-{split}")
        sentences = _by_polarity(sst[split])
        rows = [
            {
                "id": f"polarity-{split}-{index}",
                "sentence": _review(sentences[index % 2], generator),
                "sentiment": index % 2,
            }
            for index in range(number)
        ]
        tables[split] = pa.Table.from_pylist(rows, schema=schema)
    return tables


def make_triplets(quora: pa.Table) -> pa.Table:
    """A question, a duplicate of it, and a question like it that no pair calls its duplicate.

    Columns `sent0`, `sent1` and `hard_neg`, as SimCSE's triplets have.
    """
    generator = random.Random(f"{SEED}-triplets")
    pairs = quora.to_pylist()
    duplicates = [pair for pair in pairs if pair["is_duplicate"]]
    others = {pair["sentence2"]: _words(pair["sentence2"]) for pair in pairs if not pair["is_duplicate"]}
    rows = []
    for pair in generator.sample(duplicates, TRIPLETS):
        first, second = pair["sentence1"], pair["sentence2"]
        alike = _most_alike(
            _words(first), {text: words for text, words in others.items() if text not in (first, second)}
        )
        rows.append({"sent0": first, "sent1": second, "hard_neg": alike})
    return pa.Table.from_pylist(rows)


def draw_sentences(lines: list[str]) -> list[str]:
    """`SENTENCES` different ones of `lines`, at random."""
    distinct = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return random.Random(f"{SEED}-wiki").sample(distinct, SENTENCES)


def write_sentences(source: Path, target: Path) -> int:
    """Draw sentences from the file `source`, one a line, into `target`; give their number."""
    sentences = draw_sentences(source.read_text(encoding="utf-8").split("\n"))
    target.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return len(sentences)


def _by_polarity(sst: pa.Table) -> tuple[list[str], list[str]]:
    """Bad and good sentences; those in the middle are left out."""
    rows = sst.to_pylist()
    return [r["sentence"] for r in rows if r["sentiment"] < 2], [r["sentence"] for r in rows if r["sentiment"] > 2]


def _review(sentences: list[str], generator: random.Random) -> str:
    return "".join(generator.sample(sentences, generator.randint(1, LONGEST_REVIEW)))


def _most_alike(words: frozenset[str], candidates: dict[str, frozenset[str]]) -> str:
    """The text with the largest share of words in common."""
    return max(candidates, key=lambda text: len(words & candidates[text]) / len(words | candidates[text]))


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip("?.,!\"'()").lower() for word in text.split())
