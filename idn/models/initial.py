"""The weights that training starts from, in one place."""

from torch import nn

from idn.models.injection import WeightModulation


def initialise(student: nn.Module) -> None:
    """Draw every parameter of a student from the global generator, in place.

    The published code leaves its framework's defaults, and so do we: convolutions normal with variance
    2 / (C_in k k), pointwise kernels uniform as Glorot and Bengio (2010), biases zero, BatchNorm neutral. One thing is
    our own choice: the gains of the modulation start at zero, so that the pointwise kernels depend on no identity yet.
    """
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * area)) ** 0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, WeightModulation):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.gain.weight)
            nn.init.zeros_(module.gain.bias)
