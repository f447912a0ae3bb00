"""Lightning modules: distillation, adversarial training, face recognition, quality regression."""
