"""Non-uniform downsampling (survey III-A)."""
