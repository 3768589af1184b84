"""The wire: protobuf to meaning and back. Knows nothing of vectors' meaning or of SQL.

Read in this order: `boundary` (what stands around every rpc), `request` (what comes, parsed), `named_id` (may the
caller name these ids), `key_guard` (what stands around health and reflection), `recommender_service`,
`catalog_service`, `user_service`, `admin_service`, `health_service` (the rpcs), `stream` (the requests that a stream
has in work), `deadline` (until when a call waits), `recommendation_message`, `filter_message`, `event_message`,
`item_message`, `page` (messages to what they mean, and back), `field` (the bounds of fields), `malformed` (why bytes
are no message), `status` (errors to status codes).
"""
