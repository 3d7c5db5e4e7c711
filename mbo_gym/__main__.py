"""``python -m mbo_gym`` is the same as ``mbo-gym``."""

from mbo_gym.cli.app import main

if __name__ == "__main__":
    main()
