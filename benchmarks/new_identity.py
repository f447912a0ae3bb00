"""How long a new identity takes, from a photograph's crop to an ONNX file of its own.

    python benchmarks/new_identity.py [--student FILE] [--size 224] [--rounds 20] [--threads 1 2]

Exports one identity by tracing, then makes files for others by replacing weights, and prints the median milliseconds
of every part as a Markdown table. Without --student the weights are random, which takes as long.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import torch

from idn.data.procedural import FaceRenderer, verification_pairs
from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.export.formats.onnx import OnnxFormat
from idn.export.replaced_weights import PreparedOnnx
from idn.hardware import describe, keep_large_buffers
from idn.students.mobilefaceswap.static_graph import baked, rewrite
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student


def new_identity(
    student: Student, encoder: TrainedMobileFaceNet, crop: torch.Tensor, prepared: PreparedOnnx, out: Path
) -> dict[str, float]:
    """Seconds of every part."""
    marks = [time.perf_counter()]
    who = encoder(crop)
    marks.append(time.perf_counter())
    student.inject(who.embedding, who.features)
    marks.append(time.perf_counter())
    network = rewrite(student.bake(who.embedding, who.features))
    marks.append(time.perf_counter())
    prepared.write(network, out)
    marks.append(time.perf_counter())
    spent = [b - a for a, b in pairwise(marks)]
    names = ("identity encoder", "injection network", "injection, baking and rewriting", "file with replaced weights")
    parts = dict(zip(names, spent, strict=True))
    return {**parts, "crop to file": spent[0] + spent[2] + spent[3]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    keep_large_buffers()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    encoder = TrainedMobileFaceNet(weights=None, crop_template="ffhq")
    student = (load_student(options.student) if options.student else Student(describe_encoder(encoder))).eval()
    crops = next(iter(verification_pairs(FaceRenderer(), options.size, options.rounds, 0, chunk=options.rounds)))[0]
    print(f"{describe()}; {options.size} px, median of {options.rounds}\n")
    print("| part | threads | ms |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, "swap.onnx")
        who = encoder(crops[:1])
        start = time.perf_counter()
        OnnxFormat().write(baked(student.bake(who.embedding, who.features), options.size), first, "fp32", [])
        traced = 1000 * (time.perf_counter() - start)
        print(f"| tracing a first file, once | {torch.get_num_threads()} | {traced:.0f} |")
        prepared = PreparedOnnx(first)
        for threads in options.threads:
            torch.set_num_threads(threads)
            found = defaultdict(list)
            for crop in crops.split(1):
                for name, seconds in new_identity(student, encoder, crop, prepared, Path(folder, "new.onnx")).items():
                    found[name].append(1000 * seconds)
            for name, values in found.items():
                print(f"| {name} | {threads} | {statistics.median(values):.1f} |")


if __name__ == "__main__":
    main()
