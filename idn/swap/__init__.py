"""Using a student: who the source is."""
