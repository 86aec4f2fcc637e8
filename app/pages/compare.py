"""Compare: two to four methods on one region, side by side, with scores and costs."""

from hrviz.viewer import comparison, shell

shell.polled("compare", comparison.draw)
