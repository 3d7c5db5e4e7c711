"""Methods: the base class, the registry, and shared searches and filters."""
