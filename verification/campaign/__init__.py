"""What `semilinear verify` measures and proves, and its records."""
