"""Other formats in and out: DELPHES ROOT, CMS PFNano, padded arrays, awkward arrays."""
