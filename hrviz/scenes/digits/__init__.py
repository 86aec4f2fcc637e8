"""`scene:digits`: handwritten digits of wildly different sizes, whose sum is asked for."""
