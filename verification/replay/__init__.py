"""Released code's numbers, made again."""
