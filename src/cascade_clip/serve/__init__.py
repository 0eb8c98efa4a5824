"""The web page and its REST interface: `cascade-clip serve`."""
