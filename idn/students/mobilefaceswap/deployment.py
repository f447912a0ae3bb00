"""Deployment of the IDN: the graphs of one person and of any person, and what a change of person takes."""

from typing import TYPE_CHECKING

from idn.students.deployment import Deployment, Timed
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static import StaticIDN
from idn.students.mobilefaceswap.static_graph import baked
from idn.types import IdentityFeatures, Network

if TYPE_CHECKING:
    from idn.students.mobilefaceswap.student import Student


class IDNDeployment(Deployment):
    """Networks of a MobileFaceSwap student: "swap" of one person, or "injection" and "swap" of any person."""

    student: "Student"

    def plain(self, identity: IdentityFeatures) -> StaticIDN:
        """As Deployment: the published order of operations."""
        return self.student.bake(identity.embedding, identity.features)

    def baked(self, identity: IdentityFeatures, size: int, blocks: bool = True) -> Network:
        """As Deployment. blocks: see `rewrite` of static_graph."""
        return baked(self.plain(identity), size, blocks)._replace(recipe=self.recipe("baked", size, blocks))

    def dynamic(self, size: int, runtime_kernels: bool = True, blocks: bool = True) -> tuple[Network, ...]:
        """As Deployment. A network without runtime kernels has no recipe: it is for runtimes that keep their own."""
        networks = dynamic(self.student, size, runtime_kernels, blocks)
        recipe = self.recipe("dynamic", size, blocks) if runtime_kernels else None
        return tuple(network._replace(recipe=recipe) for network in networks)

    def timed(self, size: int) -> dict[str, Timed]:
        """As Deployment, and the prediction of the weights alone."""
        known = self.anybody()
        injection = {"inject identity": lambda: lambda: self.student.inject(known.embedding, known.features)}
        return super().timed(size) | injection
