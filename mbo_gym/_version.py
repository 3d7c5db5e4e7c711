"""The version of mbo_gym, in one place: setup.cfg and every result read it from here."""

__all__ = ["__version__"]

__version__ = "0.1.0"
