"""`scene:endoscopy`: a frame of capsule endoscopy, computed and never stored."""
