"""Size and speed of what a run leaves: what a sweep weighs quality against."""

from idn.metrics.metric import Metric

DEPLOYED_METRICS = (
    Metric(
        "macs",
        "multiply-accumulates per frame, of the network of one person",
        "lower",
        column="MACs",
        stage="deployed",
    ),
    Metric("parameters", "of the network of one person", "lower", None, stage="deployed"),
    Metric(
        "milliseconds",
        "per frame on this CPU by PyTorch, the fastest of 15, of the network of one person",
        "lower",
        None,
        stage="deployed",
    ),
)
"""Of a student, baked for one person, at the size of the run's pictures."""
