"""Backups of a data directory: a folder with the database as it was at one moment, and a manifest.

Read in this order: this module (what goes wrong), `manifest` (what makes a folder a backup), `save` (how one is made),
`restore` (how a data directory is made of one).

    backup.json             the manifest: see `manifest`
    recwire.sqlite3         one file, without a write-ahead log
    index/                  the snapshot of the index, if there was a whole one that fits: else it is built anew
"""


class BackupError(Exception):
    """The backup could not be made, read or restored; the message says why and the way out."""
