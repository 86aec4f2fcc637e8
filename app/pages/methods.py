"""Methods: see what a method does to the visible region, tune it, know it."""

from hrviz.viewer import shell, workbench

shell.polled("methods", workbench.draw)
