"""Who calls, and may they: API keys with roles, certificates, and what the log says of both. Knows no protobuf.

Read in this order: `authorization` (what each call goes through), `role` (which rpc needs which), `standard` (who may
ask for health and reflection), `keyring` (whose a token is), `key` (a key, and how it reads), `secret` (the hash that
is kept of it), `key_file` (the keys on disk), `rate_limit` (how often a key may call), `certificate` (TLS),
`file_change` (when a file is read again), `audit` (what the log keeps).

    AccessError
    |- KeyFileError        the file of the keys cannot be read or written, or is none
    |- CertificateError    a certificate, its key, or the clients' authority cannot be used
"""


class AccessError(Exception):
    """The root; messages name the file and say what to do."""


class KeyFileError(AccessError):
    """The file of the keys cannot be read or written, or is none."""


class CertificateError(AccessError):
    """A certificate, its key, or the clients' authority cannot be used."""
