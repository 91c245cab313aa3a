"""From records to tables: what a run says, as data. Nothing here prints or draws."""
