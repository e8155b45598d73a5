"""What codes are for."""
