"""What a run that trains has reached, for the sweep that it belongs to."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from idn.cli.trainings import run_training
from idn.sweeps.outcomes import Reached, plain

if TYPE_CHECKING:
    from idn.training.fit import Result

_WARM, _TIMED = 3, 15
"""Frames before the clock runs, and frames that are timed."""


def reached(verb: str, cfg: DictConfig) -> Reached | None:
    """Train what the config of a verb describes. Returns its metrics if it is a run of a sweep, else None.

    Raises OptionError for a metric that the run has not logged.
    """
    result = run_training(verb, cfg)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        _check_logged(cfg, result)
        return None
    values = plain(result.metrics | (_deployed(result.path, cfg.data.size) if verb == "train" else {}))
    return Reached(values, objectives(cfg, result._replace(metrics=values)))


def objectives(cfg: DictConfig, result: "Result") -> list[str]:
    """Keys of the metrics that a sweep compares. Raises OptionError for one that the run has not logged."""
    from idn.metrics.compared import usual_metric

    if cfg.metric is None:
        return [usual_metric(result.metrics)]
    keys = _keys(cfg)
    for key in keys:
        result.metric(key)
    return keys


def _check_logged(cfg: DictConfig, result: "Result") -> None:
    """Raise OptionError for a metric that a run outside a sweep has not logged, unless only sweeps measure it."""
    from idn.metrics.deployed import DEPLOYED_METRICS

    if cfg.metric is not None:
        for key in set(_keys(cfg)) - {metric.key for metric in DEPLOYED_METRICS}:
            result.metric(key)


def _keys(cfg: DictConfig) -> list[str]:
    return [str(key) for key in cfg.metric] if OmegaConf.is_list(cfg.metric) else [str(cfg.metric)]


def _deployed(path: Path, size: int) -> dict[str, float]:
    """Size and speed of a student, baked for one person, with frames of `size` px."""
    import torch

    from idn.students.count import conv_macs, parameters
    from idn.students.deployment import example
    from idn.students.student_file import load_student

    deployment = load_student(path).eval().deployment()
    network = deployment.plain(deployment.anybody())
    with torch.inference_mode():
        frame = deployment.timed(size)["torch rewritten"]()
        took = [_seconds(frame) for _ in range(_WARM + _TIMED)]
    return {
        "deployed/macs": conv_macs(network, example(1, 3, size, size)),
        "deployed/parameters": parameters(network),
        "deployed/milliseconds": 1000 * min(took[_WARM:]),  # what other work adds says nothing of the network
    }


def _seconds(frame: Callable[[], object]) -> float:
    began = time.perf_counter()
    frame()
    return time.perf_counter() - began
