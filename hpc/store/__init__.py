"""The Zarr store of a run: layout, shards, ledger, locks; questions about it, and its repair."""
