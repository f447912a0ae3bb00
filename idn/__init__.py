"""Distillation of identity-aware dynamic networks: face swappers that run on a phone. The Python API in two names.

`train` trains a student, as `idn train` does; `build` only builds what that would train. Everything else lives in the
packages below, and is imported from there.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytorch_lightning as pl

    from idn.training.fit import Result

__version__ = "0.1.0"
__all__ = ["__version__", "build", "train"]


def build(verb: str = "train", overrides: "Sequence[str]" = ()) -> "tuple[pl.LightningModule, pl.LightningDataModule]":
    """What a verb of the command line would train, and on what: its module and its data, exactly as it makes them.

    verb: "train", "train-teacher", "train-encoder" or "train-scorer".
    overrides: options as on the command line, such as ["data.size=64", "student.width=0.5"].

        module, data = idn.build("train", ["data.size=64"])
        pytorch_lightning.Trainer(max_steps=100).fit(module, data)

    Seeds the random generators with the option `seed`, as the verb does. Writes nothing, but for "train-scorer", which
    draws its pictures first. Raises UserError for options that make no sense.
    """
    from idn.cli import python_door

    return python_door.build(verb, overrides)


def train(overrides: "Sequence[str]" = (), verb: str = "train") -> "Result":
    """Train as the command line does, in a folder of its own, and return what came of it.

    overrides: options as on the command line, such as ["trainer.max_steps=200", "hydra.run.dir=run"].
    verb: "train", "train-teacher", "train-encoder" or "train-scorer".

        result = idn.train(["trainer.max_steps=200"])
        print(result.path, result.metrics["val/loss"])

    Raises UserError for options that make no sense.
    """
    from idn.cli import python_door

    return python_door.train(overrides, verb)
