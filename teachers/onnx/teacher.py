"""Any published swapper that was saved as an ONNX file: a config says how to talk to it."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from idn.errors import FileError, OptionError
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.checks.dry_run import check_sizes, dry_run
from teachers.onnx.embedding_map import EmbeddingMap
from teachers.onnx.program import OnnxProgram, Port
from teachers.record import TeacherRecord
from teachers.weight_files import verify_file


class OnnxTeacher(FrozenTeacher):
    """Runs an ONNX file with two inputs, the target and the identity, by ONNX Runtime; see OnnxProgram for where.

    weights: the file. crop_template: template of the crops given. record: how it sees faces and what it answers, see
    TeacherRecord; sizes must be given. The file decides in which precision it computes, whatever the trainer chose.
    target_input, source_input: names of the two inputs. image_output: name of the output with the swap, the first if
    None. mask_output: that of its mask, the second if None; looked for if record.returns_mask, and else not to be
    given. embedding_map: what stands between the embedding and the file. encoder: the recogniser that the teacher
    brings, for record.source.kind own_embedding. providers: see OnnxProgram.

    Checkpoints never hold the file. Copies of the teacher open it again, see OnnxProgram.

    At construction it runs once, on noise. Raises UserError for a missing, altered or unusable file, names that it
    does not have, shapes that differ from the record, a file for one face at a time that is declared batchable, an
    answer that is not finite, and a file that mixes the samples of a batch.
    """

    def __init__(
        self,
        weights: str | Path | None,
        crop_template: str,
        record: TeacherRecord,
        target_input: str,
        source_input: str,
        image_output: str | None = None,
        mask_output: str | None = None,
        embedding_map: EmbeddingMap | None = None,
        encoder: IdentityEncoder | None = None,
        providers: list[str] | None = None,
    ) -> None:
        if weights is None:
            raise OptionError(
                "weights", None, f"must be the ONNX file of {record.name}: `idn teachers` says what it is called"
            )
        _check_record(record, embedding_map, mask_output)
        super().__init__(replace(record, full_precision=True), crop_template, encoder)
        self.weights_file = Path(weights)
        verify_file(Path(weights), record)
        self.embedding_map = embedding_map
        self.program = OnnxProgram(weights, providers)
        self.target_input, self.source_input = target_input, source_input
        if sorted((target_input, source_input)) != sorted(self.program.inputs):
            raise FileError(
                self.weights_file,
                f"has the inputs {', '.join(self.program.inputs)}, not {target_input} and {source_input}: "
                "set target_input and source_input",
            )
        self.image_output = self._output("image_output", image_output, 0)
        self._check_shapes()
        if record.returns_mask:
            mask = self._output("mask_output", mask_output, 1)
            self._check_port(self.program.outputs[mask], (1, *self._face), "mask_output")
        dry_run(self._run, self.record, self.weights_file, "its sizes")
        self.freeze()

    @property
    def _face(self) -> tuple[int, int]:
        return self.record.target.size, self.record.target.size

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, s, s), as the record wants it. Returns what the file answers, (N, 3, s, s)."""
        image = self.record.source.kind == "image"
        return self._run(target, self.source_crop(batch) if image else self.identity(batch, source))

    def _run(self, target: Tensor, given: Tensor) -> Tensor:
        """given: the cut source (N, 3, S, S), or its embedding (N, dim) before it is mapped."""
        if self.embedding_map is not None:
            given = self.embedding_map(given)
        feeds = {self.target_input: target, self.source_input: given}
        return self.program.run(feeds, self.image_output, tuple(target.shape))

    def _output(self, option: str, name: str | None, position: int) -> str:
        """The name of an output, checked; the one at a position where none is given."""
        names = list(self.program.outputs)
        if name is None and position < len(names):
            return names[position]
        if name not in names:
            raise FileError(
                self.weights_file,
                f"has the outputs {', '.join(names) or 'of no number type'}, "
                f"not {name or f'{position + 1} of them'}: set {option}, or record.returns_mask=false if it is "
                "the mask",
            )
        return name

    def _check_shapes(self) -> None:
        program, spec = self.program, self.record.source
        self._check_port(program.inputs[self.target_input], (3, *self._face), "record.target.size")
        self._check_port(program.outputs[self.image_output], (3, *self._face), "record.target.size and image_output")
        if spec.crop is not None:
            crop = (3, spec.crop.size, spec.crop.size)
            self._check_port(program.inputs[self.source_input], crop, "record.source")
            return
        dim = spec.dim if self.embedding_map is None else self.embedding_map.out_dim
        self._check_port(program.inputs[self.source_input], (dim,), "record.source and embedding_map")

    def _check_port(self, port: Port, wanted: tuple[int, ...], option: str) -> None:
        """Compare what the file says of one input or output with the record; what it leaves open fits everything."""
        if not port.shape:
            return
        count, *sizes = port.shape
        if len(sizes) != len(wanted) or any(s not in (None, w) for s, w in zip(sizes, wanted, strict=True)):
            raise FileError(
                self.weights_file,
                f"declares {port.name} as {_shown(port.shape)}, the record wants "
                f"{_shown((None, *wanted))}: check {option}",
            )
        if count == 1 and self.record.batchable:
            raise FileError(self.weights_file, f"takes one face at a time ({port.name}): set record.batchable=false")
        if count not in (None, 1):
            raise FileError(
                self.weights_file, f"takes exactly {count} faces at a time ({port.name}): export it for any number"
            )


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('N' if size is None else str(size) for size in shape)})"


def _check_record(record: TeacherRecord, embedding_map: EmbeddingMap | None, mask_output: str | None) -> None:
    """Refuse what no file can serve."""
    spec = record.source
    if spec.kind == "nothing":
        raise OptionError("record.source.kind", spec.kind, "is impossible here: choose an embedding or image")
    check_sizes(record)
    if mask_output is not None and not record.returns_mask:
        raise OptionError("mask_output", mask_output, "needs record.returns_mask=true: set that, or leave the mask out")
    if embedding_map is not None and embedding_map.dim != spec.dim:
        raise OptionError(
            "record.source.dim",
            spec.dim,
            f"must be {embedding_map.dim}, as the embedding map takes: choose the map that belongs to the recogniser, "
            "and none for an image",
        )
