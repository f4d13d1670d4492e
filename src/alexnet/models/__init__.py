"""Networks as tables of rows: ``table`` (arithmetic), ``zoo`` (the family), ``build`` (torch)."""
