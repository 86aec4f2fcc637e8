"""Memory: will it fit my GPU, and which method makes it fit?"""

from hrviz.viewer import memory, shell

shell.polled("memory", memory.draw)
