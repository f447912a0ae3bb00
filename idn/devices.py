"""Where networks run: the one meaning of the option `device`."""

import torch

from idn.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device that the option `device` names: "auto" takes a GPU if there is one, else the CPU; "cuda:1" the second.

    Raises UserError if it is not there.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(_refusal(name)) from error
    if device.type == "meta":
        raise UserError(_refusal(name))
    return device


def _refusal(name: str) -> str:
    return f"device={name} is not available here: choose auto, cpu, or cuda where there is a GPU"
