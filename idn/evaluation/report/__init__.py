"""What an evaluation leaves: numbers with intervals, a table of pairs, and one page that opens without a network."""
