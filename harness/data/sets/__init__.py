"""The data sets, one module a family; each lists its own in `SETS`."""
