"""What is computed of each sample, one file an observable."""
