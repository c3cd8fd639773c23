"""Sites between the atoms of a host."""
