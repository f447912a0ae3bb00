"""Verbs that train: `idn train`, `idn train-teacher`, `idn train-encoder`, `idn train-scorer`."""

from omegaconf import DictConfig

from idn.cli.trainings import run_training


def train(cfg: DictConfig) -> float:
    """Distil a student from a frozen teacher. Returns the metric that sweeps optimise."""
    return run_training("train", cfg).metric(cfg.metric)


def train_teacher(cfg: DictConfig) -> float:
    """Train a swapper that can become a teacher. Returns the metric that sweeps optimise."""
    return run_training("train-teacher", cfg).metric(cfg.metric)


def train_encoder(cfg: DictConfig) -> float:
    """Train an identity encoder. Returns its verification accuracy."""
    return run_training("train-encoder", cfg).metric("val/accuracy")


def train_scorer(cfg: DictConfig) -> float:
    """Train a quality scorer. Returns its loss on held-out people."""
    return run_training("train-scorer", cfg).metric("val/loss")
