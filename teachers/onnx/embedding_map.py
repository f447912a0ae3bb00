"""From the embedding of a recogniser to the numbers that a swapper was trained with, where the two differ."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import FileError
from idn.files.onnx_graph import read_onnx
from idn.files.option_checks import require_one_of
from idn.frozen import Frozen
from teachers.onnx.program import OnnxProgram

Convention = Literal["insightface", "facefusion"]


class EmbeddingMap(Frozen, ABC):
    """A frozen map of embeddings. dim: numbers that it takes, out_dim: that it gives. Subclasses call `freeze()`."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dim, self.out_dim = dim, out_dim

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """(N, dim) embeddings -> (N, out_dim), each row by itself."""


class LinearMap(EmbeddingMap):
    """Multiplication with a matrix, as inswapper wants it.

    matrix: (dim, out_dim). convention: which program's numbers are wanted. Both multiply the L2-normalised embedding
    with the matrix. "insightface", for which inswapper was made, normalises the product again; "facefusion" does not,
    so that the direction is the same but the length, and with it the strength of the style, is not.
    Raises UserError for another convention.
    """

    def __init__(self, matrix: Tensor, convention: Convention) -> None:
        require_one_of("convention", convention, get_args(Convention))
        super().__init__(*matrix.shape)
        self.convention = convention
        self.register_buffer("matrix", matrix.float(), persistent=False)
        self.freeze()

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, dim) of any length -> (N, out_dim), of unit length for "insightface" only."""
        mapped = F.normalize(embedding) @ self.matrix.to(embedding.dtype)
        return F.normalize(mapped) if self.convention == "insightface" else mapped


class MatrixMap(LinearMap):
    """The one that lies in the file of the swapper itself, as its last weight: the "emap" of inswapper.

    weights: that ONNX file. convention: as for LinearMap.
    Raises UserError if the last weight of the file is no matrix, or the file cannot be read.
    """

    def __init__(self, weights: str | Path, convention: Convention) -> None:
        matrix = next(reversed(read_onnx(weights).weights.values()), torch.empty(0))
        if matrix.ndim != 2 or not matrix.is_floating_point():
            raise FileError(
                weights,
                f"ends with a weight of shape {tuple(matrix.shape)}, not with the matrix that maps "
                "embeddings: choose the file of an inswapper",
            )
        super().__init__(matrix, convention)


class CrossFaceMap(EmbeddingMap):
    """A network that turns embeddings of one recogniser into those of another: facefusion's CrossFace converters.

    weights: its ONNX file, one input and one output, (1, dim) to (1, out_dim); it normalises what it is given.
    unit_length: whether the result is L2-normalised. ONNX Runtime runs the file as it is, because CrossFace networks of
    several structures were published; and one embedding at a time, because they were exported so and some of them
    divide by the norm of the whole batch. That is cheap: five million multiplications each.
    Raises UserError if the file cannot be run or has other inputs and outputs.
    """

    def __init__(self, weights: str | Path, unit_length: bool) -> None:
        program = OnnxProgram(weights)
        ports = [*program.inputs.values(), *program.outputs.values()]
        if [len(program.inputs), len(program.outputs)] != [1, 1] or not all(_is_row(port.shape) for port in ports):
            listed = ", ".join(f"{port.name} {port.shape}" for port in ports)
            raise FileError(
                weights,
                f"has the inputs and outputs {listed}: a converter takes one embedding, (1, numbers), and gives one",
            )
        taken, given = ports
        super().__init__(taken.shape[1], given.shape[1])
        self.program, self.unit_length, self.weights_file = program, unit_length, Path(weights)
        self.taken, self.given = taken.name, given.name
        self.freeze()

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, dim) -> (N, out_dim), of unit length if that was asked for."""
        shape = (1, self.out_dim)
        rows = [self.program.run({self.taken: row}, self.given, shape) for row in embedding.split(1)]
        mapped = torch.cat(rows).to(embedding.dtype)
        return F.normalize(mapped) if self.unit_length else mapped


def _is_row(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 2 and shape[0] in (None, 1) and shape[1] is not None
