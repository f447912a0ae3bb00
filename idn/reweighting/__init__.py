"""Loss reweighting: trust in a teacher's answers, the quality scorer Q behind it, and pictures of known quality."""
