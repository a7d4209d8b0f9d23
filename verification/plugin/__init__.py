"""Audits as tests: a plugin of pytest with which a repository keeps its samplers right (docs/pytest.md)."""
