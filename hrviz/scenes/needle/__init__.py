"""`scene:needle`: one object, of any size, in a haystack of any size."""
