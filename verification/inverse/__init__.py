"""Inverse problems whose posterior is known."""
