"""Samplers of other packages as functions of a run, and what they are given."""
