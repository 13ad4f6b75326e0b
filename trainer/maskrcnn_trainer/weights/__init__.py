"""Weight files of other projects, in the names and the meaning of this network."""
