"""Triplets for training: source, target and result, made of drawn people, of photographs and of edited pictures."""
