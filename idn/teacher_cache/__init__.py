"""Teacher cache: the answers of a teacher on disk, in shards with a manifest."""
