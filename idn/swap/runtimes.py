"""Runtimes of a baked student: PyTorch, ONNX Runtime or OpenVINO, each compared with PyTorch before it is used."""

import importlib.util
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from idn.data.alignment.detector import YuNetDetector
from idn.data.alignment.every_face import CLOSE, Raw
from idn.errors import MissingExtra, OptionError, UserError
from idn.export.contract import Runner
from idn.export.formats import format_named
from idn.export.isolated import elsewhere, here
from idn.export.parity import compare, reference
from idn.export.suppress_output import quiet
from idn.export.torch_runtime import TorchRunner
from idn.students.protocol import SwapStudent
from idn.swap.models.model import Person
from idn.types import IdentityFeatures, Network, SwapOutput

_MODULES = {"openvino": ("openvino", "nncf"), "onnx": ("onnx", "onnxruntime", "onnxscript")}
"""Runtimes beside PyTorch, the fastest first as measured in docs/swap.md, and what each needs."""
RUNTIMES = ("auto", "torch", *_MODULES)
FLOOR = 60.0
"""Least PSNR to PyTorch in dB: no pixel that a byte shows differs by more than one."""


def _installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in _MODULES[name])


def chosen_runtime(name: str, device: torch.device) -> str:
    """The runtime that an option means.

    name: one of RUNTIMES; "auto" is the fastest that is installed, or PyTorch on other devices than the CPU.
    Raises OptionError for another name or device, MissingExtra for a runtime that is not installed.
    """
    if name not in RUNTIMES:
        raise OptionError("runtime", name, f"is unknown: choose one of {', '.join(RUNTIMES)}")
    if name == "auto":
        on_cpu = device.type == "cpu"
        return next((known for known in _MODULES if on_cpu and _installed(known)), "torch")
    if name != "torch" and device.type != "cpu":
        raise OptionError("runtime", name, f"runs on the CPU, and device is {device}: choose torch")
    if name != "torch" and not _installed(name):
        raise MissingExtra(f"runtime={name} needs", name)
    return name


def runtime_name(name: str, device: torch.device) -> str:
    """Name and version of a runtime for reports."""
    chosen = chosen_runtime(name, device)
    return f"PyTorch {torch.__version__.split('+')[0]}" if chosen == "torch" else format_named(chosen).runtime()


def baked_person(
    student: SwapStudent, who: IdentityFeatures, size: int, runtime: str, device: torch.device, threads: int
) -> Person:
    """The static network of one person in a runtime.

    student: in eval mode, on the CPU.
    who: one face, (1, ...).
    size: of the targets in pixels.
    runtime: one of RUNTIMES.
    threads: of one call, on the CPU.
    Raises UserError if the runtime computes something else than PyTorch.
    """
    known = IdentityFeatures(*(None if value is None else value.cpu() for value in who[:2]))
    network = student.deployment().baked(known, size)
    chosen = chosen_runtime(runtime, device)
    if chosen != "torch":
        return _OneByOne(compiled(network, chosen, threads))
    if device.type == "cpu":
        return _OneByOne(TorchRunner(network.module.to(memory_format=torch.channels_last), threads, True))
    return _OnDevice(network.module.to(device), device)


def compiled(network: Network, runtime: str, threads: int) -> Runner:
    """A network in ONNX Runtime or OpenVINO. Raises UserError if it answers otherwise than PyTorch there."""
    form = format_named(runtime)
    with tempfile.TemporaryDirectory(prefix="idn-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"{network.name}{form.suffix}")
        with elsewhere(f"runtime {runtime}") if form.own_process else nullcontext(here) as call, quiet():
            call(form.write, network, path, "fp32", ())
        runner = form.open(path, threads)
    examples = [tuple(value.numpy() for value in network.inputs.values())]
    found = compare(network, runner, examples, reference(network, examples))
    if not found.psnr >= FLOOR:
        raise UserError(
            f"runtime={runtime} answers otherwise than PyTorch (PSNR {found.psnr:.1f} dB): choose runtime=torch"
        )
    return runner


class _Raw(nn.Module):
    """A detector's network as it leaves PyTorch."""

    def __init__(self, detector: YuNetDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `YuNetDetector.raw`."""
        return self.detector.raw(images)


def compiled_close_ups(detector: YuNetDetector, runtime: str, device: torch.device, threads: int) -> Raw | None:
    """What a detector says of one close-up, computed in a runtime; None where that is PyTorch.

    runtime, threads: see `baked_person`. Raises UserError if the runtime computes something else than PyTorch.
    """
    chosen = chosen_runtime(runtime, device)
    if chosen == "torch":
        return None
    example = torch.rand(1, 3, CLOSE, CLOSE, generator=torch.Generator().manual_seed(0))
    network = Network("detector", _Raw(detector).eval(), {"images": example}, ("places", "classes", "overlaps"))
    runner = compiled(network, chosen, threads)
    return lambda images: tuple(torch.from_numpy(part) for part in runner(images.numpy()))


class _OneByOne:
    """A runner of one target per call as a `Person`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __call__(self, targets: Tensor) -> SwapOutput:
        """See `Person`."""
        found = [self._runner(target[None].numpy()) for target in targets]
        columns = [torch.cat([torch.from_numpy(part) for part in column]) for column in zip(*found, strict=True)]
        return SwapOutput(*columns)


class _OnDevice:
    """A network on another device, for many targets per call."""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self._module, self._device = module, device

    @torch.inference_mode()
    def __call__(self, targets: Tensor) -> SwapOutput:
        """See `Person`."""
        return SwapOutput(*(part.cpu() for part in self._module(targets.to(self._device))))
