"""Data sets: where they come from, checksums, splits, preprocessing, and the order of the batches.

`catalogue` says what there is (the `sets`, and a user's `own`), `files` finds or downloads and verifies it,
`prepared` turns it into arrays on disk that every contender reads, and `order` draws the batches.
"""
