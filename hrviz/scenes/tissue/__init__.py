"""`scene:tissue`: a slide stained with hematoxylin and eosin that is computed, not stored."""
