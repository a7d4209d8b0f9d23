"""Coefficients from order conditions: families, their best members, embedded pairs."""
