"""The generator: its size, its published names, what it answers, and what learns."""

import pytest
import torch
import torch.nn.functional as F

from idn.errors import OptionError, UnfitTensors, UserError
from idn.files.tensors import read_metadata
from idn.students.count import parameters
from idn.students.mobilefsgan.layers import DecoderBlock
from idn.students.mobilefsgan.published import holds, import_generator, import_student
from idn.students.mobilefsgan.student import Student
from idn.students.student_file import load_student, read_student_file
from idn.types import EncoderDescription, IdentityFeatures
from tests.raising import raises
from tests.students.mobilefsgan.published_network import PublishedGenerator, published_weights


def identity(count: int, embedding: int) -> IdentityFeatures:
    numbers = torch.randn(count, embedding, generator=torch.Generator().manual_seed(1))
    return IdentityFeatures(F.normalize(numbers), torch.zeros(count, 0))


def targets(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def save(weights, path):
    """As a data-parallel training saves it."""
    torch.save({f"module.{name}": value for name, value in weights.items()}, path)
    return path


def test_the_published_size_names_and_shapes():
    student, published = Student(EncoderDescription(512, 512)), published_weights()
    assert parameters(student) == 2_517_781
    ours = {name: tuple(value.shape) for name, value in student.state_dict().items()}
    assert ours == {name: tuple(value.shape) for name, value in published.items()} and len(ours) == 365


def test_a_saved_generator_is_imported_and_answers_as_the_published_network(tmp_path):
    weights = published_weights()
    import_student(save(weights, tmp_path / "200_G.pth"), tmp_path / "student.safetensors")
    student, who, target = load_student(tmp_path / "student.safetensors").eval(), identity(1, 512), targets(1, 128)
    with torch.no_grad():
        out = student(target, who)
        expected = [(picture + 1) / 2 for picture in PublishedGenerator(weights)(target * 2 - 1, who.embedding)]
    for ours, theirs, size in zip((out.image, *out.scales), expected, (128, 64, 32), strict=True):
        assert ours.shape == (1, 3, size, size) and theirs.std() > 0.05
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    assert out.mask is None and out.generated is None


@pytest.mark.parametrize(("width", "embedding", "size"), [(8, 16, 64), (12, 128, 96)])
def test_other_widths_embeddings_and_sizes_answer_alike(tmp_path, width, embedding, size):
    weights = published_weights(width, embedding)
    student = import_generator(save(weights, tmp_path / "G.pth")).eval()
    assert student.config == {"width": width} and student.encoder.embedding_dim == embedding
    who, target = identity(2, embedding), targets(4, size)
    with torch.no_grad():
        out = student(target, who)
        expected = PublishedGenerator(weights)(target * 2 - 1, who.embedding.repeat_interleave(2, 0))
    for ours, theirs in zip((out.image, *out.scales), expected, strict=True):
        torch.testing.assert_close(ours, (theirs + 1) / 2, atol=1e-5, rtol=0)


def test_the_imported_file_says_what_the_generator_was_fed(tmp_path):
    path = save(published_weights(8, 16), tmp_path / "3_G.pth")
    assert holds(path)
    import_student(path, tmp_path / "student.safetensors")
    file, notes = read_student_file(tmp_path / "student.safetensors"), read_metadata(tmp_path / "student.safetensors")
    assert (file.architecture, file.template, file.size) == ("mobilefsgan", "mobilefsgan", 256)
    assert notes["origin"] == "3_G.pth" and len(notes["origin_sha256"]) == 64
    with raises(OptionError, argument="out"):
        import_student(path, tmp_path / "student.pt")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda w: w.pop("decoder.up256.conv.weight"), {"missing": ["decoder.up256.conv.weight"]}),
        (lambda w: w.update({"decoder.more": torch.zeros(1)}), {"extra": ["decoder.more"]}),
        (lambda w: w.update({"decoder.image64_output.conv.bias": torch.zeros(4)}), {"misshaped": None}),
        (lambda w: w.pop("identity_encoder.b8_down.fc_mean.weight"), {"missing": None}),
    ],
)
def test_other_tensors_are_refused_by_name(tmp_path, damage, found):
    weights = published_weights(8, 16)
    damage(weights)
    path = save(weights, tmp_path / "G.pth")
    with pytest.raises(UnfitTensors) as raised:
        import_generator(path)
    assert all(getattr(raised.value, field) for field in found)
    assert all(names is None or getattr(raised.value, field) == names for field, names in found.items())


def test_the_command_line_imports_either_student(idn_cli, tmp_path):
    save(published_weights(8, 16), tmp_path / "G.pth")
    status, out, err = idn_cli("import", "in=G.pth", "out=student.safetensors")
    assert status == 0 and "the generator of G.pth" in out, err


def test_every_parameter_learns_from_its_three_pictures():
    torch.manual_seed(0)
    student = Student(EncoderDescription(16, 8), width=8).train()
    out = student(targets(2, 64), identity(2, 16))
    sum((picture * torch.randn_like(picture)).sum() for picture in (out.image, *out.scales)).backward()
    silent = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    groups = student.parameter_groups()
    assert len(groups["modulation"]) == 9 * 4 and len(groups["attention"]) == 12 * 2
    assert sum(map(len, groups.values())) == len(list(student.parameters()))


def test_attention_starts_as_one_half_everywhere():
    student = Student(EncoderDescription(16, 8), width=4)
    for block in (module for module in student.decoder.children() if isinstance(module, DecoderBlock)):
        assert torch.equal(block.conv_attention(torch.randn(1, 4, 5, 5)), torch.full((1, 1, 5, 5), 0.5))


@pytest.mark.parametrize("shape", [(32, 32), (64, 80), (100, 128)])
def test_sizes_that_cannot_be_halved_are_refused(shape):
    student = Student(EncoderDescription(16, 8), width=4)
    with raises(UserError, f"{shape[0]} x {shape[1]} px"):
        student(torch.rand(1, 3, *shape), identity(1, 16))


@pytest.mark.parametrize("width", [2, 300, 0.25])
def test_widths_that_no_such_network_has_are_refused(width):
    with raises(OptionError, argument="width", value=width):
        Student(EncoderDescription(16, 8), width=width)


def test_one_person_and_any_person_leave_as_networks_that_answer_alike():
    torch.manual_seed(0)
    student = Student(EncoderDescription(16, 8), width=8)
    for _ in range(3):
        student(targets(4, 64), identity(4, 16))
    student.eval()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.affine:
            module.weight.data.uniform_(0.5, 1.5), module.bias.data.normal_(0, 0.3)
    who, target = identity(1, 16), torch.rand(2, 3, 64, 96)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    deployment = student.deployment()
    plain, (swap,) = deployment.baked(who, 64).module, deployment.dynamic(64)
    with torch.no_grad():
        expected = student(target, who).image
        torch.testing.assert_close(plain(target)[0], expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(swap.module(target, who.embedding)[0], expected, atol=2e-6, rtol=0)
    assert list(swap.inputs) == ["target", "embedding"] and swap.outputs == ("image",)
    left = [name for name, m in plain.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.BatchNorm2d)]
    assert len(left) == 7 and all("down" in name for name in left), (
        "one before each halving, whose zeros it must not move"
    )
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
