"""The report of a sweep: one page that opens without a network, and a table as CSV."""
