"""Running jobs: `local` runs one as a process here; `run` takes a plan through its gate, record by record."""
