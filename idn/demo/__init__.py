"""Demo: a local web page that swaps the faces of two pictures and shows what happens on the way."""
