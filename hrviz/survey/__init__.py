"""The survey's own tables and figures as data: what it prints, and what it draws computed anew."""
