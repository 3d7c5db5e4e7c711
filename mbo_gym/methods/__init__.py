"""Methods: the base class, the registry, and the searches and filters that several methods
share."""
