"""AOTInductor: the network compiled to a shared library for the CPU of this machine."""

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch

from idn.errors import DamagedFile, UserError
from idn.export.contract import Arrays, Precision, Runner
from idn.export.suppress_output import quiet
from idn.export.torch_runtime import TorchRunner, converted
from idn.files.atomic import atomic_write
from idn.types import Network

OPTIONS = {
    "freezing": True,  # constants are laid out and packed for their operators at compile time
    "cpp.dynamic_threads": True,  # else the threads of the compiling process are written into the code
}
"""Of inductor."""


@dataclass(frozen=True)
class AOTInductorFormat:
    """Machine code for this kind of CPU and this version of PyTorch, which both have to be the same where it runs.

    Compiling takes half a minute and a C++ compiler: g++, on macOS clang++, or the one that the environment variable
    CXX names. Running needs none. Half precision is bf16 alone, fast on CPUs that have instructions for it and slow on
    others; for fp16 the compiler makes code that is slower everywhere.

    A file is a program: opening it runs it, so open your own only.
    """

    name: ClassVar[str] = "aotinductor"
    suffix: ClassVar[str] = ".aoti.pt2"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = True

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises UserError if there is no C++ compiler."""
        from torch._inductor import aoti_compile_and_package, config
        from torch._inductor.exc import InductorError, InvalidCxxCompiler
        from torch._inductor.utils import fresh_cache

        with atomic_write(path) as draft, tempfile.TemporaryDirectory() as cache, quiet(), torch.no_grad():
            module = converted(network, precision)
            program = torch.export.export(module, tuple(network.inputs.values()))
            try:
                with fresh_cache(dir=cache):
                    aoti_compile_and_package(program, package_path=str(draft), inductor_configs=dict(OPTIONS))
            except (InductorError, InvalidCxxCompiler) as error:
                if any(shutil.which(compiler) for compiler in config.cpp.cxx if compiler):
                    raise
                raise UserError(
                    "format aotinductor needs a C++ compiler: install g++, or name one in the environment variable CXX"
                ) from error

    def open(self, path: Path, threads: int) -> Runner:
        """As Format. Runs code of the file."""
        from torch._inductor import aoti_load_package

        damaged = DamagedFile(path, "is damaged or was not compiled by AOTInductor for this machine: export it again")
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise damaged
            with quiet():
                network = aoti_load_package(str(path))
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise damaged from error
        return TorchRunner(network, threads, channels_last=False)

    def runtime(self) -> str:
        """As Format."""
        return f"AOTInductor of PyTorch {torch.__version__}"
