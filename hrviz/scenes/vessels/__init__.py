"""`scene:vessels`: the fundus of an eye with its vessel tree, computed and never stored."""
