"""The last evaluation's tables as W&B shows them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart


def confusion_chart(title: str, table: dict[str, Any]) -> "CustomChart":
    """W&B's confusion matrix chart from counts; its own function wants every row of the data set.

    `table` holds `labels` (C names) and `matrix` (C rows of C counts: row = true label, column = predicted one).
    """
    import wandb

    labels = [str(label) for label in table["labels"]]
    counts = [
        [actual, predicted, count]
        for actual, row in zip(labels, table["matrix"], strict=True)
        for predicted, count in zip(labels, row, strict=True)
    ]
    names = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        data_table=wandb.Table(columns=list(names), data=counts),
        vega_spec_name="wandb/confusion_matrix/v1",
        fields={name: name for name in names},
        string_fields={"title": title},
    )


def error_table(table: dict[str, Any]) -> "wandb.Table":
    """A W&B table of `columns` and `rows`."""
    import wandb

    return wandb.Table(columns=list(table["columns"]), data=table["rows"], allow_mixed_types=True)
