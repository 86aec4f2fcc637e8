"""Selective zooming and skipping (survey III-B): look closely in few places, decided on the way."""
