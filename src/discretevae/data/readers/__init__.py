"""One file per format of data, and `formats`, which chooses among them."""
