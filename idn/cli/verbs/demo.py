"""Verb of the web page: `idn demo`."""

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import build
from idn.errors import MissingExtra, MissingFile, OptionError, UserError
from idn.files.option_checks import require_int

if TYPE_CHECKING:
    from idn.swap.swapper import Swapper


def demo(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C."""
    try:
        import uvicorn

        from idn.demo.server import LOOPBACK, Demo
    except ImportError:
        raise MissingExtra("idn demo needs a web server:", "demo") from None
    from idn.demo.swapping import Swapping

    require_int("port", cfg.port, 0, 65535)
    students = _students(cfg)
    swapping = Swapping(students, lambda path: _opened(cfg, path), build(cfg.provenance))
    for name in students:  # now, so that a wrong file or encoder is told here
        swapping.opened(name)
    host = str(cfg.host)
    local = host in LOOPBACK
    listener = _listener(host, cfg.port)
    app = Demo(swapping).app(LOOPBACK if local else ["*"])
    print(f"open http://{'localhost' if local else host}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
    if not local:
        print(f"everybody who reaches {host} can use the page: pictures travel there without encryption", flush=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    server.run(sockets=[listener])


def _students(cfg: DictConfig) -> dict[str, Path]:
    """The files to choose from, by their names on the page."""
    given = cfg.students
    if given is None:
        found = sorted(Path("outputs").glob("**/student.safetensors"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UserError("which student? write idn demo STUDENT, a file that `idn train` has made")
        return {str(found[-1]): found[-1]}
    paths = [Path(str(path)) for path in (given if OmegaConf.is_list(given) else [given])]
    for path in paths:
        if not path.is_file():
            raise MissingFile(path, "is not there: give the file of a student")
    return {str(path): path for path in paths}


def _opened(cfg: DictConfig, path: Path) -> "Swapper":
    """A student with its encoder, and a detector unless it knows drawn faces alone."""
    import idn
    from idn.encoders.trained import TrainedMobileFaceNet
    from idn.hardware import choose_device
    from idn.students.student_file import read_student_file

    known, device = read_student_file(path), str(choose_device(cfg.device))
    chosen = build(cfg.encoder, crop_template=known.template or cfg.data.template)
    ours = known.encoder.name == TrainedMobileFaceNet(None, cfg.data.template).name
    swapper = idn.load(path, None if ours else chosen, None, device)
    if not getattr(swapper.encoder, "drawn_only", False):
        swapper.detector = build(cfg.detector)()
    return swapper


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OptionError if it cannot."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        argument, value = ("port", port) if isinstance(error, PermissionError) or error.errno == 98 else ("host", host)
        raise OptionError(argument, value, f"cannot be listened on ({error.strerror}): give another one") from error
