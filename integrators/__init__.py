"""Solvers as data: schedules, forms, tableaux, plans and the one loop that runs them."""
