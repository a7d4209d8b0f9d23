"""Samplers read off: rows of coefficients, and what they say."""
