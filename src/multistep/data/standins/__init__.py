"""Stand-ins: archives drawn on the spot in the official layouts, one module per loader.

A module has `Settings`, what `drawn:` in params.yaml says, and `draw(out, settings)`, made by
`packing.drawing` of a table: archive -> its members. Photographs come from
`photographs`. The archives hold what the official ones hold, what loaders don't read included.
"""
