"""How far samples lie, as a whole, from the law that they should have."""
