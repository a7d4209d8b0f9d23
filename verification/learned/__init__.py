"""Solvers on a learned score, where discretisation error and model error are told apart."""
