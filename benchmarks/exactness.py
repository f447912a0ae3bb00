"""How exact the exported files of a student are, and how long the networks of its any-person product take.

    python benchmarks/exactness.py --student FILE [--formats onnx openvino] [--sizes 64 128 224] [--crops 16]

Writes the student in every format that is installed and every precision, baked with one identity and as the three
networks of the dynamic product, and prints Markdown tables: PSNR to PyTorch, in dB, of the image and of the mask, on
held-out drawn faces of every size; and the median milliseconds of encoder, injection network and swap at the largest
size, each in a process of its own. A file is kept whatever its PSNR. The student must be of the encoder that comes
with the package, or of the one that `idn train-encoder` wrote into --encoder.
"""

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from idn.data.loaders import SwapData, procedural_data
from idn.data.procedural import FaceRenderer
from idn.encoders.trained import TrainedMobileFaceNet
from idn.errors import UserError
from idn.export.bench.bench import measured
from idn.export.bench.worker import Request
from idn.export.card import fingerprint
from idn.export.contract import Format
from idn.export.formats import FORMATS, format_named
from idn.export.parity import Parity, compare_each, reference
from idn.export.products import Product, bake_product, dynamic_product
from idn.hardware import describe
from idn.students.student_file import load_student, read_student_file
from idn.types import Network

PRODUCTS = {"baked": "One person", "dynamic": "Any person"}
NETWORKS = ("encoder", "injection", "swap")
Row = tuple[str, str]
"""Format and precision."""


def installed(names: Sequence[str]) -> dict[str, Format]:
    """Those formats whose packages are here; a line about each of the others."""
    found = {}
    for name in names:
        try:
            found[name] = format_named(name)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def make_product(name: str, options: argparse.Namespace, size: int) -> Product:
    """A product of the student for targets of `size` px, with faces to compare on and to calibrate with."""
    file = read_student_file(options.student)
    template = file.template or "ffhq"
    student = load_student(options.student).eval()
    data = procedural_data(FaceRenderer(), size, template, 8, 0.0, math.ceil(options.crops / 8), 0, 0)
    known = TrainedMobileFaceNet(options.encoder, template)
    file.check_encoder(known)
    if name == "dynamic":
        encoder = TrainedMobileFaceNet(options.encoder, known.template)
        return dynamic_product(student, encoder, data, options.crops, options.calibration, True)
    return bake_product(student, known(_somebody(data)), data, options.crops, options.calibration, True)


def _somebody(data: SwapData) -> torch.Tensor:
    return data.val[0].source[:1]


def shown(parities: Sequence[Parity]) -> str:
    return " / ".join("equal" if math.isinf(p.psnr) and p.psnr > 0 else f"{p.psnr:.0f}" for p in parities)


def examine(
    product: Product, network: Network, form: Format, precision: str, path: Path, expected: Mapping[str, list]
) -> tuple[str, str]:
    """Write one network: its PSNRs and its MB, or why there are none, which is told."""
    print(f"{path.name} of {product.name}", file=sys.stderr)
    try:
        form.write(network, path, precision, product.calibration[network.name])
        megabytes = f"{fingerprint(path)[0] / 1e6:.2f}"
        if form.runtime() is None:
            return "not run here", megabytes
        found = compare_each(network, form.open(path, 1), product.examples[network.name], expected[network.name])
        return shown(found), megabytes
    except UserError as error:
        print(f"  {error}", file=sys.stderr)
        return "-", ""


def timed(form: Format, network: Network, path: Path, threads: int, seconds: float) -> str:
    """Median milliseconds of a file, where it can be run."""
    if form.runtime() is None or not path.exists():
        return "-"
    shapes = [list(value.shape) for value in network.inputs.values()]
    request = Request(path.name, threads, seconds, 0, file=str(path), format=form.name, shapes=shapes)
    try:
        return f"{measured(request).median_ms:.1f}"
    except UserError as error:
        print(f"  {error}", file=sys.stderr)
        return "-"


def table(title: str, columns: Sequence[str], rows: Mapping[Row, Sequence[str]]) -> None:
    print(f"\n{title}\n\n| format | precision | {' | '.join(columns)} |\n|---|---|{'---:|' * len(columns)}")
    for (form, precision), cells in rows.items():
        print(f"| `{form}` | {precision} | {' | '.join(cells)} |")


def study(name: str, formats: Mapping[str, Format], options: argparse.Namespace) -> None:
    """Both tables of a product."""
    psnr: dict[Row, list[str]] = defaultdict(list)
    times: dict[Row, list[str]] = defaultdict(list)
    columns = [f"{network}, {n} thread{'s' * (n > 1)}" for n in options.threads for network in NETWORKS]
    for size in options.sizes:
        product = make_product(name, options, size)
        last = size == options.sizes[-1]
        expected = {n.name: reference(n, product.examples[n.name]) for n in product.networks[True]}
        for form in formats.values():
            for precision in (p for p in form.precisions if not options.precisions or p in options.precisions):
                row = (form.name, precision)
                with tempfile.TemporaryDirectory() as folder:
                    networks = product.networks[form.runtime_kernels]
                    paths = {network.name: Path(folder, f"{network.name}{form.suffix}") for network in networks}
                    for network in networks if last else networks[-1:]:
                        found, megabytes = examine(product, network, form, precision, paths[network.name], expected)
                    psnr[row] += [found, megabytes] if last else [found]
                    if last and name == "dynamic":
                        for n in options.threads:
                            times[row] += [timed(form, net, paths[net.name], n, options.seconds) for net in networks]
    sides = [f"{size} px" for size in options.sizes]
    table(f"{PRODUCTS[name]}: PSNR in dB, image / mask", [*sides, "MB"], psnr)
    if times:
        table(f"{PRODUCTS[name]}: milliseconds at {options.sizes[-1]} px", columns, times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="of `idn train-encoder`; by default the one of the package")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "fp16", "bf16", "int8"])
    parser.add_argument("--products", nargs="+", default=list(PRODUCTS), choices=list(PRODUCTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--crops", type=int, default=16, help="held-out faces to compare on")
    parser.add_argument("--calibration", type=int, default=64, help="other faces, for int8")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of speed")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    formats = installed(options.formats)
    print(f"{describe()}; {options.crops} faces; {', '.join(f.runtime() or f.name for f in formats.values())}")
    for name in options.products:
        study(name, formats, options)


if __name__ == "__main__":
    main()
