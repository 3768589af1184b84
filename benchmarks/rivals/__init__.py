"""What a user would pick instead of recwire, each tuned and measured in the same way.

Read in this order: `rival` (what each can do), `contender` (all of them, and which are missing), `server` (a process of
one's own), `postgres` (pgvector), `redis_server` (vector sets), `chroma`, `lance` (LanceDB), `raw_hnsw` (the limit:
hnswlib in this process), `truth` (recall), `tuning` (the least effort that has the recall).
"""
