"""Networks leave PyTorch: graphs rewritten for inference, one file per target format, and proof that each is right."""
