"""The job: one cell or measurement from its definition to its record, on one device."""
