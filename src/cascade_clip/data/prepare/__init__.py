"""From the archives of their owners to index masks and lists."""
