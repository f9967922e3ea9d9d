"""`concord predict`."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.terminal.json_output import print_json
from multitask.errors import UserError


def predict(
    model: Annotated[
        str, typer.Argument(help="An export, or a run folder (its best checkpoint).", metavar="EXPORT|RUN")
    ],
    task: Annotated[str, typer.Argument(help="Which of its tasks.", metavar="TASK")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts (two in a row for a task on pairs), a file of lines, or - .", metavar="[TEXT...|FILE|-]"
        ),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Predict this split of the task's own files.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write there instead of printing.")] = None,
    submission: Annotated[bool, typer.Option("--submission", help="CS224N submission layout; needs --split.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Predict texts, the lines of a file (pairs separated by a tab), or a split of the task's own files."""
    from cluster.api.models import open_model
    from cluster.api.predictions import predict_split, predict_texts, submission_lines

    if submission and split is None:
        raise UserError("--submission needs --split (test or dev), whose ids it writes")
    if bool(texts) == (split is not None):
        raise UserError("give texts, a file or '-', or else --split")
    with open_model(model) as predictor:
        if task not in predictor.tasks:
            raise UserError(f"the model has no task {task!r}; tasks: {', '.join(predictor.tasks)}")
        if split is not None:
            found = predict_split(predictor, task, split)
        else:
            found = predict_texts(predictor, task, _rows(texts or [], predictor.config.tasks[task].is_pair))
        lines = submission_lines(predictor, found) if submission else _lines(found, json)
    if output is not None:
        _write(output, lines)
    elif json:
        print_json(found)
    else:
        print("\n".join(lines))


def _rows(texts: list[str], pair: bool) -> list[Any]:
    if len(texts) == 1 and (texts[0] == "-" or _is_file(texts[0])):
        return _from_lines(texts[0], pair)
    if not pair:
        return list(texts)
    if len(texts) % 2:
        raise UserError(f"this task is on pairs of texts: give an even number of them, got {len(texts)}")
    return [[first, second] for first, second in zip(texts[::2], texts[1::2], strict=True)]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        # Longer than a file's name can be: a text.
        return False


def _from_lines(source: str, pair: bool) -> list[Any]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not valid UTF-8: {error.reason} at byte {error.start}") from None
    rows: list[Any] = []
    # `splitlines` would cut at form feeds and U+2028, too.
    for number, line in enumerate(re.split("\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        if not line.strip():
            continue
        parts = line.split("\t")
        if pair and len(parts) != 2:
            raise UserError(f"{source}:{number}: a line of this task is two texts with a tab between, got {len(parts)}")
        rows.append(parts if pair else line)
    if not rows:
        raise UserError(f"{source} holds no text")
    return rows


def _write(output: Path, lines: list[str]) -> None:
    try:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror}") from None


def _lines(found: dict[str, Any], json: bool) -> list[str]:
    if json:
        import json as codec

        return [codec.dumps(found, ensure_ascii=False)]
    rows = found.get("ids") or ["\t".join(row) if isinstance(row, list) else row for row in found["texts"]]
    chances, names = found.get("probabilities"), found.get("labels")
    lines = []
    for number, (row, value) in enumerate(zip(rows, found["predictions"], strict=True)):
        if isinstance(value, list):
            told = names[number] if names else value
            sureness = [f" ({chances[number][k]:.0%})" if chances else "" for k in value]
            shown = ", ".join(f"{own}{sure}" for own, sure in zip(told, sureness, strict=True)) or "none"
            lines.append(f"{shown}\t{row}")
            continue
        shown = names[number] if names else f"{value:.3f}" if isinstance(value, float) else str(value)
        sure = f" ({chances[number][int(value)]:.0%})" if chances else ""
        lines.append(f"{shown}{sure}\t{row}")
    return lines
