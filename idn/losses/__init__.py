"""Loss terms, and the objective that weighs them."""
