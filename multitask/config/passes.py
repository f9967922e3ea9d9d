"""How the encoder's passes are computed: choices that cannot work together."""

from multitask.config.cluster import ClusterConfig
from multitask.config.model import EncoderConfig, ProjectedAttention
from multitask.config.training import Precision, TrainingConfig, ZeroConfig


def check_attention(
    encoder: EncoderConfig, training: TrainingConfig, precision: Precision, cluster: ClusterConfig
) -> None:
    """Flash attention computes in half precision on a GPU, and drops and adds up as it likes."""
    if encoder.attention != "flash":
        return
    if cluster.device == "cpu":
        raise ValueError("encoder.attention=flash needs a GPU, but cluster.device=cpu: use auto, sdpa or eager")
    if precision == "fp32":
        raise ValueError("encoder.attention=flash computes in half precision: set precision to bf16, autocast or fp16")
    if encoder.dropout and encoder.dropout_key == "row":
        raise ValueError(
            "encoder.attention=flash drops by its own kernel, not by the row: set encoder.dropout_key=rank or encoder.dropout=0"
        )
    if training.deterministic:
        raise ValueError(
            "training.deterministic: encoder.attention=flash adds its gradients up in no fixed order; use auto, sdpa or eager"
        )
    if training.compile:
        raise ValueError(
            "training.compile: encoder.attention=flash takes padding out inside of each layer, which cannot be compiled in one piece; "
            "use auto or sdpa"
        )


def check_compile(encoder: EncoderConfig, training: TrainingConfig, zero: ZeroConfig) -> None:
    """A layer is compiled as a whole, for weights that are there and with nothing beside it that changes from pass to pass."""
    if not training.compile:
        return
    if zero.stage == 3:
        raise ValueError(
            "training.compile: zero.stage=3 gathers and frees weights inside of each layer, which cannot be compiled; use zero.stage=2"
        )
    if isinstance(encoder.adapter, ProjectedAttention):
        raise ValueError(
            "training.compile: encoder.adapter.name=projected_attention adds to the inside of layers anew in each pass, which would be "
            "compiled anew each time: leave one of them out"
        )


def check_tf32(training: TrainingConfig, cluster: ClusterConfig) -> None:
    """TF32 is there on GPUs alone."""
    if training.tf32 and cluster.device == "cpu":
        raise ValueError("training.tf32 is about products on a GPU, but cluster.device=cpu: leave it out")
