"""What a head reads: the embeddings of a row's sequences as one vector."""

import torch
from torch import Tensor
from torch.nn import functional

from multitask.config.head import BiEncoder
from multitask.config.loss import AnglE
from multitask.config.task import TaskConfig


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Inside, what is computed on the device of `tensor` keeps its precision."""
    return torch.autocast(tensor.device.type, enabled=False)


class Features:
    """Embeddings (S, D) to features (B, F). `width` is D when given, and F afterwards."""

    is_one_number = False

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Embeddings (S, D), for pairs first those of all first texts u, then those of all second texts v, to (B, F)."""
        raise NotImplementedError


class SingleFeatures(Features):
    """One sequence per row (single texts and cross-encoders): (B, D) as it is."""

    def __call__(self, embeddings: Tensor) -> Tensor:
        return embeddings


class ConcatFeatures(Features):
    """Two sequences per row: (2B, D) to [u, v] of (B, 2D)."""

    def __init__(self, width: int) -> None:
        super().__init__(2 * width)

    def __call__(self, embeddings: Tensor) -> Tensor:
        return torch.cat(embeddings.chunk(2), dim=-1)


class ConcatDifferenceProductFeatures(Features):
    """Two sequences per row: (2B, D) to [u, v, |u − v|, u · v] of (B, 4D) (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__(4 * width)

    def __call__(self, embeddings: Tensor) -> Tensor:
        u, v = embeddings.chunk(2)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)


class CosineFeatures(Features):
    """Two sequences per row: (2B, D) to cos(u, v) of (B, 1), in fp32: bf16 has 128 numbers from .5 to 1."""

    is_one_number = True

    def __init__(self, width: int) -> None:
        super().__init__(1)

    def __call__(self, embeddings: Tensor) -> Tensor:
        with without_autocast(embeddings):
            u, v = embeddings.float().chunk(2)
            return functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1)


class PearsonFeatures(CosineFeatures):
    """Two sequences per row: (2B, D) to the correlation of u and v over their D elements, (B, 1).

    That is the cosine of u and v less their own means.
    """

    def __call__(self, embeddings: Tensor) -> Tensor:
        embeddings = embeddings.float()
        return super().__call__(embeddings - embeddings.mean(-1, keepdim=True))


class CosineAngleFeatures(CosineFeatures):
    """Two sequences per row: (2B, D) to cos(u, v) and the angle of u and v as complex vectors, (B, 2) (Li and Li 2024, AnglE).

    |Re z + Im z|, z = ⟨u, v⟩ / (|u| |v|), where u = a + bi of the halves a, b of an embedding, and v = c + di; an odd D is
    padded with a 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.width = 2

    def __call__(self, embeddings: Tensor) -> Tensor:
        cosines = super().__call__(embeddings)
        with without_autocast(embeddings):
            unit = functional.normalize(functional.pad(embeddings.float(), (0, embeddings.shape[-1] % 2)), dim=-1)
            (a, b), (c, d) = (own.chunk(2, dim=-1) for own in unit.chunk(2))
            return torch.cat([cosines, (cosines + (b * c - a * d).sum(-1, keepdim=True)).abs()], dim=-1)


FEATURES: dict[str, type[Features]] = {
    "concat": ConcatFeatures,
    "concat_difference_product": ConcatDifferenceProductFeatures,
    "cosine": CosineFeatures,
    "pearson": PearsonFeatures,
}


def build_features(task: TaskConfig, width: int) -> Features:
    """The features of `task` on an encoder of `width`."""
    if not isinstance(task.pair_encoding, BiEncoder):
        return SingleFeatures(width)
    if isinstance(task.loss, AnglE):
        return CosineAngleFeatures(width)
    return FEATURES[task.pair_encoding.features](width)
