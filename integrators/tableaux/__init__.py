"""Formulas of one step as exact symbols, and what evaluates them."""
