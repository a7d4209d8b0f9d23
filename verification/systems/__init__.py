"""Semilinear systems u' = L u + N(t, u) with a matrix L, on which tableaux are measured."""
