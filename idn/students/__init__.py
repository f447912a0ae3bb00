"""Students: one package per architecture, their files, counting, and reading published weights."""
