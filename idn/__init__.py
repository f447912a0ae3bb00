"""Distillation of identity-aware dynamic networks: face swappers that run on a phone. The Python API in four names.

`load` opens a student to swap faces with. `train` trains one, as `idn train` does, and `build` only builds what that
would train. `Swapper` is what `load` returns. Everything else lives in the packages below, and is imported from there.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytorch_lightning as pl

    from idn.swap.swapper import Swapper
    from idn.training.fit import Result
    from idn.types import IdentityEncoder

__version__ = "0.1.0"
__all__ = ["Swapper", "__version__", "build", "load", "train"]


def load(
    file: "str | Path",
    encoder: "IdentityEncoder | None" = None,
    detector: "str | Path | None" = None,
    device: str = "cpu",
) -> "Swapper":
    """Open a student to swap faces with.

    file: of a student, such as `student.safetensors` of an `idn train` run.
    encoder: the recogniser that the student was trained with, built for its template; None finds the one of procedural
        faces, which comes with the package, by itself.
    detector: weights of YuNet (`yunet_final.pth`), which finds the faces on photographs; crops need none, and a
        student of drawn faces, which takes crops alone, leaves it unread.
    device: where to compute, such as "cuda".

        swapper = idn.load("student.safetensors")
        picture = swapper.swap("source_crop.png", "target_crop.png")   # a PIL image
        network = swapper.bake("source_crop.png")                      # a plain network of this one identity

    Raises UserError if the file is no student, and if it was trained with another encoder.
    """
    from idn.swap.swapper import load_swapper

    return load_swapper(file, encoder, detector, device)


def build(verb: str = "train", overrides: "Sequence[str]" = ()) -> "tuple[pl.LightningModule, pl.LightningDataModule]":
    """What a verb of the command line would train, and on what: its module and its data, exactly as it makes them.

    verb: "train", "train-teacher", "train-encoder" or "train-scorer".
    overrides: options as on the command line, such as ["data.size=64", "student.width=0.5"].

        module, data = idn.build("train", ["data.size=64"])
        pytorch_lightning.Trainer(max_steps=100).fit(module, data)

    Seeds the random generators with the option `seed`, as the verb does. Writes nothing, but for "train-scorer", which
    draws its pictures first. Raises UserError for options that make no sense.
    """
    from idn.cli import python_api

    return python_api.build(verb, overrides)


def train(overrides: "Sequence[str]" = (), verb: str = "train") -> "Result":
    """Train as the command line does, in a folder of its own, and return what came of it.

    overrides: options as on the command line, such as ["trainer.max_steps=200", "hydra.run.dir=run"].
    verb: "train", "train-teacher", "train-encoder" or "train-scorer".

        result = idn.train(["trainer.max_steps=200"])
        print(result.path, result.metrics["val/loss"])

    Raises UserError for options that make no sense.
    """
    from idn.cli import python_api

    return python_api.train(overrides, verb)


def __getattr__(name: str) -> Any:
    """The class `Swapper`, imported when it is asked for."""
    if name == "Swapper":
        from idn.swap.swapper import Swapper

        return Swapper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
