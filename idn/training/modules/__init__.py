"""Lightning modules: networks that swap (distilled, adversarially), face recognition, quality regression."""
