"""`scene:crowd`: a city square with thousands of people, still or walking. See `scene.py`."""
