"""Procedural renderer of faces, and the endless data sets made with it, whose exact swaps are known."""

from idn.data.procedural.pairs import ProceduralIdentities, ProceduralSwaps, verification_pairs
from idn.data.procedural.renderer import FaceRender, FaceRenderer

__all__ = ["FaceRender", "FaceRenderer", "ProceduralIdentities", "ProceduralSwaps", "verification_pairs"]
