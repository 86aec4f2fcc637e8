"""The methods, one file each, in one folder a family. `hrviz.METHODS` finds them by itself."""
