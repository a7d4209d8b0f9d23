"""Formulas as text and tableaux as files: read node by node, nothing is executed."""
