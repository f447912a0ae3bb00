"""The verbs: what each is for, and the function that does it, which is imported when it is needed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig


class Verb(NamedTuple):
    """One word after `idn`."""

    line: str
    """What it is for."""
    module: str
    """The module of `idn.cli.verbs` that holds its function."""
    function: str
    bare: str | None = None
    """The option whose values may be typed without its name."""

    def task(self) -> "Callable[[DictConfig], Any]":
        """The function that does it with a composed config."""
        return getattr(import_module(f"idn.cli.verbs.{self.module}"), self.function)


VERBS: dict[str, Verb] = {
    "train": Verb("teach a 0.5M-parameter student to swap faces, from a frozen teacher", "training", "train"),
    "align": Verb("find the faces in a folder of photographs and crop them for training", "data", "align"),
    "shards": Verb("pack crops into a few tar files, to train from there or from a store", "data", "shards"),
    "triplets": Verb(
        "make sources, targets and exact results to train on, of drawn people, photographs or edited pictures",
        "data",
        "triplets",
    ),
    "teachers": Verb(
        "list the teachers, what file each needs, and examine one before training", "teachers", "teachers"
    ),
    "cache": Verb("ask a slow teacher once and keep its answers, to train from them without it", "teachers", "cache"),
    "train-teacher": Verb(
        "train a swapper of your own, on photographs or procedural faces, to teach students",
        "training",
        "train_teacher",
    ),
    "train-scorer": Verb(
        "train a scorer of the teacher's pictures, which tells how far to trust each", "training", "train_scorer"
    ),
    "pipeline": Verb("run teacher, scorer, cache and student one after the other", "pipeline", "pipeline"),
    "train-encoder": Verb(
        "train an identity encoder on procedural faces or on a folder per identity", "training", "train_encoder"
    ),
    "export": Verb("write a student in formats that run elsewhere, and prove each file", "students", "export"),
    "bench": Verb("time every exported file, and PyTorch beside them", "students", "bench"),
    "faces": Verb("say where the faces of photographs are, with their landmarks", "faces", "faces", "photos"),
    "swap": Verb("put faces of photographs into photographs, folders of them, and videos", "swap", "swap"),
    "eval": Verb(
        "score students, teachers and results made elsewhere on the same pairs, with a report", "evaluation", "evaluate"
    ),
    "compare": Verb(
        "put reports side by side, and say which differences are larger than chance", "evaluation", "compare", "reports"
    ),
    "demo": Verb("open a local web page to try students on two pictures", "demo", "demo", "students"),
    "provenance": Verb(
        "read what pictures and videos say of where they come from: metadata, C2PA, invisible mark",
        "provenance",
        "provenance",
        "files",
    ),
    "rerun": Verb(
        "train once more what a run's folder holds, with the same options and seed", "runs", "rerun", "folder"
    ),
    "sweep-report": Verb(
        "rank the runs of a sweep, and show what mattered: one page, one table", "sweeps", "sweep_report", "folder"
    ),
    "install-converter": Verb(
        "set up a converter that needs other versions than the rest", "students", "install_converter"
    ),
    "import": Verb("read a published MobileFaceSwap or a saved MobileFSGAN", "students", "import_published"),
}
