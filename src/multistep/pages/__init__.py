"""Queries over results: tables and figures, each from one entry of params.yaml."""
