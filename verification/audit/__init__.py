"""Tables of released libraries, proved and measured as they run."""
