"""`python -m cascade_clip`: the same as the command `cascade-clip`."""

from cascade_clip.cli.app import main

if __name__ == "__main__":
    main()
