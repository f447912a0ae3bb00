"""Which pairs of source and target a protocol wants: drawn, of a folder of crops, or as a data set is laid out."""
