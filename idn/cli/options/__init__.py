"""Options of the command line: from words to a checked config, and one sentence for what is wrong with them."""
