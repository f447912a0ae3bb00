"""The student protocol: base class of every network that is distilled, saved, loaded and exported."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar

from torch import Tensor, nn

import idn.students
from idn.students.deployment import Deployment
from idn.types import EncoderDescription, IdentityFeatures, SwapOutput

_ARCHITECTURES: dict[str, type["SwapStudent"]] = {}


class SwapStudent(nn.Module):
    """A network that puts the identity of a source into a target.

        class Small(SwapStudent, architecture="small"):
            def __init__(self, encoder: EncoderDescription, channels: int = 16) -> None:
                super().__init__(encoder, {"channels": channels})

    A class becomes known by its architecture name as soon as it is defined. That of a package `idn/students/NAME` is
    found in its module `student`; another distribution names its own under the entry point group `idn.students`.

    encoder: whose identities it reads.
    config: the other arguments of its constructor, JSON-able; `type(student)(encoder, **config)` builds it again.
    rates: learning rates of its parameter groups, relative to that of the optimizer; 1 where none is given, and
        everywhere for None. They are no part of the config: a finished student does not need them.
    """

    architecture: ClassVar[str]
    """What its files name."""
    stride: ClassVar[int] = 1
    """The sides of a target are multiples of this."""
    reads: ClassVar[tuple[str, ...]] = ("embedding", "features")
    """What it reads of the identity: the embedding, the features, or both."""

    def __init_subclass__(cls, architecture: str | None = None) -> None:
        """Register the class, unless it is only a base of others. Raises ValueError for a name that is taken."""
        super().__init_subclass__()
        if architecture is None:
            return
        known = _ARCHITECTURES.setdefault(architecture, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the architecture {architecture} is {known.__module__}.{known.__qualname__} already")
        cls.architecture = architecture
        _ARCHITECTURES[architecture] = cls

    def __init__(
        self, encoder: EncoderDescription, config: Mapping[str, Any], rates: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.config, self.rates = encoder, dict(config), dict(rates or {})

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        """Put one identity into each target.

        target: (N, 3, S, S) RGB in [0, 1], S a multiple of `stride`.
        identity: of M faces, by the encoder that the student was built for. M divides N, and each face is put into
            N / M targets in a row. A student that has no use for that calls `identity.for_targets(target)`.
        Returns the image (N, 3, S, S) in [0, 1], and a mask (N, 1, S, S) in [0, 1] if the student has one.
        """
        raise NotImplementedError

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, in groups that may want learning rates of their own, by name."""
        return {"network": list(self.parameters())}

    def deployment(self) -> Deployment:
        """How it leaves PyTorch: its own graphs, or those that serve every student."""
        return Deployment(self)


def student_class(architecture: str) -> type[SwapStudent] | None:
    """The class of that name; None if there is none. No file can name a module: only what is installed is imported."""
    if architecture not in _ARCHITECTURES:
        packages = {module.name for module in pkgutil.iter_modules(idn.students.__path__) if module.ispkg}
        if architecture in packages:
            import_module(f"idn.students.{architecture}.student")
        for entry in entry_points(group="idn.students", name=architecture):
            entry.load()
    return _ARCHITECTURES.get(architecture)


def known_architectures() -> list[str]:
    """Names of all that are installed or defined, sorted."""
    packages = {module.name for module in pkgutil.iter_modules(idn.students.__path__) if module.ispkg}
    return sorted({*packages, *entry_points(group="idn.students").names, *_ARCHITECTURES})
