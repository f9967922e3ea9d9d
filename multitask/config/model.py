"""The shared encoder, and what all heads share."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from multitask.config.base import Config

Attention = Literal["auto", "eager", "sdpa", "flash"]
Pooling = Literal["cls", "last", "pooler", "mean", "mean_layers", "max", "attention"]


class NoAdapter(Config):
    """The encoder as it is."""

    name: Literal["none"] = "none"


class LoRA(Config):
    """Low-rank updates of the encoder's linear layers, shared by all tasks; the encoder itself stays as it was (Hu et al. 2021).

    Merged into the encoder when a model is exported.
    """

    name: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, description="rank of each update")
    alpha: float = Field(default=16, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of what enters an update")
    targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="ends of the names of the linear layers that are adapted; those of queries and values if not given",
    )


class ProjectedAttention(Config):
    """Projected attention layers (Stickland and Murray 2019): small layers of each task's own beside the encoder's layers."""

    name: Literal["projected_attention"] = "projected_attention"
    width: int = Field(default=204, ge=1, description="width that hidden states are projected to")
    heads: int = Field(default=12, ge=1, description="attention heads; they divide the width")

    @field_validator("heads")
    @classmethod
    def _heads_divide(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width")
        if width is not None and width % heads:
            raise ValueError(f"must divide width={width}, got {heads}")
        return heads


AdapterConfig = Annotated[NoAdapter | LoRA | ProjectedAttention, Field(discriminator="name")]


class EncoderConfig(Config):
    """Any Hugging Face encoder.

    `name` is a folder, a hub name, or `package:NAME[/SUB]` for an encoder that an installed Python package ships.
    """

    name: str = Field(description="a folder, a hub name, or package:NAME[/SUB]")
    pooling: Pooling = Field(
        default="mean",
        description="token states to one embedding; last is for decoders, pooler the encoder's own, attention a learned query, mean_layers over all layers",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of the encoder's hidden states and attention")
    dropout_key: Literal["row", "rank"] = Field(
        default="row",
        description="what a mask depends on beside seed, task and step: row, the same on any number of workers; or rank, "
        "by the device's own kernels",
    )
    padding: Literal["longest", "max_length"] | Annotated[int, Field(ge=2)] = Field(
        default="longest",
        description="what a batch is padded to: its longest sequence; or the next multiple of a number, such as 8 for the matrix units of "
        "a GPU; or data.max_length, for an encoder whose vectors change with the padding beside them",
    )
    resize_embeddings: bool = Field(
        default=False,
        description="add rows to the word embedding for tokens of the tokenizer that it lacks, drawn around the mean of its rows",
    )
    token_types: bool = Field(
        default=True, description="tell a cross-encoder's two texts apart by token types, where the encoder has them"
    )
    adapter: AdapterConfig = Field(default=NoAdapter(), description="small layers trained in or beside the encoder")
    attention: Attention = Field(
        default="auto",
        description="how attention is computed: eager, the formula as it is written; sdpa, torch's fused kernels; flash, the package "
        "flash_attn, on GPUs in half precision; auto, sdpa where the class has it, else eager",
    )
    checkpointing: bool = Field(
        default=False,
        description="keep of each layer its input alone, and pass it again for its gradients: less memory, a third more time, the same "
        "gradient",
    )

    @field_validator("padding", mode="before")
    @classmethod
    def _name_or_multiple(cls, value: object) -> object:
        is_multiple = isinstance(value, int) and not isinstance(value, bool) and value >= 2
        if value in ("longest", "max_length") or is_multiple:
            return value
        raise ValueError(f"must be longest, max_length, or a number of 2 or more, got {value!r}")

    @model_validator(mode="after")
    def _layers_can_be_passed_again(self) -> "EncoderConfig":
        if self.checkpointing and isinstance(self.adapter, ProjectedAttention):
            raise ValueError(
                "checkpointing passes layers by themselves, without what projected_attention adds: leave one of them out"
            )
        return self


class HeadDefaults(Config):
    """What holds for the head of every task whose own `head` does not say otherwise."""

    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="of the features that a head reads; encoder.dropout if not given"
    )
