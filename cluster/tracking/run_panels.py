"""Charts and tables of a record as W&B shows them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart


MATRIX_CHART = "wandb/confusion_matrix/v1"
MATRIX_FIELDS = ("Actual", "Predicted", "nPredictions")


def tables_as_panels(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The last evaluation's tables: `confusion/<task>` as charts, the others as they are."""
    return {
        key: confusion_chart(key, table) if key.startswith("confusion/") else error_table(table)
        for key, table in tables.items()
    }


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
    return matrix_chart(title, cells)


def matrix_chart(title: str, cells: list[list[Any]]) -> "CustomChart":
    """A heat map of cells: name of the row, name of the column, value."""
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
