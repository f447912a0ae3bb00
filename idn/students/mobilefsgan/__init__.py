"""MobileFSGAN (arXiv:2204.08339): one generator of constant width, which makes the swap at three sizes."""
