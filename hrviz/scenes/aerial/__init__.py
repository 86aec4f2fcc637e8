"""`scene:aerial`: city, fields, water and airports from above, computed and never stored."""
