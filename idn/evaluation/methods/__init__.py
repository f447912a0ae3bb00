"""Methods under test: students, teachers, exported files in their runtimes, and results made elsewhere."""
