"""Files of every signature, whole and damaged, through the adapter, compared with the same arithmetic in torch."""

import copy
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.errors import EncoderMismatch, FileError, MissingFile, OptionError, UserError
from idn.frozen import Frozen
from idn.images import resize
from idn.types import IdentityFeatures, SwapBatch
from teachers.onnx.embedding_map import MatrixMap
from teachers.onnx.teacher import OnnxTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

SIZE, DIM = 32, 8
HALF = (0.5, 0.5, 0.5)
KERNEL = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(1)) / 5
MIX = torch.randn(DIM, 3, generator=torch.Generator().manual_seed(2))


def save(path: Path, graph: str, ir: int = 9, **weights: np.ndarray) -> Path:
    """Write the graph in ONNX's own text form, with these weights as its last ones."""
    proto = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["": 17]> {graph}')
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(proto, path)
    return path


def swapper(
    path: Path,
    batch: int | str = "N",
    half: bool = False,
    image: int | None = None,
    mask: bool = False,
    size: int | str = SIZE,
    ir: int = 9,
    tail: str = "Tanh",
    names: tuple[str, str, str] = ("target", "source", "output"),
    **weights: np.ndarray,
) -> Path:
    """tanh(convolution of the target + linear map of the identity), or of the mean colour of a source of `image` px."""
    number, (target, source, output) = "float16" if half else "float", names
    face, row = f"{number}[{batch}, 3, {size}, {size}]", f"{number}[{batch}, {DIM}]"
    mix = {"kernel": KERNEL, "mix": MIX if image is None else MIX[:3]}
    return save(
        path,
        f"""swapper ({face} {target}, {row if image is None else f"{number}[{batch}, 3, {image}, {image}]"} {source})
        => ({face} {output} {f", {number}[{batch}, 1, {size}, {size}] mask" if mask else ""})
        <int64[2] axes = {{2, 3}}, int64[1] zero = {{0}}, int64[1] one = {{1}}>
        {{
            drawn = Conv<pads = [1, 1, 1, 1]>({target}, kernel)
            seen = {"Identity" if image is None else "GlobalAveragePool"}({source})
            row = Flatten(seen)
            colour = MatMul(row, mix)
            shift = Unsqueeze(colour, axes)
            sum = Add(drawn, shift)
            {output} = {tail}(sum)
            {f"red = Slice({target}, zero, one, one) mask = Sigmoid(red)" if mask else ""}
        }}""",
        ir,
        **{name: value.numpy().astype(np.float16 if half else np.float32) for name, value in mix.items()},
        **weights,
    )


def small(path: Path, nodes: str, target: str = "float[N, 3, 32, 32] target", output: str = "N, 3, 32, 32") -> Path:
    """A swapper of other operations, of target and source, with an output `output`."""
    shape = "int64[4] shape = {1, 3, 32, 32}, float zero = {0}"
    return save(path, f"small ({target}, float[N, {DIM}] source) => (float[{output}] output) <{shape}> {{{nodes}}}")


SHARED = SourceInput("shared_embedding", encoder="tiny", dim=DIM)
OWN = SourceInput("own_embedding", encoder="colours", dim=DIM)
IMAGE = SourceInput("image", FaceInput(16, "ffhq"))


def teach(path: Path | None, declared: dict | None = None, **options) -> OnnxTeacher:
    fields = {
        "name": "mine",
        "licence": "CC-BY-NC-4.0",
        "commercial": False,
        "target": FaceInput(SIZE, "ffhq", HALF, HALF),
        "source": SHARED,
        "output_mean": HALF,
        "output_std": HALF,
    }
    options = {"target_input": "target", "source_input": "source"} | options
    return OnnxTeacher(path, "ffhq", TeacherRecord(**(fields | (declared or {}))), **options)


def pairs(n: int) -> tuple[SwapBatch, IdentityFeatures]:
    g = torch.Generator().manual_seed(n)
    source, target = torch.rand(2, n, 3, SIZE, SIZE, generator=g)
    batch = SwapBatch(source, target, torch.ones(n, 1, SIZE, SIZE), torch.zeros(n, dtype=torch.bool))
    return batch, IdentityFeatures(F.normalize(torch.randn(n, DIM, generator=g)), torch.zeros(n, 4, 2, 2))


def wanted(batch: SwapBatch, given: Tensor) -> Tensor:
    """What `swapper` answers, in [0, 1]. given: embeddings, or the sources in its size."""
    row, mix = (given, MIX) if given.ndim == 2 else (given.mean((2, 3)), MIX[:3])
    return ((F.conv2d(2 * batch.target - 1, KERNEL, padding=1) + (row @ mix)[..., None, None]).tanh() + 1) / 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "swapper.onnx"


@pytest.mark.parametrize(
    ("made", "batchable", "atol"),
    [
        ({}, True, 1e-5),
        ({}, False, 1e-5),
        ({"batch": 1}, False, 1e-5),
        ({"size": "S", "ir": 4}, True, 1e-5),
        ({"half": True}, True, 3e-3),
    ],
)
def test_agrees_with_torch_and_every_face_alone(file, made, batchable, atol):
    teacher = teach(swapper(file, **made), declared={"batchable": batchable})
    assert not teacher.train().training
    for n in (1, 3):
        pair, source = pairs(n)
        answer = teacher(pair, source)
        torch.testing.assert_close(answer, wanted(pair, source.embedding), rtol=0, atol=atol)
        alone = [
            teacher(pair.take(slice(i, i + 1)), source._replace(embedding=row))
            for i, row in enumerate(source.embedding.split(1))
        ]
        torch.testing.assert_close(torch.cat(alone), answer, rtol=0, atol=atol / 10)
        assert not answer.requires_grad


def test_precision_of_the_trainer_does_not_reach_the_file(file):
    teacher = teach(swapper(file))
    pair, source = pairs(2)
    with torch.autocast("cpu", torch.bfloat16):
        answer = teacher(pair, source)
    torch.testing.assert_close(answer, wanted(pair, source.embedding), rtol=0, atol=1e-5)
    halves = [type(x)(*(f.bfloat16() if isinstance(f, Tensor) else f for f in x)) for x in (pair, source)]
    assert teacher(*halves).dtype == torch.bfloat16


def test_source_image_is_cut_for_the_file(file):
    teacher = teach(swapper(file, image=16), declared={"source": IMAGE})
    pair, source = pairs(2)
    torch.testing.assert_close(teacher(pair, source), wanted(pair, resize(pair.source, 16)), rtol=0, atol=1e-5)


def test_names_and_the_choice_of_the_output(file):
    swapper(file, mask=True, names=("face", "who", "picture"))
    named = {"target_input": "face", "source_input": "who"}
    pair, source = pairs(2)
    answers = [
        teach(file, **named)(pair, source),
        teach(file, declared={"returns_mask": True}, **named)(pair, source),
        teach(file, declared={"returns_mask": True}, image_output="picture", mask_output="mask", **named)(pair, source),
    ]
    for answer in answers:
        torch.testing.assert_close(answer, wanted(pair, source.embedding), rtol=0, atol=1e-5)


class Recogniser(Frozen):
    name, licence, embedding_dim, feature_channels, feature_size = "colours", "none", DIM, 3, 2

    def forward(self, images: Tensor) -> IdentityFeatures:
        return IdentityFeatures(F.normalize(images.mean((2, 3)) @ MIX.T), images[..., :2, :2])


def test_recogniser_of_its_own(file):
    teacher = teach(swapper(file), declared={"source": OWN}, encoder=Recogniser())
    pair, source = pairs(2)
    given = Recogniser()(pair.source).embedding
    torch.testing.assert_close(teacher(pair, source), wanted(pair, given), rtol=0, atol=1e-5)
    other = SourceInput("own_embedding", encoder="another", dim=DIM)
    with raises(EncoderMismatch, wanted="another", given=Recogniser.name):
        teach(file, declared={"source": other}, encoder=Recogniser())
    with raises(UserError, "shared_embedding"):
        teach(file, encoder=Recogniser())


def test_embedding_map_comes_first(file):
    matrix = torch.randn(5, DIM, generator=torch.Generator().manual_seed(3))
    swapper(file, emap=matrix.numpy())
    spec = SourceInput("shared_embedding", encoder="tiny", dim=5)
    teacher = teach(file, declared={"source": spec}, embedding_map=MatrixMap(file, "insightface"))
    pair, source = pairs(2)
    source = source._replace(embedding=F.normalize(source.embedding[:, :5]))
    given = F.normalize(source.embedding @ matrix)
    torch.testing.assert_close(teacher(pair, source), wanted(pair, given), rtol=0, atol=1e-5)
    with raises(OptionError, "5", argument="record.source.dim", value=8):
        teach(file, embedding_map=MatrixMap(file, "insightface"))
    with raises(OptionError, argument="record.source.dim", value=None):
        teach(file, declared={"source": IMAGE}, embedding_map=teacher.embedding_map)


def test_whole_adapter_on_drawn_faces(file):
    g = torch.Generator().manual_seed(1)
    renderer = FaceRenderer()
    drawn = renderer.render(renderer.sample_identity(4, g), renderer.sample_attributes(4, g), 64)
    pair = SwapBatch(drawn.image[:2], drawn.image[2:], drawn.face[2:], torch.zeros(2, dtype=torch.bool))
    seen = FaceInput(SIZE, "arcface_112_v1", HALF, HALF)
    teacher = teach(
        swapper(file, 1), declared={"source": OWN, "target": seen, "batchable": False}, encoder=Recogniser()
    )
    answer = teacher(pair, pairs(2)[1])
    assert answer.shape == pair.target.shape and answer.min() >= 0 and answer.max() <= 1
    torch.testing.assert_close(answer[..., :4, :4], pair.target[..., :4, :4])
    assert (answer - pair.target)[..., 24:40, 24:40].abs().mean() > 0.05


@pytest.mark.parametrize(
    ("made", "declared", "options", "named"),
    [
        ({"batch": 1}, {}, {}, "record.batchable=false"),
        ({"batch": 4}, {}, {}, "4 faces"),
        ({}, {"target": FaceInput(64)}, {}, "check record.target"),
        ({}, {"source": SourceInput("shared_embedding", None, "tiny", 9)}, {}, "(N, 9)"),
        ({}, {"source": IMAGE}, {}, "(N, 8), the record wants (N, 3, 16, 16)"),
        ({"image": 16}, {}, {}, "(N, 3, 16, 16), the record wants (N, 8)"),
        ({"image": 24}, {"source": IMAGE}, {}, "(N, 3, 24, 24)"),
        ({"names": ("a", "b", "c")}, {}, {}, "set target_input"),
        ({}, {}, {"image_output": "mask"}, "set image_output"),
        ({}, {"returns_mask": True}, {}, "set mask_output"),
        ({"mask": True}, {"returns_mask": True}, {"mask_output": "output"}, "(N, 1, 32, 32)"),
        ({"mask": True}, {}, {"image_output": "mask"}, "mask as (N, 1, 32, 32)"),
        ({"mask": True}, {}, {"mask_output": "mask"}, "record.returns_mask=true"),
        ({}, {"target": FaceInput()}, {}, "record.target.size=null"),
        ({}, {"source": SourceInput("nothing")}, {}, "source.kind=nothing"),
        ({}, {"file_bytes": 5}, {}, "5"),
        ({}, {"sha256": "0" * 64}, {}, "0" * 64),
        ({}, {}, {"providers": ["MoonExecutionProvider"]}, "providers=MoonExecutionProvider"),
        ({"tail": "Log"}, {}, {}, "not finite"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(file, made, declared, options, named):
    swapper(file, **made)
    with raises(UserError, named) as error:
        teach(file, declared=declared, **options)
    assert "\n" not in str(error.value)


def test_batches_that_the_file_only_claims_to_take(file):
    pooled = "mean = ReduceMean<axes = [0]>(target) output = Sub(target, mean) unused = Identity(source)"
    with raises(FileError, path=file):
        teach(small(file, pooled))
    with raises(FileError, "record.batchable=false", path=file):
        teach(small(file, "output = Reshape(target, shape)"))
    hidden = """most = ReduceMax<keepdims = 0>(source) nothing = Mul(most, zero) whole = Cast<to = 7>(nothing)
        late = Add(shape, whole) output = Reshape(target, late)"""
    with raises(FileError, "record.batchable=false", path=file):
        teach(small(file, hidden))
    assert teach(file, declared={"batchable": False})(*pairs(3)).shape == (3, 3, SIZE, SIZE)


def test_another_size_or_a_third_input_inside(file):
    doubled = "output = Concat<axis = 2>(target, target)"
    with raises(FileError, "32, 32", path=file):
        teach(small(file, doubled, output="N, 3, H, W"))
    with raises(FileError, "target_input", path=file):
        teach(small(file, "output = Add(target, more)", target="float[N, 3, 32, 32] target, float[1] more"))


def test_files_that_are_missing(file):
    with raises(OptionError, argument="weights"):
        teach(None)
    with raises(MissingFile, path=file):
        teach(file)


def test_copies_answer_alike_and_share_nothing(file):
    teacher = teach(swapper(file))
    pair, source = pairs(2)
    other = copy.deepcopy(teacher)
    assert torch.equal(other(pair, source), teacher(pair, source)) and teacher.state_dict() == {}


def test_a_student_learns_from_it(file, tmp_path, make_module, make_data):
    swapper(file, emap=np.eye(DIM, dtype=np.float32))
    module = make_module()
    module.supervisor.teacher = teach(file, embedding_map=MatrixMap(file, "insightface"))
    module.supervisor.teacher.attach(None, module.encoder)
    before = {name: p.detach().clone() for name, p in module.network.named_parameters()}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=3, enable_model_summary=False, limit_val_batches=0, **quiet)
    trainer.fit(module, make_data())
    assert [name for name, p in module.network.named_parameters() if torch.equal(before[name], p)] == []
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    saved = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert not [key for key in saved["state_dict"] if key.startswith("supervisor.")]
