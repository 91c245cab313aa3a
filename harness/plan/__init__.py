"""From a suite to the jobs of a run: `suite` reads, `workloads` builds specs, `jobs` lays out processes."""
