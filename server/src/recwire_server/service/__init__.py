"""The wire: protobuf to meaning and back. Knows nothing of vectors' meaning or of SQL.

Read in this order: `field` (the bounds of fields), `event_message`, `item_message`, `recommendation_message` (messages to
what they mean, and back), `recommender_service`, `catalog_service`, `user_service`, `admin_service` (the rpcs), `status`
(errors to status codes), `boundary` (what stands around every rpc).
"""
