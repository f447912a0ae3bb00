"""Verbs that train: `idn train`, `idn train-teacher`, `idn train-encoder`, `idn train-scorer`.

Each returns what a sweep compares, and nothing outside a sweep.
"""

from omegaconf import DictConfig

from idn.cli.sweeps.reached import reached
from idn.sweeps.outcomes import Reached


def train(cfg: DictConfig) -> Reached | None:
    """Distil a student from a frozen teacher."""
    return reached("train", cfg)


def train_teacher(cfg: DictConfig) -> Reached | None:
    """Train a swapper that can become a teacher."""
    return reached("train-teacher", cfg)


def train_encoder(cfg: DictConfig) -> Reached | None:
    """Train an identity encoder."""
    return reached("train-encoder", cfg)


def train_scorer(cfg: DictConfig) -> Reached | None:
    """Train a quality scorer."""
    return reached("train-scorer", cfg)
