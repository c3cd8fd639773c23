"""What a run says of measured data."""
