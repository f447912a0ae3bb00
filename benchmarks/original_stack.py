"""How fast exported students are beside the stack of their authors, PaddlePaddle, on this machine.

    python benchmarks/original_stack.py --paddle PADDLE_PYTHON [--files swap.onnx swap.tflite ...] [--threads 1 2]

PADDLE_PYTHON: a Python with paddlepaddle in it, such as `.paddle/bin/python` after `python -m venv .paddle` and
`.paddle/bin/pip install paddlepaddle`. --files: of `idn export`, for targets of --size; a .pt2 is a program that is
run when it is opened, so name your own. Every subject is a process of its own, given arrays and asked for arrays; all
are loaded first, then measured in turns, ROUNDS times. Paddle and PyTorch run a student of random weights, and the
answers of both are compared. Prints a Markdown table per number of threads: median and 95th percentile over all calls,
and the median over the rounds of how many times faster than the original each is, which is the faster of Paddle's two
engines in that round.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import Subject, serve

from idn.export.card import CARD, read_card
from idn.export.formats import format_named
from idn.hardware import describe, keep_large_buffers
from idn.students.mobilefaceswap.static import StaticIDN
from idn.students.mobilefaceswap.static_graph import rewrite
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription

SUFFIXES = {
    ".onnx": "onnx",
    ".xml": "openvino",
    ".pt2": "pt2",
    ".pte": "executorch",
    ".tflite": "litert",
    ".param": "ncnn",
}
"""Of a file -> name of its format, where no card beside it says."""
ENGINES = {"dynamic": "the original: Paddle, dynamic graph", "inference": "the original: Paddle, inference engine"}
EAGER = {"published": "PyTorch eager, published order", "rewritten": "PyTorch eager, rewritten, channels-last"}


def any_student() -> tuple[Student, StaticIDN]:
    """The published layout, every BatchNorm with numbers that matter; and one identity of it."""
    torch.manual_seed(0)
    student = Student(EncoderDescription(512, 512)).eval()
    for module in student.idn.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return student, student.bake(F.normalize(torch.randn(1, 512)), torch.rand(1, 512, 7, 7))


def published_names(student: Student, static: StaticIDN) -> dict[str, Tensor]:
    """The tensors that benchmarks/original_network.py reads, by its names."""
    tensors = {}
    for name, pairs in (("Encoder", static.encoder), ("Decoder", static.decoder)):
        for index, pair in enumerate(pairs):
            for layer, conv in enumerate(module for module in pair if isinstance(module, nn.Conv2d)):
                tensors[f"{name}.{index}.{layer}.weight"] = conv.weight
                tensors[f"{name}.{index}.{layer}.bias"] = torch.zeros(conv.out_channels)
    head, fusion = student.idn.head, student.idn.fusion
    modules = {1: head.reduce, 2: head.norm1, 4: head.conv1, 5: head.norm2, 7: head.conv2}
    named = {f"final.{index}": module for index, module in modules.items()}
    for index, stage in enumerate(fusion.stages):
        named |= {f"mask.{index}.{k}": m for k, m in enumerate((stage.depthwise, stage.pointwise, stage.norm), 1)}
    named["mask.5"] = fusion.last
    renamed = {"running_mean": "_mean", "running_var": "_variance"}
    for name, module in named.items():
        tensors |= {f"{name}.{renamed.get(key, key)}": value for key, value in module.state_dict().items()}
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def file_call(path: Path, size: int, threads: int) -> tuple[Callable[[], object], str]:
    """Run an exported file on random inputs; and what it runs in."""
    record = {"format": SUFFIXES.get(path.suffix)}
    shapes = [(1, 3, size, size)]
    if path.with_name(CARD).exists():
        card = read_card(path.parent)
        record = next(record for record in card["files"] if record["path"] == path.name)
        shapes = [given["shape"] for given in card["networks"][record["network"]]["inputs"]]
    if record["format"] is None:
        raise SystemExit(f"{path} has no card beside it and a suffix unlike {', '.join(SUFFIXES)}")
    form = format_named(record["format"])
    draw = np.random.default_rng(0)
    inputs = [draw.random(shape, dtype=np.float32) for shape in shapes]
    runner = form.open(path, threads)
    return lambda: runner(*inputs), form.runtime() or form.name


def eager_call(way: str, size: int) -> Callable[[], object]:
    """Run PyTorch, plainly or as well as it can without compilation."""
    network = any_student()[1]
    layout = torch.contiguous_format
    if way == "rewritten":
        keep_large_buffers()
        layout = torch.channels_last
        network = rewrite(network).to(memory_format=layout)
    array = torch.rand(1, 3, size, size).numpy()

    def call() -> list[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in network(torch.from_numpy(array).contiguous(memory_format=layout))]

    return call


def serve_one(subject: str, size: int, threads: int) -> None:
    torch.set_num_threads(threads)
    if subject in EAGER:
        serve(eager_call(subject, size), f"PyTorch {torch.__version__}")
    else:
        serve(*file_call(Path(subject), size, threads))


def compare(folder: Path, engine: str, expected: dict[str, Tensor]) -> str:
    found = np.load(folder / f"{engine}.npz")
    return f"{max(np.abs(found[name] - value.numpy()).max() for name, value in expected.items()):.1e}"


def measure(arguments: argparse.Namespace, threads: int, folder: Path) -> list[Subject]:
    """All subjects, with `arguments.rounds` rounds in each."""
    here = Path(__file__)
    network = str(here.with_name("original_network.py"))
    commands = {
        title: [arguments.paddle, network, engine, str(folder / "tensors.npz"), str(threads)]
        for engine, title in ENGINES.items()
    }
    own = [sys.executable, str(here), "--size", str(arguments.size), "--threads", str(threads), "--serve"]
    commands |= {title: [*own, way] for way, title in EAGER.items()}
    commands |= {str(path): [*own, str(path)] for path in arguments.files}
    subjects = []
    try:
        for name, command in commands.items():
            subjects.append(Subject(name, command, threads, folder / f"{len(subjects)}.log"))
        for _ in range(arguments.rounds):
            for subject in subjects:
                subject.measure(arguments.seconds)
    finally:
        for subject in subjects:
            subject.close()
    return subjects


def show(subjects: list[Subject], differences: dict[str, str]) -> None:
    original = [[statistics.median(times) for times in subject.rounds] for subject in subjects[: len(ENGINES)]]
    fastest = [min(medians) for medians in zip(*original, strict=True)]
    print("| network | runs in | median, ms | p95, ms | times as fast | largest difference |")
    print("|---|---|---:|---:|---:|---:|")
    for subject in subjects:
        times = [time for turn in subject.rounds for time in turn]
        ratios = [theirs / statistics.median(turn) for theirs, turn in zip(fastest, subject.rounds, strict=True)]
        cells = f"{statistics.median(times):.2f} | {np.percentile(times, 95):.2f} | {statistics.median(ratios):.2f}"
        print(f"| {subject.name} | {subject.about} | {cells} | {differences.get(subject.name, '')} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paddle", help="a Python with paddlepaddle")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="of `idn export`")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--size", type=int, default=224, help="of the target, in pixels")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="per subject and round")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve_one(arguments.serve, arguments.size, arguments.threads[0])
    if not arguments.paddle:
        parser.error("--paddle is needed")

    student, static = any_student()
    target = torch.rand(1, 3, arguments.size, arguments.size)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        tensors = {key: value.detach().numpy() for key, value in published_names(student, static).items()}
        np.savez(folder / "tensors.npz", target=target.numpy(), **tensors)
        expected = dict(zip(("image", "mask"), static(target), strict=True))
        for threads in arguments.threads:
            subjects = measure(arguments, threads, folder)
            differences = {title: compare(folder, engine, expected) for engine, title in ENGINES.items()}
            print(f"\n{describe()}; {threads} of its threads, {arguments.size} px, batch 1\n")
            show(subjects, differences)


if __name__ == "__main__":
    main()
