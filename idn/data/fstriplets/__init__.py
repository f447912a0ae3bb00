"""FSTriplets (arXiv:2204.08339): source, target and result on disk, in the published folder layout."""
