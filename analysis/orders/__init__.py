"""What can be proved of a formula or a run: expansions, order conditions, proofs, mutations."""
