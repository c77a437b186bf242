"""Stand-ins: archives drawn on the spot in the official layouts, one module per loader."""
