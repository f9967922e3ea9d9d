"""Identities of spaces are what they were: a sweep begun earlier goes on only in the space of the same identity."""

from pathlib import Path

import pytest

from multitask.config import load_recipe
from tune_spaces import open_space

SHIPPED = {
    "default": "0f5fde819731525d6b2626fd4760cc86a38ca97c5b04ac31357a8bdbe2fae6cb",
    "learning_rate": "6e4c2577d9edaad3e8c8794071c43a9a5c9d193a680cc603e9aa0432cc38025b",
    "sampling": "ed2c8d5f3aeba2475a5504d6c4d0fa17f43a6ed089eb596981816249c6e21303",
    "combination": "b5e571d11a5b91c68e54a9138fa69d85fb3ebc45539e2c8be9de2959e2a2838a",
    "encodings": "068971dc2d05c4162cc38b78738828433802fcd2f8b978e824e5ed8f2dcc752d",
    "population": "417ca5cd4a44e2d62f6ad8ae3a13dc14e63e440d791de8d4531e4b63368b1365",
    "paper_a_hyperparameters": "8c87a5e92a7f73be7adb4fbe97bc28c5933f2fc3615dda1a82a882d36b59d2e9",
    "paper_b_optimizers": "f95260e7ae0f2422c7fc59ceb5b2071ad9a99576b61cc7873f4a902abdd5efd1",
}
FILE = """
parameters:
  optimizer.lr: {loguniform: [1e-5, 1e-1]}
  schedule.warmup: {uniform: [0, 0.5]}
  phases.0.epochs: {randint: [1, 3], when: {combination.name: pcgrad}}
  data.batch_size: {lograndint: [8, 64]}
  encoder.pooling: {choice: [cls, mean, attention]}
  training.clip_norm: {choice: [null, 1, 0.5]}
  sampling.name: {choice: [round_robin, annealed]}
  sampling.annealed.start: {uniform: [0.5, 1], when: {sampling.name: [annealed]}}
exclude:
  - {optimizer.lr: {above: 1e-3}}
  - {encoder.pooling: [cls, attention], optimizer.lr: {below: 5e-4, above: 1e-4}}
  - {sampling.annealed.start: {below: 1}, encoder.pooling: mean}
"""


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_space_keeps_its_identity(name: str) -> None:
    assert open_space(name, load_recipe("main")).describe()["identity"] == SHIPPED[name]


def test_a_space_in_yaml_keeps_its_identity(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(FILE)
    described = open_space(str(tmp_path / "own.yaml"), load_recipe("main")).describe()
    assert described["identity"] == "999e0b99b13c744e50fcedb14802ff2010622501bb358ecc08af27f06e6653d6"
