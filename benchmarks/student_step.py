"""Time, memory and exactness of one training step of the student, for several ways to apply per-sample weights.

    python benchmarks/student_step.py --device cpu --sizes 128 224 --batch 16

A step is forward and backward of injection network and IDN with one identity per sample, or one for several in a row,
which is injected once and repeated exactly. Variants run in turn, round after round, so that a busy machine disturbs
all of them alike; the table gives medians. Memory: on a GPU the peak that PyTorch's allocator saw in a step, above what
lay there before; on a CPU the peak resident memory of a fresh process that runs two steps, above what it held before
them. Differences to the literal loop are those of two samples at 64 px.
"""

import argparse
import csv
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from idn.hardware import describe, keep_large_buffers
from idn.images import to_01, to_pm1
from idn.students.mobilefaceswap import dynamic
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.network import IDN
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription, SwapOutput

LAST = torch.channels_last


def up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)


def kernels_of(weights: DynamicWeights) -> list[Tensor]:
    """(N, C_out, C_in) pointwise kernels, written out per sample."""
    parts = zip(weights.pointwise, weights.scale, weights.demodulation, strict=True)
    return [w * s[:, None, :] * d[:, :, None] for w, s, d in parts]


def finish(idn: IDN, target: Tensor, deepest: Tensor, x: Tensor) -> SwapOutput:
    """Head and fusion module in the published order, on true (demodulated) maps."""
    head = idn.head
    x = relu(head.norm1(head.reduce(up(x))))
    x = relu(head.norm2(head.conv1(x)))
    generated = to_01(torch.tanh(head.conv2(x).to(target.dtype)))
    mask = torch.sigmoid(idn.fusion(deepest).to(target.dtype))
    return SwapOutput(mask * generated + (1 - mask) * target, mask)


def unet(pair: Callable[[Tensor, int], Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder and decoder; `pair(x, index)` applies one depthwise-pointwise pair."""
    x, maps = to_pm1(target), []
    for index in range(5):
        x = relu(pair(x, index))
        maps.append(x)
    deepest = maps.pop()
    for index in range(5, 9):
        x = relu(pair(up(x), index))
        x = torch.cat([x, maps.pop()], 1) if len(maps) > 1 else x
    return deepest, x


def stride_of(index: int) -> int:
    return 2 if index < 5 else 1


def loop(idn: IDN, target: Tensor, weights: DynamicWeights) -> SwapOutput:
    """One sample after the other, as the method reads."""
    per_pair = [layer.unbind(0) for layer in kernels_of(weights)]
    depthwise = [layer.unbind(0) for layer in weights.depthwise]
    bodies = []
    for n, one in enumerate(target.split(1)):

        def pair(x: Tensor, index: int, n: int = n) -> Tensor:
            kernel = depthwise[index][n]
            x = F.conv2d(x, kernel[:, None], None, stride_of(index), 1, 1, len(kernel))
            return F.conv2d(x, per_pair[index][n][:, :, None, None])

        bodies.append(unet(pair, one))
    deepest, x = (torch.cat(parts) for parts in zip(*bodies, strict=True))
    return finish(idn, target, deepest, x)


def grouped(idn: IDN, target: Tensor, weights: DynamicWeights) -> SwapOutput:
    """Grouped convolutions for both parts, as in StyleGAN2."""
    full = kernels_of(weights)

    def pair(x: Tensor, index: int) -> Tensor:
        x = dynamic._depthwise_grouped(x, weights.depthwise[index], stride_of(index))
        n, _, h, w = x.shape
        kernel = full[index].flatten(0, 1)[:, :, None, None]
        return F.conv2d(x.reshape(1, -1, h, w), kernel, groups=n).reshape(n, -1, h, w)

    return finish(idn, target, *unet(pair, target))


def activations(idn: IDN, target: Tensor, weights: DynamicWeights) -> SwapOutput:
    """Depthwise grouped; scale and demodulation multiply the maps around a shared pointwise kernel."""

    def pair(x: Tensor, index: int) -> Tensor:
        x = dynamic._depthwise_grouped(x, weights.depthwise[index], stride_of(index))
        x = dynamic.pointwise(x * weights.scale[index][:, :, None, None], weights.pointwise[index])
        return x * weights.demodulation[index][:, :, None, None]

    return finish(idn, target, *unet(pair, target))


def folded_as(depthwise: Callable[[Tensor, Tensor, int], Tensor], memory_format: torch.memory_format) -> Callable:
    """The default order of operations of the project, with another depthwise convolution and layout."""

    def folded(idn: IDN, target: Tensor, weights: DynamicWeights) -> SwapOutput:
        kernels = dynamic.fold(weights)

        def pair(x: Tensor, index: int) -> Tensor:
            x = depthwise(x.contiguous(memory_format=memory_format), kernels[index], stride_of(index))
            return dynamic.pointwise(x.contiguous(memory_format=memory_format), weights.pointwise[index])

        deepest, x = unet(pair, target)
        head = idn.head
        reduce = head.reduce.weight.flatten(1) * weights.demodulation[-1][:, None, :]
        x = dynamic.pointwise_per_identity(x, reduce, head.reduce.bias).contiguous(memory_format=memory_format)
        x = relu(head.norm1(up(x)))
        generated = to_01(torch.tanh(head.conv2(relu(head.norm2(head.conv1(x)))).to(target.dtype)))
        deepest = (deepest * weights.demodulation[4][:, :, None, None]).contiguous(memory_format=memory_format)
        mask = torch.sigmoid(idn.fusion(deepest).to(target.dtype))
        return SwapOutput(torch.lerp(target, generated, mask), mask)

    return folded


def default(idn: IDN, target: Tensor, weights: DynamicWeights) -> SwapOutput:
    return idn(target, weights)


class Variant(NamedTuple):
    title: str
    swap: Callable[[IDN, Tensor, DynamicWeights], SwapOutput]
    autocast: bool = False
    compiled: bool = False
    targets: int = 1


VARIANTS = {
    "loop": Variant("literal loop over samples", loop),
    "grouped": Variant("grouped depthwise and pointwise", grouped),
    "activations": Variant("grouped depthwise, activations modulated", activations),
    "folded": Variant("grouped depthwise, folded", folded_as(dynamic._depthwise_grouped, torch.contiguous_format)),
    "folded-last": Variant("the same, channels-last", folded_as(dynamic._depthwise_grouped, LAST)),
    "per-sample": Variant("folded, depthwise per sample, chan.-last", folded_as(dynamic._depthwise_per_identity, LAST)),
    "default": Variant("what the project does on this device", default),
    "bf16": Variant("the same, bfloat16 autocast", default, autocast=True),
    "compiled": Variant("the same, compiled", default, compiled=True),
    **{f"targets-{n}": Variant(f"what it does with {n} targets per identity", default, targets=n) for n in (2, 4, 8)},
}


class Step:
    """A student, a batch and one variant."""

    def __init__(self, name: str, size: int, batch: int, device: str, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.variant = VARIANTS[name]
        self.student = Student(EncoderDescription(512, 512))
        for module in self.student.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.3)
        self.student.to(device, dtype)
        draw = torch.Generator().manual_seed(1)
        people = batch // self.variant.targets
        shapes = [(batch, 3, size, size), (people, 512), (people, 512, 7, 7), (batch, 3, size, size)]
        images, emb, features, wanted = (torch.rand(s, generator=draw).to(device, dtype) for s in shapes)
        self.batch, self.wanted = (images, F.normalize(emb - 0.5), features - 0.5), wanted
        self.forward = torch.compile(self._forward) if self.variant.compiled else self._forward

    def _forward(self, target: Tensor, emb: Tensor, features: Tensor) -> SwapOutput:
        return self.variant.swap(self.student.idn, target, self.student.inject(emb, features))

    def run(self) -> SwapOutput:
        self.student.zero_grad(set_to_none=True)
        device = self.wanted.device.type
        with torch.autocast(device, torch.bfloat16) if self.variant.autocast else nullcontext():
            image, mask = self.forward(*self.batch)[:2]
        ((image - self.wanted).abs().mean() + (mask - 0.3).square().mean()).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return SwapOutput(image.detach(), mask.detach())


def differences(names: list[str], device: str, dtype: torch.dtype) -> dict[str, tuple[float, float]]:
    """Largest difference of an image or mask to the loop, and the relative L2 difference of all gradients."""
    found = {}
    for name in dict.fromkeys(["loop", *names]):
        step = Step(name, 64, 2, device, dtype)
        output = torch.cat([x.flatten() for x in step.run()[:2]]).double()
        gradient = torch.cat([p.grad.flatten() for p in step.student.parameters()]).double()
        found[name] = output, gradient
    image, slope = found["loop"]
    return {
        k: ((o - image).abs().max().item(), ((g - slope).norm() / slope.norm()).item()) for k, (o, g) in found.items()
    }


def resident(field: str) -> int:
    """Bytes of this process, now (VmRSS) or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def cpu_peak(name: str, size: int, batch: int, threads: int, answer: multiprocessing.SimpleQueue) -> None:
    """Runs in a process of its own: peak resident bytes of two steps, above those of the student and its batch."""
    torch.set_num_threads(threads)
    keep_large_buffers()
    step = Step(name, size, batch, "cpu")
    before = resident("VmRSS")
    for _ in range(2):
        step.run()
    answer.put(resident("VmHWM") - before)


def peak_memory(name: str, size: int, batch: int, device: str, threads: int) -> float:
    """MiB that a step needs at its peak, gradients included."""
    if device == "cuda":
        step = Step(name, size, batch, device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step.run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=cpu_peak, args=(name, size, batch, threads, answer))
    process.start()
    process.join()
    return answer.get() / 2**20


def rates(names: list[str], size: int, batch: int, device: str, repeats: int) -> dict[str, float]:
    """Images per second of each variant: median over rounds in which every variant runs once."""
    steps = {name: Step(name, size, batch, device) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for step in steps.values():
        for _ in range(2):
            step.run()
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step.run()
            seconds[name].append(time.perf_counter() - start)
    del steps
    gc.collect()
    return {name: batch / statistics.median(values) for name, values in seconds.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One training step of the student, several ways.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224], help="target sizes in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help="rows")
    parser.add_argument("--compile", action="store_true", help="also the compiled variant (minutes)")
    parser.add_argument("--csv", type=Path, help="also write the rows to this file")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> list[dict[str, str]]:
    names = [name for name in options.variants if name != "compiled" or options.compile]
    single = [name for name in names if VARIANTS[name].targets == 1]
    exact = {dtype: differences(single, options.device, dtype) for dtype in (torch.float64, torch.float32)}
    speed = {s: rates(names, s, options.batch, options.device, options.repeats) for s in options.sizes}
    rows = []
    for name in names:
        row = {"variant": VARIANTS[name].title}
        for size, rate in speed.items():
            memory = peak_memory(name, size, options.batch, options.device, options.threads)
            row[f"{size} px images/s"] = f"{rate[name]:.1f}"
            row[f"{size} px x loop"] = f"{rate[name] / rate['loop']:.2f}" if "loop" in rate else "-"
            row[f"{size} px MiB"] = f"{memory:.0f}"
        for dtype, found in exact.items():
            known = "{:.0e}, {:.0e}".format(*found[name]) if name in found else "-"
            row[f"{str(dtype).removeprefix('torch.')} output, gradient"] = known
        worst = max(max(found.get(name, (0, 0))) for found in exact.values())
        compared = name in single and not VARIANTS[name].autocast
        row["equal to 1e-4"] = ("yes" if worst < 1e-4 else "NO") if compared else "-"
        rows.append(row)
    return rows


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    kept = options.device == "cpu" and keep_large_buffers()
    rows = measure(options)
    console = Console(width=None if Console().is_terminal else 200)
    console.print(f"{describe()}; batch {options.batch}, median of {options.repeats} rounds")
    if kept:
        console.print("The allocator keeps large buffers, as in training.")
    table = Table()
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "variant" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
