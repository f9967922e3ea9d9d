"""Charts and tables of a record as W&B shows them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart


MATRIX_CHART = "wandb/confusion_matrix/v1"
MATRIX_FIELDS = ("Actual", "Predicted", "nPredictions")
CONFLICTS = "conflicts/cosines"
_COSINE = "combination/cosine/"


def tables_as_panels(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The last evaluation's tables: `confusion/<task>` as charts, the others as they are."""
    return {
        key: confusion_chart(key, table) if key.startswith("confusion/") else error_table(table)
        for key, table in tables.items()
    }


def cosines_of(metrics: dict[str, Any]) -> dict[str, float]:
    """The cosines that a record holds, by pairs `a-b` of tasks."""
    return {key.removeprefix(_COSINE): value for key, value in metrics.items() if key.startswith(_COSINE)}


def conflict_chart(cosines: dict[str, float]) -> "CustomChart":
    """A heat map of the cosines between the gradients of tasks, by pairs `a-b`: below 0 they conflict.

    W&B's confusion matrix is its only chart of a matrix.
    """
    cells: list[list[Any]] = []
    for pair, cosine in cosines.items():
        first, second = pair.split("-", 1)
        cells += [[first, second, cosine], [second, first, cosine]]
    names = sorted({cell[0] for cell in cells})
    return _matrix_chart("cosine between the tasks' gradients", cells + [[name, name, 1.0] for name in names])


def confusion_chart(title: str, table: dict[str, Any]) -> "CustomChart":
    """W&B's confusion matrix chart from counts; its own function wants every row of the data set.

    `table` holds `labels` (C names) and `matrix` (C rows of C counts: row = true label, column = predicted one).
    """
    labels = [str(label) for label in table["labels"]]
    cells = [
        [actual, predicted, count]
        for actual, row in zip(labels, table["matrix"], strict=True)
        for predicted, count in zip(labels, row, strict=True)
    ]
    return _matrix_chart(title, cells)


def _matrix_chart(title: str, cells: list[list[Any]]) -> "CustomChart":
    """Cells: name of the row, name of the column, value."""
    import wandb

    return wandb.plot_table(
        data_table=wandb.Table(columns=list(MATRIX_FIELDS), data=cells),
        vega_spec_name=MATRIX_CHART,
        fields={name: name for name in MATRIX_FIELDS},
        string_fields={"title": title},
    )


def error_table(table: dict[str, Any]) -> "wandb.Table":
    """A W&B table of `columns` and `rows`."""
    import wandb

    return wandb.Table(columns=list(table["columns"]), data=table["rows"], allow_mixed_types=True)
