"""What several tests need: made-up events."""
