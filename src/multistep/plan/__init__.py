"""The plan: params.yaml read and checked, its cells, and the code that each step depends on."""
