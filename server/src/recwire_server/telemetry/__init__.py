"""What a server tells of itself while it runs: metrics, traces, logs. Nothing here names users, items or texts.

Read in this order, in which a call meets them: `call` (what is measured around every rpc), `tracing` (its spans),
`metric` (what is counted and timed), `heartbeat` (how late the event loop is), `state` (what the parts hold, read when
somebody asks), `endpoint` (who answers then), `log` (how log lines are written).

No part of the server imports this package but the boundary, the port and `app`: the others are handed functions to
call.
"""
