"""`scene:road`: a road in perspective with one small speed-limit sign, or none."""
