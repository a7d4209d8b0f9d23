"""Errors predicted from proofs, against those that are measured."""
