"""Errors over a ladder of step counts, three ways to get them: flow, Gaussian law, coupled paths."""
