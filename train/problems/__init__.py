"""What there is to learn from a store, one room a problem."""
