"""What layers of an encoder are called."""


def layer_name(layer: int, number: int) -> str:
    """Of an encoder of `number` layers: `embeddings` for 0, what comes before them, `layer_01` …, and `pooling` for what comes after."""
    return {0: "embeddings", number + 1: "pooling"}.get(layer, f"layer_{layer:02}")


def layer_title(name: str) -> str:
    """That name in words: `layer_02` as `layer 2`."""
    return name.replace("_0", "_").replace("_", " ")
