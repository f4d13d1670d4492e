"""Studies: one recipe, a few rows of settings, several seeds; what each row is worth, with an interval."""
