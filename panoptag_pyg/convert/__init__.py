"""Other formats in and out: each converter streams, so that files larger than memory are no matter."""
