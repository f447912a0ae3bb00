"""Source-target pairs: procedural faces and aligned photographs."""
