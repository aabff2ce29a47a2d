"""What only AWS knows."""
