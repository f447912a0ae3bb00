"""A student becomes files, each proven, with a card that tells the truth about them."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from idn.data.loaders import SwapData, procedural_data
from idn.data.procedural import FaceRenderer
from idn.errors import ForeignFile, OptionError, UserError
from idn.export.contract import Arrays
from idn.export.export import Plan, export
from idn.export.products import Product, bake_product, dynamic_product
from idn.geometry.templates import template_points
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student, save_student
from idn.types import EncoderDescription, Network
from tests.conftest import TinyEncoder
from tests.raising import raises

FLOORS = {"fp32": 80.0, "bf16": 40.0, "int8": 30.0}


@dataclass
class Traced:
    """A stand-in for a format: a TorchScript trace, with an error of one's choice in its image."""

    error: float = 0.0
    runs: bool = True
    computes: Mapping[str, str] = field(default_factory=dict)
    name, suffix, layout, precisions, runtime_kernels = "traced", ".pt", "NCHW", ("fp32", "int8"), True
    own_process, runs_code = False, False

    def computed_in(self, per_frame: bool, precision: str) -> str:
        return self.computes.get(precision, precision)

    def write(self, network: Network, path: Path, precision: str, calibration: Sequence[Arrays]) -> None:
        assert precision != "int8" or len(calibration) == 3
        inputs = tuple(network.inputs.values())

        class Spoiled(torch.nn.Module):
            def forward(_, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
                first, *rest = network.module(*values)
                return first + (self.error if precision == "int8" else 0), *rest

        torch.jit.trace(Spoiled(), inputs, check_trace=False).save(str(path))

    def open(self, path: Path, threads: int) -> Callable[..., Arrays]:
        module = torch.jit.load(str(path))
        return lambda *inputs: tuple(v.numpy() for v in module(*map(torch.from_numpy, inputs)))

    def runtime(self) -> str | None:
        return "TorchScript" if self.runs else None


@dataclass
class Deadly(Traced):
    """A converter that takes its process down, half-way through a file."""

    own_process = True

    def write(self, network: Network, path: Path, precision: str, calibration: Sequence[Arrays]) -> None:
        path.with_name("half").touch()
        os.kill(os.getpid(), signal.SIGSEGV)


class FramedEncoder(TinyEncoder):
    template, input_size = "arcface_112_v2", 32


@pytest.fixture(scope="module")
def student_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    notes = {"teacher": "somebody", "teacher_licence": "CC-BY-NC-4.0", "teacher_commercial_use": "forbidden"}
    student = Student(EncoderDescription(8, 16, 7, "tiny"), 0.25)
    save_student(student, path, {**notes, "encoder": "tiny", "template": "ffhq", "size": "64"})
    return path


@pytest.fixture(scope="module")
def data() -> SwapData:
    return procedural_data(
        FaceRenderer(), size=32, template="ffhq", batch=2, same_ratio=0.0, val_batches=2, seed=0, workers=0
    )


@pytest.fixture(scope="module")
def product(student_file: Path, data: SwapData) -> Product:
    who = TinyEncoder()(torch.rand(1, 3, 32, 32))
    return bake_product(load_student(student_file).eval(), who, data, crops=3, calibration=3, blocks=True)


def run(student_file: Path, product: Product, data: SwapData, out: Path, form: Traced, *precisions: str):
    return export(student_file, product, data, Plan({"traced": form}, precisions or ["fp32"], FLOORS, out), "a machine")


def test_the_baked_product_is_written_proven_and_described(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    record, *others = run(student_file, product, data, tmp_path, Traced())
    assert not others and record.path == "swap.pt" and record.psnr is None and set(record.latency_ms) <= {"1", "2"}
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["product"] == "baked" and card["size"] == 32 and card["encoder"] is None
    assert card["template"]["name"] == "ffhq"
    assert np.allclose(card["template"]["points"], template_points("ffhq"), atol=1e-6)
    assert card["student"]["teacher_licence"] == "CC-BY-NC-4.0"
    assert card["student"]["teacher_commercial_use"] == "forbidden"
    assert card["networks"]["swap"]["inputs"] == [{"name": "target", "shape": [1, 3, 32, 32], "range": "RGB in [0, 1]"}]
    assert [value["shape"] for value in card["networks"]["swap"]["outputs"]] == [[1, 3, 32, 32], [1, 1, 32, 32]]
    digest = hashlib.sha256((tmp_path / "swap.pt").read_bytes()).hexdigest()
    assert card["files"][0]["sha256"] == digest
    text = (tmp_path / "card.md").read_text()
    assert "CC-BY-NC-4.0" in text and digest in text and "consent" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "card.md", "swap.pt"]


def test_the_dynamic_product_has_three_networks_that_make_one(
    student_file: Path, data: SwapData, tmp_path: Path
) -> None:
    student, encoder = load_student(student_file).eval(), FramedEncoder()
    product = dynamic_product(student, encoder, data, crops=2, calibration=0, blocks=True)
    records = run(student_file, product, data, tmp_path, Traced())
    assert [record.path for record in records] == ["encoder.pt", "injection.pt", "swap.pt"]
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["encoder"] == {
        "name": "tiny",
        "licence": "Apache-2.0",
        "size": 32,
        "template": card["encoder"]["template"],
    }
    assert card["encoder"]["template"]["name"] == "arcface_112_v2"
    crop, target = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    open_ = Traced().open
    seen = open_(tmp_path / "encoder.pt", 1)(crop.numpy())
    identity = open_(tmp_path / "injection.pt", 1)(*seen)
    image, mask = open_(tmp_path / "swap.pt", 1)(target.numpy(), *identity)
    known = encoder(crop)
    with torch.no_grad():
        expected = student(target, known)
    assert np.abs(image - expected.image.numpy()).max() < 1e-4
    assert np.abs(mask - expected.mask.numpy()).max() < 1e-4


def test_a_file_below_the_floor_is_deleted_and_the_others_stay(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    with raises(UserError, "swap.int8.pt", "20.0 dB", "floor.int8=30"):
        run(student_file, product, data, tmp_path, Traced(error=0.1), "fp32", "int8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "card.md", "swap.pt"]
    assert [record["precision"] for record in json.loads((tmp_path / "card.json").read_text())["files"]] == ["fp32"]


def test_a_converter_that_crashes_costs_its_own_files_alone(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    formats = {"deadly": Deadly(), "traced": Traced()}
    with raises(UserError, "format deadly", "SIGSEGV"):
        export(student_file, product, data, Plan(formats, ["fp32"], FLOORS, tmp_path), "a machine")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "card.md", "swap.pt"]
    assert [file["path"] for file in json.loads((tmp_path / "card.json").read_text())["files"]] == ["swap.pt"]


def test_a_file_that_was_good_survives_a_worse_attempt(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    run(student_file, product, data, tmp_path, Traced(error=0.01), "int8")
    before = (tmp_path / "swap.int8.pt").read_bytes()
    with raises(UserError, "swap.int8.pt", "20.0 dB"):
        run(student_file, product, data, tmp_path, Traced(error=0.1), "int8")
    assert (tmp_path / "swap.int8.pt").read_bytes() == before


def test_outputs_that_are_not_numbers_are_refused(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    with raises(UserError, "-inf dB"):
        run(student_file, product, data, tmp_path, Traced(error=float("nan")), "int8")


def test_a_second_export_joins_the_card(student_file: Path, product: Product, data: SwapData, tmp_path: Path) -> None:
    run(student_file, product, data, tmp_path, Traced(), "fp32")
    run(student_file, product, data, tmp_path, Traced(error=0.001), "int8")
    files = json.loads((tmp_path / "card.json").read_text())["files"]
    assert [record["path"] for record in files] == ["swap.int8.pt", "swap.pt"]
    assert files[0]["psnr"] == pytest.approx(60, abs=0.5)


def test_the_card_says_where_the_weights_alone_are_small(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    run(student_file, product, data, tmp_path, Traced(computes={"int8": "fp16"}), "fp32", "int8")
    files = json.loads((tmp_path / "card.json").read_text())["files"]
    assert [(file["precision"], file["computed_in"]) for file in files] == [("int8", "fp16"), ("fp32", "fp32")]
    text = (tmp_path / "card.md").read_text()
    assert (
        "| swap.int8.pt | int8, weights alone: computed in fp16 | NCHW |" in text
        and "| swap.pt | fp32 | NCHW |" in text
    )


def test_a_card_of_another_version_is_not_guessed_at(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    run(student_file, product, data, tmp_path, Traced())
    card = json.loads((tmp_path / "card.json").read_text())
    del card["files"][0]["computed_in"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    with raises(ForeignFile, path=tmp_path / "card.json"):
        run(student_file, product, data, tmp_path, Traced())


def test_another_person_does_not_go_into_the_same_folder(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    run(student_file, product, data, tmp_path, Traced())
    who = TinyEncoder()(torch.zeros(1, 3, 32, 32))
    other = bake_product(load_student(student_file).eval(), who, data, crops=1, calibration=0, blocks=True)
    with raises(UserError, f"out={tmp_path} ", "identity"):
        run(student_file, other, data, tmp_path, Traced())


def test_a_format_that_cannot_run_here_says_so(
    student_file: Path, product: Product, data: SwapData, tmp_path: Path
) -> None:
    record = run(student_file, product, data, tmp_path, Traced(runs=False))[0]
    assert record.runtime is None and record.psnr is None and record.latency_ms is None
    assert "not run here" in (tmp_path / "card.md").read_text()


def test_bad_input(student_file: Path, product: Product, data: SwapData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises(OptionError, argument="out", value=tmp_path / "file/out"):
        run(student_file, product, data, tmp_path / "file" / "out", Traced())
    with raises(OptionError, argument="precision", value="bf16"):
        run(student_file, product, data, tmp_path, Traced(), "bf16")
    with raises(OptionError, "fp32, bf16, int8", argument="precision", value="fp8"):
        run(student_file, product, data, tmp_path, Traced(), "fp8")
