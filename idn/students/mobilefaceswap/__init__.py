"""The student: injection network, identity-aware dynamic network, and both together."""
