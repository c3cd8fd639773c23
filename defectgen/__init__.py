"""Which hosts, which sites, which atoms."""
