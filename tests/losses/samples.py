"""Some samples of what losses are given."""

from torch import Tensor


def rows(value: object, part: slice | Tensor) -> object:
    """Some samples of every tensor inside nested tuples."""
    if isinstance(value, Tensor):
        return value[part]
    if value is None:
        return None
    items = [rows(item, part) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
