"""Results → one frame; tables, figures, claims, the audit."""

from typing import Any, TypeAlias

# pandas publishes no types, and is imported where something is computed with it: what Snakemake
# reads of pages costs none of it.
DataFrame: TypeAlias = Any
