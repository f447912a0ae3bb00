"""Loss terms, trust and the objective that weighs them."""
