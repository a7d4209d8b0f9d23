"""The exact ring of coefficient functions, factors of polynomials, and trees."""
