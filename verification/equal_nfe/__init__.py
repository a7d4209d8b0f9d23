"""Samplers from noise to data at equal numbers of model evaluations, against the exact flow."""
