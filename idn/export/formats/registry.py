"""Which formats there are."""

from importlib import import_module

from idn.errors import UserError
from idn.export.contract import Format

FORMATS = {
    "safetensors": "safetensors.SafetensorsFormat",
    "onnx": "onnx.OnnxFormat",
    "openvino": "openvino.OpenVinoFormat",
    "pt2": "torch_export.TorchExportFormat",
    "aotinductor": "aotinductor.AOTInductorFormat",
    "executorch": "executorch.ExecuTorchFormat",
    "litert": "litert.LiteRTFormat",
    "ncnn": "ncnn.NcnnFormat",
    "coreml": "coreml.CoreMLFormat",
}
"""Name -> module of this package and class."""


def format_named(name: str) -> Format:
    """The format with its default options. Raises UserError for another name, and if its packages are missing."""
    if name not in FORMATS:
        raise UserError(f"format={name} is unknown: choose of {', '.join(FORMATS)}")
    module, form = FORMATS[name].split(".")
    return getattr(import_module(f"idn.export.formats.{module}"), form)()
